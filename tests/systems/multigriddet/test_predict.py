"""From raw predictions to objects in the pictures' own pixels, and to files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from annotated import brought_back
from gradatim.errors import DataError, PlanError
from gradatim.systems.multigriddet.drawing import class_color, draw_objects
from gradatim.systems.multigriddet.jobs import plan_jobs
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.model import MultiGridDetSettings
from gradatim.systems.multigriddet.predict import (
    Detections,
    Search,
    class_names,
    detect_pictures,
    find_objects,
    input_size,
)
from gradatim.systems.multigriddet.results import Result, as_coco, as_json, as_yolo, write_results
from pictures import picture, save
from tiny_multigriddet import ANCHORS, MODEL, parts, raw_of

SIZE = (96, 128)
SOURCES = {"landscape": (335, 517), "portrait": (640, 425), "square": (500, 500), "small": (31, 45), "thin": (40, 900)}
FOUND = Detections(np.array([[2.0, 3, 12, 23], [10, 0, 20, 5]]), np.array([0.9, 0.6]), np.array([1, 0]))


def anchors():
    return [torch.tensor(one, dtype=torch.float32) for one in ANCHORS]


def found_in(boxes, classes, source, **search):
    """What is found where the network says just these boxes, given in the picture's pixels."""
    place = Letterbox(source, SIZE)
    raw = raw_of(place.boxes(np.array(boxes)).tolist(), classes, SIZE)
    return find_objects(raw, anchors(), [place], Search(**{"confidence": 0.4, **search}))[0]


@pytest.mark.parametrize("name", SOURCES)
def test_a_box_comes_back_to_exactly_where_it_was(name):
    height, width = SOURCES[name]
    boxes = [[0.11 * width, 0.2 * height, 0.45 * width, 0.7 * height], [0.6 * width, 0.1 * height, width, height]]

    found = found_in(boxes, [2, 0], (height, width))

    assert sorted(found.classes.tolist()) == [0, 2]
    np.testing.assert_allclose(found.boxes[found.classes.argsort()[::-1]], boxes, atol=2e-6 * max(height, width))


def test_the_original_way_is_off_by_its_rounding_and_gives_whole_pixels():
    source = (335, 517)
    box = [57.3, 66.6, 232.65, 233.1]

    found = found_in([box], [1], source, original=True)

    place = Letterbox(source, SIZE)
    expected = brought_back(place.boxes(np.array([box])), place, published=True)
    assert np.abs(expected - box).max() > 0.3
    np.testing.assert_array_equal(found.boxes, np.floor(expected + 0.5))


def test_boxes_are_clipped_to_their_picture():
    found = found_in([[-40.0, -30, 100, 90], [400, 250, 600, 400]], [0, 1], (333, 517))

    order = found.classes.argsort()
    np.testing.assert_allclose(found.boxes[order], [[0, 0, 100, 90], [400, 250, 517, 333]], atol=1e-3)


def test_boxes_of_different_classes_suppress_each_other_only_across_classes():
    boxes = [[100.0, 50, 300, 250], [130, 80, 330, 290]]

    def count(**search):
        return len(found_in(boxes, [0, 1], (333, 517), threshold=0.3, **search))

    assert count() == 2
    assert count(by_class=False) == 1
    assert count(by_class=False, suppression="none") == 2


def test_each_suppression_does_what_it_says():
    place = Letterbox((96, 128), SIZE)
    boxes = [[20.0, 20, 60, 60], [28, 28, 68, 68], [90, 30, 120, 60]]
    raw = raw_of(boxes, [1, 1, 1], SIZE)
    raw[2][0, 6, 6, 4] = 1.0  # The second is less certain.

    def found(**search):
        return find_objects(raw, anchors(), [place], Search(confidence=0.3, threshold=0.4, **search))[0]

    iou = 32 * 32 / (2 * 1600 - 32 * 32)
    assert len(found(suppression="greedy")) == len(found(suppression="cluster")) == 2
    assert len(found(suppression="diou")) == 2
    assert len(found(suppression="none")) == 3
    assert len(found(suppression="none", most=1)) == 1
    soft = found(suppression="soft")
    first, second = 1 / (1 + np.exp(-12.0)), 1 / (1 + np.exp(-1.0))
    assert soft.scores[2] == pytest.approx(second * np.exp(-(iou**2) / 0.5), abs=1e-4)
    assert len(found(suppression="soft").above(0.6)) == 2
    fused = found(suppression="wbf")
    weights = np.array([first, second])
    np.testing.assert_allclose(
        fused.boxes[1], (weights @ np.array(boxes[:2])) / weights.sum(), atol=1e-3
    )  # The lone one is the better: the fused score is a mean.
    assert fused.scores[1] == pytest.approx(weights.mean(), abs=1e-4)
    assert len(found(suppression="greedy", overlap="iol")) == 2
    for overlap, kept in (("iou", 3), ("iol", 2)):
        search = Search(suppression="greedy", overlap=overlap, threshold=0.5, confidence=0.3)
        assert len(find_objects(raw, anchors(), [place], search)[0]) == kept


def test_soft_suppression_shows_nothing_below_the_confidence():
    boxes = [[100.0, 50, 300, 250], [130, 80, 330, 290]]

    assert len(found_in(boxes, [1, 1], (333, 517), suppression="soft", confidence=0.01)) == 2
    assert len(found_in(boxes, [1, 1], (333, 517), suppression="soft", confidence=0.7)) == 1


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"suppression": "diuo"}, "Did you mean 'diou'?"),
        ({"overlap": "iol"}, "take greedy, cluster or soft"),
        ({"suppression": "wbf", "by_class": False}, "wbf fuses boxes of one class"),
    ],
)
def test_a_search_that_contradicts_itself_is_refused(search, says):
    with pytest.raises(PlanError, match=says.replace("?", "[?]")):
        Search(**search)


def test_sizes_are_read_and_refused():
    assert input_size("608") == (608, 608)
    assert input_size("384x640") == (384, 640)
    with pytest.raises(PlanError, match=r"multiples of 32; the nearest is 384x640"):
        input_size("380x650")
    with pytest.raises(PlanError, match="HEIGHTxWIDTH"):
        input_size("wide")


def test_names_come_from_the_model_then_from_the_data_then_from_numbers():
    named = MultiGridDetSettings(**{**MODEL, "classes": ["a", "b"]})
    numbered = MultiGridDetSettings(**{**MODEL, "classes": 2})

    assert class_names(named, ("x", "y")) == ("a", "b")
    assert class_names(numbered, ("x", "y")) == ("x", "y")
    assert class_names(numbered) == ("class 0", "class 1")


def test_batches_of_mixed_sizes_give_what_each_picture_gives_alone():
    from gradatim.systems.multigriddet import SYSTEM

    built = {name: part.eval() for name, part in parts().items()}

    def compute(task, sample, want):
        assert not torch.is_grad_enabled()
        return SYSTEM.read_tasks[task].compute(built, sample, want=want)

    many = [picture(seed, size) for seed, size in enumerate([(48, 64), (70, 40), (33, 33)])]

    def boxes(pictures, size, batch_size):
        with torch.no_grad():
            found = detect_pictures(
                compute, built["predict"], pictures, size=size, search=search, batch_size=batch_size
            )
            return [one for _, one in found]

    search = Search(confidence=0.05, suppression="none", most=10000)
    together, alone = boxes(many, (64, 96), 2), boxes(many, (64, 96), 1)
    assert len(together) == 3
    assert sum(map(len, together)) > 5
    for a, b, one in zip(together, alone, many, strict=True):
        # Cells that see nothing but gray have equal scores, so their order is open.
        np.testing.assert_allclose(np.sort(a.boxes, axis=0), np.sort(b.boxes, axis=0), atol=1e-3)
        assert (np.diff(a.scores) <= 0).all()
        assert (a.boxes >= 0).all()
        assert (a.boxes[:, 2:] <= [one.shape[1], one.shape[0]]).all()
    assert boxes(many[:1], (64, 64), 1)[0].boxes.tolist() != together[0].boxes.tolist()


# -- files ------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    save(tmp_path / "in/good.png", picture())
    (tmp_path / "in/empty.jpg").write_bytes(b"")
    (tmp_path / "in/text.png").write_text("no picture")
    (tmp_path / "in/cut.png").write_bytes((tmp_path / "in/good.png").read_bytes()[:200])
    (tmp_path / "nothing").mkdir()

    with pytest.raises(DataError) as error:
        plan_jobs([tmp_path / "in", tmp_path / "gone.png", tmp_path / "nothing"], tmp_path / "out")

    told = str(error.value)
    assert "5 problem(s)" in told
    for words in (
        "gone.png: no such file", "empty.jpg: the file is empty", "text.png: not an image", "cut.png: the image is dam",
        "nothing: no picture and no video",
    ):  # fmt: skip
        assert words in told
    assert not (tmp_path / "out").exists()


def test_inputs_are_never_overwritten(tmp_path):
    file = save(tmp_path / "in/a.png", picture())

    for paths in ([tmp_path / "in"], [file]):
        for draw in (True, False):
            with pytest.raises(DataError, match="the inputs lie there"):
                plan_jobs(paths, tmp_path / "in", draw=draw)
    paths = [save(tmp_path / "out/sub/b.png", picture()), save(tmp_path / "x/sub/b.png", picture()).parent.parent]
    with pytest.raises(DataError, match=r"out/sub/b\.png: is an input, and would be overwritten"):
        plan_jobs(paths, tmp_path / "out")
    with pytest.raises(DataError, match="is a file; results need a folder"):
        plan_jobs([tmp_path / "in"], file)


def test_folders_are_searched_to_the_bottom_but_not_where_results_lie(tmp_path):
    for name in ("a.png", "sub/b.jpg", "sub/deep/c.bmp", "out/a.png"):
        save(tmp_path / "in" / name, picture())
    (tmp_path / "in/sub/notes.txt").write_text("text")

    jobs = plan_jobs([tmp_path / "in"], tmp_path / "in/out")

    assert [job.name for job in jobs] == ["a.png", "sub/b.jpg", "sub/deep/c.bmp"]
    assert [job.drawn for job in jobs][1] == tmp_path / "in/out/sub/b.jpg"
    assert [path.name for path in jobs.skipped] == ["notes.txt"]


def test_two_pictures_for_one_result_are_refused(tmp_path):
    paths = [save(tmp_path / folder / "a.png", picture()) for folder in ("x", "y")]
    with pytest.raises(DataError, match=r"a\.png: would hold the results of .*x/a\.png and of .*y/a\.png"):
        plan_jobs(paths, tmp_path / "out")
    save(tmp_path / "z/a.png", picture())
    save(tmp_path / "z/a.jpg", picture())
    assert len(list(plan_jobs([tmp_path / "z"], tmp_path / "out"))) == 2
    with pytest.raises(DataError, match=r"labels/a\.txt: would hold"):
        plan_jobs([tmp_path / "z"], tmp_path / "out", formats=["yolo"])
    with pytest.raises(PlanError, match="Did you mean 'yolo'"):
        plan_jobs([tmp_path / "z"], tmp_path / "out", formats=["yollo"])


def results(tmp_path):
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    return [
        Result(name="000012.png", size=(40, 50), found=FOUND, labels=tmp_path / "labels/000012.txt"),
        Result(name="sub/7.png", size=(20, 20), found=nothing, labels=tmp_path / "labels/sub/7.txt"),
    ]


def test_all_formats_say_the_same(tmp_path):
    written = write_results(tmp_path, results(tmp_path), ("cat", "dog"), ("json", "coco", "yolo"))

    ours = json.loads((tmp_path / "detections.json").read_text())
    coco = json.loads((tmp_path / "coco_results.json").read_text())
    images = json.loads((tmp_path / "coco_images.json").read_text())
    lines = (tmp_path / "labels/000012.txt").read_text().splitlines()
    assert len(written) == 4
    assert ours["pictures"]["000012.png"] == {
        "size": [40, 50],
        "objects": [
            {"box": [2.0, 3.0, 12.0, 23.0], "score": 0.9, "class": "dog"},
            {"box": [10.0, 0.0, 20.0, 5.0], "score": 0.6, "class": "cat"},
        ],
    }
    assert ours["pictures"]["sub/7.png"]["objects"] == []
    assert coco[0] == {"image_id": 12, "category_id": 2, "bbox": [2.0, 3.0, 10.0, 20.0], "score": 0.9}
    assert images["images"][1] == {"id": 7, "file_name": "sub/7.png", "height": 20, "width": 20}
    assert images["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [float(word) for word in lines[0].split()] == [1, 0.14, 0.325, 0.2, 0.5, 0.9]
    assert (tmp_path / "labels/sub/7.txt").read_text() == ""


def test_cocos_own_tools_load_the_results(tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    write_results(tmp_path, results(tmp_path), ("cat", "dog"), ("coco",))

    loaded = pycocotools.COCO(str(tmp_path / "coco_images.json")).loadRes(str(tmp_path / "coco_results.json"))

    assert [one["area"] for one in loaded.loadAnns([1, 2])] == [200.0, 50.0]


def test_frames_of_a_video_stand_in_their_order(tmp_path):
    common = {"name": "a.mp4", "size": (40, 50), "found": FOUND, "fps": 10.0}
    frames = [Result(labels=tmp_path / f"{number}.txt", frame=number, **common) for number in (0, 1)]

    told = as_json(frames, ("cat", "dog"))["videos"]["a.mp4"]
    images, found = as_coco(frames, ("cat", "dog"))

    assert [frame["number"] for frame in told["frames"]] == [0, 1]
    assert told["fps"] == 10.0
    assert [one["file_name"] for one in images["images"]] == ["a.mp4/000000", "a.mp4/000001"]
    assert len(found) == 4
    assert as_yolo(frames[0]).startswith("1 0.14")


# -- drawing ----------------------------------------------------------------------------------------


def test_boxes_are_drawn_in_the_color_of_their_class_and_grow_with_the_picture():
    def thickness(side):
        found = Detections(np.array([[0.25, 0.25, 0.75, 0.75]]) * side, np.array([0.87]), np.array([1]))
        black = np.zeros((side, side, 3), np.uint8)
        drawn = draw_objects(black, found, ("cat", "dog"))
        assert not black.any()
        row = drawn[side // 2]
        return int((row == class_color(1)).all(1).sum()) // 2

    assert thickness(100) == 1
    assert thickness(1000) == 4


def test_a_label_stays_inside_the_picture_and_colors_differ():
    found = Detections(np.array([[90.0, 0, 100, 10]]), np.array([0.87]), np.array([0]))

    drawn = draw_objects(np.zeros((100, 100, 3), np.uint8), found, ("a name",))

    columns = np.flatnonzero((drawn == class_color(0)).all(2).any(0))
    assert columns.min() < 60
    assert columns.max() == 99
    assert len({class_color(n) for n in range(80)}) == 80


def test_pictures_keep_their_size(tmp_path):
    drawn = draw_objects(picture(0, (40, 50)), FOUND, ("cat", "dog"))

    assert drawn.shape == (40, 50, 3)
    assert Image.fromarray(drawn).size == (50, 40)
