"""`gradatim detect`: pictures, folders and videos; what is wrong is said before work starts."""

import json

import numpy as np
import pytest

from clips import write_numbered
from commandline import gradatim, worked
from gradatim.data.image import image_size, read_image
from gradatim.data.video import video_facts
from pictures import picture, save
from tiny_multigriddet import ANCHORS, CLASSES, keras_file, parts

RUN = "detector"
LOW = ("--confidence", 0.01)
KNOWN = (f"anchors={ANCHORS}", "image_size=64", f"classes=[{', '.join(CLASSES)}]")
FOREIGN = [word for pair in KNOWN for word in ("--model", pair)]


@pytest.fixture
def mixed(tmp_path):
    """A folder with pictures of several kinds, a text and a folder below."""
    root = tmp_path / "mixed"
    save(root / "wide.png", picture(0, (40, 90)))
    save(root / "tall.JPG", picture(1, (90, 40)))
    save(root / "below/gray.bmp", picture(2, (64, 64), channels=1))
    (root / "notes.txt").write_text("no picture")
    return root


def test_a_folder_is_looked_through_with_the_names_of_the_data(place, mixed, tmp_path):
    told = worked("detect", RUN, mixed, "-o", tmp_path / "out", *LOW, "--json")

    found = json.loads((tmp_path / "out/detections.json").read_text())
    objects = [one for picture in found["pictures"].values() for one in picture["objects"]]
    assert sorted(found["pictures"]) == ["below/gray.bmp", "tall.JPG", "wide.png"]
    assert found["classes"] == list(CLASSES)
    assert told.json["objects"] == len(objects) > 0
    assert told.json["pictures"] == 3
    assert sum(told.json["by_class"].values()) == len(objects)
    assert {one["class"] for one in objects} <= set(CLASSES)
    assert "skipped 1 that are neither pictures nor videos: notes.txt" in told.err
    assert image_size(tmp_path / "out/wide.png") == (40, 90)
    for name, one in found["pictures"].items():
        height, width = one["size"]
        assert image_size(tmp_path / "out" / name) == (height, width)
        boxes = np.array([each["box"] for each in one["objects"]])
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= [width, height]).all()
        assert (read_image(tmp_path / "out" / name) != read_image(mixed / name)).any()
    assert not list((tmp_path / "out").rglob("*.part"))


def test_all_options_have_their_effect(place, mixed, tmp_path):
    def found(name, *words):
        worked("detect", RUN, mixed / "wide.png", "-o", tmp_path / name, *LOW, *words)
        return json.loads((tmp_path / name / "detections.json").read_text())["pictures"]["wide.png"]["objects"]

    strict = ("--overlap-threshold", 0.1)
    usual = found("usual", *strict)
    none = found("none", "--suppression", "none", "--max", 10000)
    assert len(none) > len(usual) > 2
    assert len(found("few", "--max", 2)) == 2
    assert len(found("mild", "--overlap-threshold", 0.9)) > len(usual)
    greedy = ("--suppression", "greedy", "--overlap-threshold", 0.17)
    iol, iou = found("iol", *greedy, "--iol"), found("iou", *greedy)
    assert len(iol) < len(iou)
    assert len(found("across", "--across-classes", *strict)) < len(usual)
    assert found("size", "--size", "64x128", "--suppression", "none") != none[:100]
    assert all(one["score"] >= 0.2 for one in found("sure", "--confidence", 0.2))
    original = found("original", "--original", "--no-pictures")
    assert original
    assert all(float(value).is_integer() for one in original for value in one["box"])
    assert not (tmp_path / "original/wide.png").exists()
    assert found("wbf", "--suppression", "wbf")
    for kind in ("soft", "cluster"):
        assert found(kind, "--suppression", kind)


def test_every_format_is_written(place, mixed, tmp_path):
    worked("detect", RUN, mixed, "-o", tmp_path / "out", *LOW, "--format", "coco", "--format", "yolo", "--no-pictures")

    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert names == [
        "coco_images.json", "coco_results.json", "labels/below/gray.txt", "labels/tall.txt", "labels/wide.txt",
    ]  # fmt: skip


def test_a_video_is_annotated_frame_by_frame(place, tmp_path):
    pytest.importorskip("av")
    video = write_numbered(tmp_path / "clip.avi", 7, size=(48, 66))

    told = worked("detect", RUN, video, "-o", tmp_path / "out", *LOW, "--format", "json", "--format", "yolo", "--json")

    facts = video_facts(tmp_path / "out/clip.mp4")
    found = json.loads((tmp_path / "out/detections.json").read_text())["videos"]["clip.avi"]
    assert (facts.frames, facts.fps, facts.size) == (7, 10.0, (48, 66))
    assert [frame["number"] for frame in found["frames"]] == list(range(7))
    assert (found["fps"], found["size"]) == (10.0, [48, 66])
    assert told.json["videos"] == 1
    assert len(list((tmp_path / "out/labels/clip").iterdir())) == 7


def test_a_keras_file_of_the_original_detects_too(place, mixed, tmp_path):
    pytest.importorskip("h5py")
    file = keras_file(tmp_path / "theirs.h5", parts())

    worked("detect", file, mixed / "wide.png", "-o", tmp_path / "out", *LOW, *FOREIGN)

    found = json.loads((tmp_path / "out/detections.json").read_text())
    assert found["classes"] == list(CLASSES)
    assert found["pictures"]["wide.png"]["objects"]


def test_a_converted_run_keeps_the_names_of_its_classes(place, mixed, tmp_path):
    worked("convert", RUN, tmp_path / "one.safetensors")

    worked("detect", tmp_path / "one.safetensors", mixed / "wide.png", "-o", tmp_path / "out", "--no-pictures")

    assert json.loads((tmp_path / "out/detections.json").read_text())["classes"] == list(CLASSES)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gone.png", "-o", "OUT"], "gone.png: no such file or folder"),
        (["BAD/text.png", "-o", "OUT"], "text.png: not an image that can be read"),
        (["BAD/zero.png", "-o", "OUT"], "zero.png: the file is empty"),
        (["boxes/images/val", "-o", "boxes/images/val"], "the inputs lie there"),
        (["boxes/images/val", "-o", "OUT", "--size", "100"], "multiples of 32; the nearest is 96"),
        (["boxes/images/val", "-o", "OUT", "--iol"], "take greedy, cluster or soft"),
        (["boxes/images/val", "-o", "OUT", "--format", "xml"], "unknown format 'xml'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_work_starts(words, says, place, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "zero.png").write_bytes(b"")
    names = {"OUT": str(tmp_path / "out"), "BAD": str(tmp_path)}

    answer = gradatim("detect", RUN, *[names.get(w, w.replace("BAD", names["BAD"])) for w in words])

    assert answer.code == 1
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_no_detector_is_refused(place, tmp_path):
    answer = gradatim("detect", "runs/maefuse-1", "boxes/images/val", "-o", tmp_path / "out")

    assert answer.code == 1
    assert "is a model of maefuse, not of multigriddet" in answer.err


def test_real_pictures_are_looked_at(place, data_root, tmp_path):
    folder = data_root / "coco128/images/val2017"
    files = sorted(folder.iterdir())[:2] if folder.is_dir() else pytest.skip("no COCO pictures here")

    worked("detect", RUN, *files, "-o", tmp_path / "out", *LOW)

    for file in files:
        assert image_size(tmp_path / "out" / file.name) == image_size(file)
