"""`gradatim evaluate` of a detector: a run on its own data, a file on data that are named, and what does not fit."""

import json

import pytest

from commandline import gradatim, worked
from tiny_multigriddet import ANCHORS, CLASSES, keras_file, parts

pytest.importorskip("faster_coco_eval")
RUN, FILE = "detector", "detector/model.safetensors"


def test_a_run_is_measured_on_its_validation_data(place, tmp_path):
    told = worked("evaluate", RUN, "--json").json
    table = worked("evaluate", RUN).out

    assert told["images"] == 3
    assert len(told["coco"]) == 12
    assert set(told["legacy"]) == {"mAP", "mAP50", "mAP75", "APS", "APM", "APL", "voc_mAP50"}
    assert told["confusion"]["classes"] == list(CLASSES)
    assert len(told["confusion"]["counts"]) == len(CLASSES) + 1
    assert told["detections"] > 50
    assert told["written"] == []
    for words in ("APsmall", "AR100", "eleven points", "best F1", "missed", *told["classes"]):
        assert words in table


def test_a_file_is_measured_on_data_that_are_named_like_the_run_on_them(place):
    file = worked("evaluate", FILE, "--set", "data.root=boxes", "--json").json
    run = worked("evaluate", RUN, "--set", "data.root=boxes", "--json", "--batch-size", 1).json
    all_ = worked("evaluate", FILE, "--set", "data.root=boxes", "--split", "all", "--json").json

    assert file == run
    assert file["images"] == 3
    assert all_["images"] == 6


def test_pictures_are_written_where_they_are_asked_for(place, tmp_path):
    pytest.importorskip("matplotlib")

    told = worked("evaluate", RUN, "-o", tmp_path / "out", "--json").json

    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    kept = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert names == [
        "classes.png", "confusion.png", "curves.png", "evaluation.json", "examples/000000.png", "examples/000001.png",
        "examples/000002.png", "thresholds.png",
    ]  # fmt: skip
    assert len(told.pop("written")) == len(names)
    assert kept == told


def test_options_change_what_counts(place):
    def detections(*words):
        return worked("evaluate", RUN, *words, "--json").json["detections"]

    usual = detections()
    assert detections("--confidence", 0.9) < usual
    assert detections("--overlap-threshold", 0.05) < usual
    assert detections("--suppression", "none") >= usual
    assert detections("--original") == detections("--original", "--confidence", 0.1) < usual
    assert detections("--original", "--confidence", 0.001, "--overlap-threshold", 0.05) < detections(
        "--overlap-threshold", 0.05
    )


def test_a_keras_file_is_known_as_a_detector(place, tmp_path):
    pytest.importorskip("h5py")
    file = keras_file(tmp_path / "theirs.h5", parts())

    answer = worked(
        "evaluate", file, "--set", "data.root=boxes", "--model", f"anchors={ANCHORS}", "--model", "image_size=64",
        "--json",
    )  # fmt: skip

    assert answer.json["images"] == 3
    assert answer.json["confusion"]["classes"] == list(CLASSES)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([FILE], "a file knows no data; say --set data.root=ANNOTATIONS"),
        ([FILE, "--set", "data.root=gone"], "gone: no such file or folder"),
        ([RUN, "--set", "root=gone"], "write data.NAME=VALUE"),
        ([RUN, "--set", "data.rooot=gone"], "data.rooot: "),
        ([RUN, "--split", "test"], "choose validate, train or all"),
        ([FILE, "--set", "data.root=boxes", "--set", "data.classes=[circle, square, star]"], "of the data 'star'"),
        ([RUN, "--set", "data.shapes={classes: [ring]}"], "the data have 1 classes, the model 3"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_one_message(words, says, place):
    answer = gradatim("evaluate", *words)

    assert answer.code == 1
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert not answer.out


@pytest.mark.parametrize(
    ("run", "words", "told"),
    [
        (RUN, ["--data-range", "2"], "this is a model of multigriddet: --data-range is for maefuse"),
        (RUN, ["--overlap", "0.5", "--per-image"], "--overlap is for maefuse; --per-image is for maefuse"),
        ("runs/maefuse-1", ["--split", "all"], "--split is for bombkd, multigriddet"),
        ("runs/maefuse-1", ["--set", "data.root=x", "--original"], "--original is for multigriddet; --set is for"),
    ],
)
def test_options_of_another_system_are_refused(run, words, told, place):
    answer = gradatim("evaluate", run, *words)

    assert answer.code == 2
    assert told in " ".join(answer.err.replace("│", " ").split())
