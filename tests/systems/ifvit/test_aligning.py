"""Pairs of a data set are registered by a model: by a command, or by a stage's data before the stage begins."""

import json

import pytest
import torch

from commandline import worked
from gradatim import run
from gradatim.engine.checked import checked_plan
from gradatim.engine.model import load_run
from gradatim.engine.prepare import NOTE
from gradatim.engine.stale import staleness
from gradatim.engine.verify import verify_run
from gradatim.errors import DataError, PlanError
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.report.status import run_status
from gradatim.systems.ifvit import aligning, data
from gradatim.systems.ifvit.alignment_file import read_alignments
from gradatim.systems.ifvit.data import FingerprintSettings, open_data
from gradatim.weights import read_weights
from tiny_ifvit import print_files, tiny_changes

SHORT = [*tiny_changes("ifvit/paper"), "stages.dense.epochs=1", "stages.matcher.epochs=1"]
FILE = "02-matcher/alignments.json"


def plan(*changes, name="paper"):
    return override(read_plan_document(f"ifvit/{name}"), [*SHORT, *changes])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Prints, LoFTR's file and two runs: dense registration alone, and both stages in a row; not to be changed."""
    folder = tmp_path_factory.mktemp("aligning")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        print_files(folder)
        run(plan(), folder / "runs" / "both")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def notes(folder, event="prepared"):
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def stopped_after(monkeypatch, count):
    """Registering is interrupted after so many pairs."""
    real, done = aligning._motion, []

    def motion(registrar, job):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(job)
        return real(registrar, job)

    monkeypatch.setattr(aligning, "_motion", motion)
    return done


# -- in a plan --------------------------------------------------------------------------------------------------


def test_in_one_plan_prints_are_aligned_by_the_stage_before_and_the_matcher_reads_that(here):
    record = json.loads((here / "runs/both/02-matcher/stage.json").read_text())
    settings = FingerprintSettings(
        root="prints", layout="fvc2002", samples="matcher", size=64, roi=32, points=32,
        alignments="runs/both/02-matcher/alignments.json",
    )  # fmt: skip
    train, validate = (open_data(settings, split) for split in ("train", "validate"))

    assert [event["state"] for event in notes(here / "runs/both") if event["state"] != "progress"] == ["begun", "made"]
    assert notes(here / "runs/both")[-1]["by"] == "dense"
    assert train.source.listed
    assert validate.source.listed
    assert record["data"] == train.digest() + validate.digest()


def test_what_a_plan_aligns_is_what_the_command_aligns(here, tmp_path):
    folder = tmp_path / "dense"
    run(plan(), folder, stages=["dense"])

    own = ["--set", "data.root=prints", "--set", "data.layout=fvc2002", "-o", tmp_path / "own.json"]
    worked("align", folder, *own)

    assert (tmp_path / "own.json").read_bytes() == (here / "runs/both" / FILE).read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_plan_tells_who_makes_what(here):
    told = worked("plan", here / "runs" / "both").out
    assert "before it, stage dense makes alignments.json" in " ".join(told.replace("│", " ").split())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["stages.matcher.data.alignments={stage: dens}"], "unknown earlier stage 'dens'. Did you mean 'dense'?"),
        (["stages.matcher.data.alignments={stage: matcher}"], "unknown earlier stage 'matcher'"),
        (["stages.dense.train=[backbone]"], "aligned-by-dense"),
    ],
)
def test_alignments_by_a_stage_that_cannot_make_them_are_refused(here, changes, says):
    with pytest.raises(PlanError) as told:
        checked_plan(plan(*changes))
    assert says in str(told.value)
    assert "stages.matcher.data" in str(told.value) or "stages[1].data" in str(told.value)


def test_alignments_by_a_run_that_is_not_there_are_refused_before_anything_is_trained(here, tmp_path):
    with pytest.raises(DataError, match="runs/nowhere: no run there"):
        run(plan("stages.matcher.data.alignments={run: runs/nowhere, stage: dense}"), tmp_path / "run")
    with pytest.raises(DataError, match="unknown finished stage 'dens'"):
        run(plan("stages.matcher.data.alignments={run: runs/both, stage: dens}"), tmp_path / "run")


def test_a_single_batch_aligns_nothing(here, monkeypatch):
    stopped_after(monkeypatch, 0)
    run(plan(), once=True)


def test_an_interrupted_alignment_goes_on_and_ends_with_the_same_bits(here, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            run(plan(), folder)
    assert (folder / f"{FILE}.part").is_file()
    assert not (folder / FILE).exists()
    states = [stage["state"] for stage in run_status(folder)["stages"]]
    assert states[0] == "finished"
    assert states[1].startswith("dense makes alignments.json")

    left = stopped_after(monkeypatch, 1000)
    run(plan(), folder)

    whole = len(json.loads((here / "runs/both" / FILE).read_text())["pairs"])
    assert len(left) < whole
    assert (folder / FILE).read_bytes() == (here / "runs/both" / FILE).read_bytes()
    ended, other = (read_weights(one / "model.safetensors").arrays for one in (folder, here / "runs/both"))
    assert all(torch.equal(ended[name], other[name]) for name in other)
    assert not (folder / f"{FILE}.part").exists()


def test_what_was_found_by_another_model_is_not_gone_on_with(here, tmp_path, monkeypatch):
    settings = FingerprintSettings(root="prints", layout="fvc2002")
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            aligning.align_data(settings, load_run("runs/ifvit-1"), tmp_path / "own.json")

    done = stopped_after(monkeypatch, 1000)
    counts = aligning.align_data(settings, load_run("runs/both", stage="dense"), tmp_path / "own.json")

    assert len(done) == counts.pairs


def test_a_neighbor_takes_alignments_over_and_other_prints_are_aligned_anew(here, monkeypatch):
    done = stopped_after(monkeypatch, 1000)
    run(plan("stages.matcher.lr=0.002"), here / "runs" / "other")
    assert not done
    assert (here / "runs/other" / FILE).read_bytes() == (here / "runs/both" / FILE).read_bytes()

    run(plan("stages.matcher.data.fit=stretch"), here / "runs" / "filled")
    assert done


def test_verify_judges_on_the_prints_as_they_were_aligned(here, monkeypatch):
    read = []
    monkeypatch.setattr(data, "read_alignments", lambda path, size: read.append(path) or read_alignments(path, size))

    verify_run(here / "runs" / "both")

    assert read == [here / "runs" / "both" / FILE]


def test_a_finished_stage_is_taken_for_finished_and_another_runs_model_aligns_too(here, tmp_path):
    assert [row[1] for row in staleness(plan(), here / "runs" / "both")] == ["finished", "finished"]
    assert run(plan(), here / "runs" / "both").stages["matcher"]["name"] == "matcher"
    assert [answer.question for answer in verify_run(here / "runs" / "both")]

    changes = [change.replace("stages.dense.epochs=1", "seed=0") for change in SHORT if "stages.dense" not in change]
    alone = override(read_plan_document("ifvit/matcher"), changes)
    run(alone, tmp_path / "alone")
    assert notes(tmp_path / "alone")[-1]["by"] == "dense"
    assert json.loads((tmp_path / "alone" / "01-matcher" / NOTE).read_text())["made_by"]["run"] == "runs/ifvit-1"


# -- by the command ---------------------------------------------------------------------------------------------


def test_a_data_sets_own_part_for_tests_is_aligned_without_a_holdout_too(here, tmp_path):
    own = ["--set", "data.root=prints", "--set", "data.layout=fvc2002", "--set", "data.holdout=0"]
    worked("align", "runs/both", *own, "-o", tmp_path / "own.json")

    names = {name for pair in read_alignments(tmp_path / "own.json", 64) for name in pair}
    assert {name.split("/")[0][-3:] for name in names} == {"001", "002", "003", "004", "005"}
