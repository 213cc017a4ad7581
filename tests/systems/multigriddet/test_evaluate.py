"""Figures of a detector: equal to COCO's own tools, to counting by hand, and drawn."""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from gradatim.data.image import image_size, read_image
from gradatim.errors import DataError, MissingExtraError
from gradatim.systems.multigriddet import SYSTEM
from gradatim.systems.multigriddet.annotations import AnnotatedImage
from gradatim.systems.multigriddet.coco_figures import FIGURES, coco_documents, coco_figures
from gradatim.systems.multigriddet.data import DetectionSettings, open_data
from gradatim.systems.multigriddet.evaluate import evaluate_detector, figures_of
from gradatim.systems.multigriddet.figures import write_figures
from gradatim.systems.multigriddet.matching import balance, confusion, judge
from gradatim.systems.multigriddet.predict import Detections, Search
from tiny_multigriddet import SHAPES, parts

pytest.importorskip("faster_coco_eval")

NAMES = ("cat", "dog", "cow")
A, B, FAR = [10.0, 10, 50, 50], [60.0, 60, 90, 100], [150.0, 150, 180, 190]


def record(boxes, classes, *, crowd=(), difficult=()):
    marks = [np.isin(np.arange(len(boxes)), which) for which in (crowd, difficult)]
    return AnnotatedImage(
        Path("a.png"), (200, 300), np.array(boxes, float).reshape(-1, 4), np.array(classes, np.int64), *marks
    )


def found(boxes, scores, classes):
    return Detections(np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.array(classes, np.int64))


def generated(seed, count=40, *, crowds=True):
    """Pictures with objects of all sizes, crowds, difficult ones and none; detections near them and anywhere."""
    random = np.random.default_rng(seed)
    records, detections = [], []
    for _ in range(count):
        n = int(random.integers(0, 7))
        corner, side = random.uniform(0, 250, (n, 2)), np.exp(random.uniform(np.log(6), np.log(230), (n, 2)))
        boxes, classes = np.concatenate([corner, corner + side], 1), random.integers(0, 3, n)
        crowd = np.flatnonzero(random.random(n) < (0.15 if crowds else 0))
        records.append(record(boxes, classes, crowd=crowd))
        near = boxes[random.integers(0, n, 12)] if n else np.zeros((0, 4))
        near = near + random.normal(0, 0.08, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
        labels = np.where(random.random(len(near)) < 0.8, 0, 1)
        kept = (near[:, 2:] > near[:, :2]).all(1)
        anywhere = random.uniform(0, 150, (130, 2))
        both = np.concatenate([near[kept], np.concatenate([anywhere, anywhere + random.uniform(5, 100, (130, 2))], 1)])
        labels = np.concatenate([classes[random.integers(0, n, kept.sum())] + 0 * labels[kept] if n else labels[kept],
                                 random.integers(0, 3, 130)])  # fmt: skip
        scores = np.concatenate([random.uniform(0.2, 1, kept.sum()), random.uniform(0, 0.6, 130)])
        order = np.argsort(-scores)
        detections.append(found(both[order], scores[order], labels[order]))
    return records, detections


def by_pycocotools(records, detections, classes=3):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = []
        for document in coco_documents(records, detections, classes):
            loaded.append(coco.COCO())
            loaded[-1].dataset = document
            loaded[-1].createIndex()
        judge_ = cocoeval.COCOeval(*loaded, "bbox")
        judge_.evaluate()
        judge_.accumulate()
        judge_.summarize()
    return judge_


@pytest.mark.parametrize("seed", range(3))
def test_the_twelve_figures_are_those_of_pycocotools(seed):
    records, detections = generated(seed)
    assert any(one.crowd.any() for one in records)
    assert any(not len(one.boxes) for one in records)
    assert max(map(len, detections)) > 100

    ours = coco_figures(records, detections, 3)
    theirs = by_pycocotools(records, detections)

    assert list(ours.figures) == list(FIGURES)
    np.testing.assert_allclose(list(ours.figures.values()), theirs.stats, atol=1e-9, rtol=0)
    assert min(ours.figures.values()) > 0.01
    for number, (ap, ap50, ap75) in ours.by_class.items():
        precision = theirs.eval["precision"][:, :, number, 0, -1]
        np.testing.assert_allclose(
            [ap, ap50, ap75], [precision.mean(), precision[0].mean(), precision[5].mean()], atol=1e-9
        )
        np.testing.assert_allclose(ours.curves[number], precision[0], atol=1e-9)


def test_our_own_matching_gives_cocos_areas_where_there_is_no_crowd():
    records, detections = generated(5, crowds=False)

    figures = figures_of(records, detections, NAMES)

    # VOC's area differs from COCO's 101 points by less than a step of them.
    assert figures.voc == pytest.approx(figures.coco.figures["AP50"], abs=0.01)
    assert figures.voc07 == pytest.approx(figures.coco.figures["AP50"], abs=0.05)


def test_perfect_detections_are_perfect_and_pictures_without_objects_count():
    records = [record([A, B], [0, 1]), record([], [])]
    right = found([A, B], [0.9, 0.8], [0, 1])
    nothing, wrong = found([], [], []), found([A], [0.95], [0])

    perfect = figures_of(records, [right, nothing], NAMES)
    false = figures_of(records, [right, wrong], NAMES)

    assert perfect.coco.figures["AP"] == pytest.approx(1)
    assert (perfect.voc07, perfect.voc) == (1, 1)
    assert perfect.balance.f1 == 1
    assert perfect.balance.threshold == 0.8
    assert false.coco.figures["AP"] == pytest.approx(0.75)
    assert false.voc == pytest.approx(0.75)
    assert false.confusion[3].tolist() == [1, 0, 0, 0]
    # The published program has no such pictures, and its formula gives one object nothing but p times r.
    assert false.legacy["mAP50"] == perfect.legacy["mAP50"] == pytest.approx(1)


def test_nothing_found_is_zero_everywhere():
    figures = figures_of([record([A], [0])], [found([], [], [])], NAMES)

    assert figures.coco.figures["AP"] == figures.voc == figures.voc07 == figures.balance.f1 == 0
    assert figures.legacy["mAP"] == 0
    assert figures.coco.figures["APlarge"] is None
    assert figures.confusion[0, 3] == 1


def test_crowds_and_difficult_objects_are_neither_to_be_found_nor_wrong_to_be_found():
    for mark in ("crowd", "difficult"):
        records = [record([A, B], [0, 0], **{mark: [1]})]
        one = [found([A, B, [62, 62, 90, 100], FAR], [0.9, 0.8, 0.7, 0.1], [0, 0, 0, 0])]

        judged = judge(records, one, 3)
        figures = figures_of(records, one, NAMES)

        assert figures_of(records, [found([A], [0.9], [0])], NAMES).coco.figures["AP"] == pytest.approx(1)
        assert judged.objects.tolist() == [1, 0, 0]
        assert judged.right.tolist() == [True, False]
        assert judged.scores.tolist() == [0.9, 0.1]
        assert figures.voc == figures.coco.figures["AP"] == pytest.approx(1)
        assert confusion(records, one, 3, 0.5).tolist() == [[1, 0, 0, 0]] + [[0] * 4] * 3


def test_a_small_detection_inside_a_crowd_is_not_wrong_but_inside_a_difficult_object_it_is():
    small = [found([[62.0, 62, 72, 72]], [0.9], [0])]

    assert judge([record([B], [0], crowd=[0])], small, 1).right.tolist() == []
    assert judge([record([B], [0], difficult=[0])], small, 1).right.tolist() == [False]


def test_a_second_detection_of_an_object_is_wrong_and_better_ones_choose_first():
    near = [11.0, 11, 51, 51]

    judged = judge([record([A], [0])], [found([near, A], [0.9, 0.8], [0, 0])], 1)

    assert judged.right.tolist() == [True, False]


def test_the_confusion_matrix_counts_what_was_taken_for_what():
    records = [record([A, B, FAR], [0, 1, 2])]
    detections = [found([A, B, [200.0, 10, 220, 30], A], [0.9, 0.8, 0.7, 0.2], [0, 2, 1, 1])]

    counts = confusion(records, detections, 3, 0.5)

    assert counts.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert confusion(records, detections, 3, 0.1)[3].sum() == 2


def test_of_two_detections_the_one_that_overlaps_more_makes_the_pair_not_the_surer_one():
    counts = confusion([record([A], [0])], [found([[13.0, 13, 53, 53], A], [0.9, 0.6], [1, 0])], 2, 0.5)

    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_the_best_threshold_takes_all_detections_of_a_score_or_none():
    records = [record([A, B], [0, 0])]
    detections = [found([A, B, FAR, [0.0, 0, 5, 5]], [0.9, 0.6, 0.6, 0.3], [0, 0, 0, 0])]

    best = balance(judge(records, detections, 1))

    assert best.threshold == 0.6
    assert (best.precision, best.recall) == (pytest.approx(2 / 3), 1)
    assert best.f1 == pytest.approx(0.8)


# -- of a model -------------------------------------------------------------------------------------


@pytest.fixture
def dataset():
    return open_data(DetectionSettings(shapes={**SHAPES, "validate_count": 5, "size": [40, 56]}, size=64), "validate")


def evaluated(dataset, **search):
    built = {name: part.eval().requires_grad_(False) for name, part in parts().items()}
    ticks = []
    figures = evaluate_detector(
        lambda task, sample, want: SYSTEM.read_tasks[task].compute(built, sample, want=want),
        built["predict"], dataset, search=Search(confidence=0.001, **search), batch_size=2,
        progress=lambda done, of: ticks.append((done, of)),
    )  # fmt: skip
    assert ticks == [(n, 5) for n in range(1, 6)]
    return figures


def test_boxes_are_measured_in_the_pixels_of_the_pictures(dataset):
    figures = evaluated(dataset)

    boxes = np.concatenate([one.boxes for one in figures.found])
    assert figures.images == 5
    assert figures.objects == sum(len(dataset.record(n).boxes) for n in range(5))
    assert 40 < boxes[:, 2].max() <= 56
    assert boxes[:, 3].max() <= 40
    assert figures.detections == len(boxes) > 50


def test_the_right_answer_scores_one(dataset):
    records = [dataset.record(n) for n in range(5)]
    exact = [found(one.boxes, np.linspace(0.9, 0.8, len(one.boxes)), one.classes) for one in records]

    figures = figures_of(records, exact, dataset.classes)

    assert figures.coco.figures["AP"] == pytest.approx(1)
    assert figures.to_json()["classes"].keys() <= set(dataset.classes)


def test_a_data_set_without_objects_is_refused():
    settings = DetectionSettings(shapes={**SHAPES, "empty": 1, "size": 64}, size=64)
    with pytest.raises(DataError, match="none of the 3 pictures has an object"):
        evaluated(open_data(settings, "validate"))


def test_pictures_of_the_figures_are_drawn(dataset, tmp_path):
    pytest.importorskip("matplotlib")
    figures = evaluated(dataset)

    written = write_figures(tmp_path, figures, dataset)

    assert [path.name for path in written[:4]] == ["curves.png", "classes.png", "confusion.png", "thresholds.png"]
    assert len(written) == 4 + 5
    assert all(path.is_file() for path in written)
    assert read_image(written[0]).std() > 5
    assert image_size(written[-1]) == (40, 2 * 56 + 6)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_without_faster_coco_eval_the_line_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)

    with pytest.raises(MissingExtraError, match=r"gradatim\[detection\]"):
        coco_figures([record([A], [0])], [found([A], [0.9], [0])], 1)
