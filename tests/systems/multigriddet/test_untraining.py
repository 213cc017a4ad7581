"""A trained detector, fine-tuned as the recipe says, gets better; fast, it is stopped before it has forgotten."""

import json
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from commandline import gradatim, worked
from gradatim import run
from gradatim.errors import GuardError, PlanError
from gradatim.find import read_plan_document
from gradatim.plan import override

pytestmark = pytest.mark.slow

MODEL = (
    "model={classes: 2, image_size: 64, widths: [8, 8, 16, 24, 32, 48], blocks: [1, 1, 1, 1, 1], "
    "head_widths: [48, 32, 24], anchors: [[[40, 40]], [[28, 28]], [[18, 18]]]}"
)
DATA = (
    "defaults.data={root: shapes, shapes: {count: 256, validate_count: 48, size: 64, objects: 2, smallest: 0.25, "
    "largest: 0.7, classes: [circle, ring]}}"
)
SHORT = ["stages.heads.epochs=2", "stages.neck.epochs=2", "stages.all.epochs=4", "defaults.batch_size=8"]


def changed(name, *changes):
    return override(read_plan_document(name), [MODEL, DATA, *changes])


def values(folder, kind="validation"):
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event for event in events if event["event"] == kind]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A detector that has learned something and can learn more."""
    folder = tmp_path_factory.mktemp("detector") / "run"
    learn = ["stages.all.epochs=12", "stages.all.lr=2e-3", "stages.all.schedule=constant", "defaults.batch_size=8"]
    run(changed("multigriddet/shapes", *learn, "stages.all.validate={metric: map50, every: 12}"), folder)
    return folder


def fine_tuned(trained, folder, *changes):
    start = [f"sources.model={{checkpoint: {trained / 'model.safetensors'}}}", "defaults.accumulate=1"]
    run(changed("multigriddet/finetune", *start, *SHORT, "defaults.validate={metric: map50}", *changes), folder)
    return folder


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    """A run of the recipe as it is; not to be changed."""
    return fine_tuned(trained, tmp_path_factory.mktemp("tuned") / "run")


def test_the_plan_as_shipped_improves_the_detector(trained, tuned):
    before, folder = values(trained)[-1]["value"], tuned

    references = values(folder, "reference")
    assert [event["stage"] for event in references] == ["heads", "neck", "all"]
    assert references[0]["value"] == pytest.approx(before, abs=1e-6)
    assert set(references[0]["losses"]) == {"location", "objectness", "anchor", "classification"}
    assert max(event["value"] for event in values(folder) if event["stage"] == "all") > before
    assert not values(folder, "guard")

    answer = gradatim("verify", str(folder), "--json")
    random, band, metric, finite = answer.json["answers"]
    assert [one["holds"] for one in (random, metric, finite)] == [True] * 3
    # So young a detector may learn more than 20 %, which differs with the rounding of the machine.
    near = all(abs(band["figures"][name] - 1) <= 0.2 for name in ("objectness", "classification"))
    assert band["holds"] is near
    assert answer.json["holds"] is near
    assert answer.code == (0 if near else 1)
    assert random["figures"]["loss"] < random["figures"]["random_loss"]
    assert metric["question"] == "map50 at least the pretrained one"
    assert metric["figures"]["pretrained"] == pytest.approx(before, abs=1e-6)
    assert set(band["figures"]) == {"location", "objectness", "anchor", "classification"}
    assert finite["found"].endswith("0 steps taken back")


def test_a_run_from_nothing_has_nothing_to_be_compared_with(trained):
    told = worked("verify", str(trained), "--json").json

    assert [answer["holds"] for answer in told["answers"]] == [True, None, None, True]
    assert "part 'backbone' started fresh" in told["answers"][1]["found"]


def test_a_damaged_model_is_found(tuned, tmp_path):
    folder = shutil.copytree(tuned, tmp_path / "run")
    weights = load_file(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", "pt") as file:
        header = file.metadata()
    weights["predict.convs.2.bias"][4] = 9
    save_file(weights, folder / "model.safetensors", header)

    answer = gradatim("verify", str(folder), "--json")

    assert answer.code == 1
    assert "part 'predict' is not what its lineage says" in answer.err


@pytest.mark.parametrize("stage", ["heads", "all"])
def test_a_rate_that_untrains_is_refused_and_then_stopped_within_the_first_epoch(stage, trained, tmp_path):
    fast = f"stages.{stage}.lr=1e-2"
    with pytest.raises(PlanError, match="untraining-lr"):
        fine_tuned(trained, tmp_path / "refused", fast)

    with pytest.raises(GuardError, match=f"stage '{stage}', step .*weights before this stage are untouched") as error:
        fine_tuned(trained, tmp_path / "run", fast, "allow=[untraining-lr]")

    (event,) = values(tmp_path / "run", "guard")
    assert event["stage"] == stage
    assert event["epoch"] == 1
    assert event["message"] in str(error.value)
    number = {"heads": 1, "all": 3}[stage]
    finished = sorted(path.parent.name for path in (tmp_path / "run").glob("*/stage.json"))
    assert len(finished) == number - 1
    worked("report", str(tmp_path / "run"))
    assert event["message"] in (tmp_path / "run" / "report.html").read_text().replace("&#39;", "'")
