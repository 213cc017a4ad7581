"""`gradatim evaluate` of a model that colors videos, and of folders of colored frames."""

import json
import shutil

import pytest

from commandline import gradatim, worked
from gradatim import load_model
from gradatim.data.image import image_size
from gradatim.systems.flowchroma.data import SequenceSettings, open_sequences
from gradatim.systems.flowchroma.evaluate import evaluate_coloring
from systems.flowchroma.trees import video
from tiny_flowchroma import DATA, MODEL, coloring_run

FEW = ("--limit", 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs: `color`, and `match`, which cannot color."""
    pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("runs")
    coloring_run(folder / "color")
    coloring_run(folder / "match", parts=("swin", "warpnet"), task="match", losses={"matched_colors": 1.0})
    return folder


def flat(text):
    """The words of a message, however its lines are broken."""
    return " ".join(text.replace("│", " ").split())


def test_a_run_is_judged_on_videos_that_it_held_out(runs, tmp_path):
    told = worked("evaluate", runs / "color", "-o", tmp_path / "out", "--json").json

    assert list(told["videos"]) == ["drawn_00001", "drawn_00003"]
    assert [one["name"] for one in told["sequences"]] == [
        f"drawn_0000{n}/000{start}" for n in (1, 3) for start in (0, 1)
    ]
    assert list(told["means"]) == ["fused", "matched", "gray", "truth"]
    assert set(told["means"]["fused"]) == {"ssim", "psnr", "cdc", "color_error", "flicker"}
    settings = SequenceSettings.model_validate({**DATA, "size": MODEL["size"], "match_size": MODEL["match_size"]})
    model = load_model(runs / "color")
    own = evaluate_coloring(model.compute, model.parts["fusion"], open_sequences(settings, "validate"))
    assert told["means"]["fused"] == pytest.approx(own.means["fused"])
    assert told["means"]["matched"]["psnr"] != told["means"]["gray"]["psnr"]
    written = [tmp_path / "out" / name for name in sorted(path.name for path in (tmp_path / "out").iterdir())]
    assert told["written"] == [str(path) for path in written]
    assert len(written) == 5
    height, width = MODEL["size"]
    assert {image_size(path) for path in written[:-1]} == {(5 * (height + 4) - 4, 5 * (width + 4) - 4)}
    assert json.loads(written[-1].read_text()) == {name: x for name, x in told.items() if name != "written"}


def test_figures_are_tables_and_what_is_short_is_told(runs, tmp_path):
    answer = worked("evaluate", runs / "color", *FEW, "--set", "data.length=4", "-o", tmp_path)

    for words in ("mean of 2 video(s), 2 sequences", "SSIM", "PSNR, dB", "color error", "flicker", "drawn_00003"):
        assert words in answer.out
    assert "rows of pictures: truth, gray, matched, fused, references" in flat(answer.out)
    assert flat(answer.err) == "no CDC: it needs sequences of 5 frames or more, and these have 4."


def test_a_file_is_judged_on_data_that_are_named(runs, tmp_path):
    file = runs / "color" / "model.safetensors"
    video(tmp_path / "videos" / "walk", 5, size=(32, 40))
    data = ("--set", f"data.root={tmp_path / 'videos'}", "--split", "all")

    told = worked("evaluate", file, *data, "--json").json

    assert [one["name"] for one in told["sequences"]] == ["walk/f0.png", "walk/f1.png"]
    answer = gradatim("evaluate", file)
    assert answer.code == 1
    assert "a file knows no data; say --set data.root=VIDEOS" in answer.err


def test_a_run_is_judged_with_the_options_of_its_last_stage(runs, tmp_path):
    shutil.copytree(runs / "color", tmp_path / "run")
    plan = tmp_path / "run" / "plan.yaml"
    as_trained = worked("evaluate", tmp_path / "run", *FEW, "--json").json["means"]

    plan.write_text(plan.read_text().replace("options: {}", "options: {match.sharp: 1.0}"))
    softer = worked("evaluate", tmp_path / "run", *FEW, "--json").json["means"]

    assert softer["gray"] == as_trained["gray"]
    assert softer["matched"]["color_error"] < 0.99 * as_trained["matched"]["color_error"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("color", "--data", "x"), 2, "this is a model of flowchroma: --data is for maefuse, colored frames"),
        (("color", "--batch-size", 2), 2, "--batch-size is for bombkd, multigriddet"),
        (("color", "--split", "test"), 1, "choose validate, train or all"),
        (("color", "--set", "data.lenght=5"), 1, "data.lenght"),
        (("color", "--set", "data.samples=flow"), 1, "set data.samples to fusion"),
        (("match",), 1, "coloring needs parts that this model does not have (it has swin, warpnet): memflow fusion"),
    ],
)
def test_what_cannot_be_judged_is_told(words, code, says, runs):
    answer = gradatim("evaluate", runs / words[0], *words[1:])
    assert answer.code == code
    assert says in flat(answer.err)


@pytest.fixture
def frames(tmp_path):
    """Two scenes, colored rightly but for one frame that was not colored."""
    pytest.importorskip("cv2")
    for seed, name in enumerate(("lake", "street")):
        video(tmp_path / "true" / name, 5, seed=10 * seed)
    shutil.copytree(tmp_path / "true", tmp_path / "colored")
    (tmp_path / "colored" / "lake" / "f0.png").unlink()
    return tmp_path


def test_folders_of_frames_are_compared_with_true_ones(frames):
    words = ("evaluate", frames / "colored", "--data", frames / "true")

    told = worked(*words, "--json", "-o", frames / "out").json

    assert [(one["name"], one["frames"], one["cdc"] is None) for one in told["scenes"]] == [
        ("lake", 4, True),
        ("street", 5, False),
    ]
    assert told["over_scenes"]["psnr"] == {"mean": 100, "std": 0}
    assert told["written"] == [str(frames / "out" / "evaluation.json")]
    answer = worked(*words)
    for text in ("over 2 scene(s)", "100.0000 ± 0.0000", "lake", "street", "CDC of the truth"):
        assert text in flat(answer.out)
    assert "scene 'lake': 1 of 5 true frames were not colored: f0.png." in flat(answer.err)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 1, "say with one --data where the true frames are"),
        (("--data", "true", "--data", "true"), 1, "say with one --data"),
        (("--data", "true/lake"), 1, "there is no scene of this name in"),
        (("--data", "true", "--limit", 2), 2, "this is a folder of colored frames: --limit is for ifvit, flowchroma"),
    ],
)
def test_folders_that_cannot_be_compared_are_told(words, code, says, frames, monkeypatch):
    monkeypatch.chdir(frames)
    answer = gradatim("evaluate", "colored", *words)
    assert answer.code == code
    assert says in flat(answer.err)
