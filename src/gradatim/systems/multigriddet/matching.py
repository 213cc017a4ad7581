"""Which detections are right: one rule for curves, thresholds, confusions and VOC's figures.

The best detections choose first, each the free object of its class that it overlaps most. One that finds nothing but
overlaps a crowd or a difficult object counts neither as right nor as wrong; such objects are none to be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.systems.multigriddet.annotations import AnnotatedImage
from gradatim.systems.multigriddet.average_precision import Objects, overlap_matrix
from gradatim.systems.multigriddet.predict import Detections

Floats = NDArray[np.float64]
HALF = 0.5
"""Overlap from which on a detection has found an object, as VOC has it."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Detections of a data set that are right or wrong, the best first.

    Args:
        scores: (N,).
        classes: (N,).
        right: (N,) bool.
        objects: (classes,) how many there are to find.
    """

    scores: Floats
    classes: NDArray[np.int64]
    right: NDArray[np.bool_]
    objects: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The score at which precision and recall are balanced best.

    Args:
        threshold: detections below it are left out; 1 where nothing is right.
        f1, precision, recall: of the others, over all classes together.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


def overlaps_with(found: Floats, record: AnnotatedImage) -> Floats:
    """(N, M) overlap of corners with a picture's objects; with a crowd, the share of the detection inside it."""
    result = overlap_matrix(found, record.boxes)
    if record.crowd.any() and len(found):
        low = np.maximum(found[:, None, :2], record.boxes[None, :, :2])
        high = np.minimum(found[:, None, 2:], record.boxes[None, :, 2:])
        own = (found[:, 2:] - found[:, :2]).prod(1)
        inside = np.clip(high - low, 0, None).prod(-1) / np.maximum(own, 1e-12)[:, None]
        result[:, record.crowd] = inside[:, record.crowd]
    return result


def judge(records: Sequence[AnnotatedImage], found: Sequence[Detections], classes: int) -> Judged:
    """Hold detections against the objects of their pictures and classes.

    Args:
        records: of all pictures.
        found: in the same order.
        classes: how many.
    """
    rows: list[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]] = []
    objects = np.zeros(classes, np.int64)
    for record, one in zip(records, found, strict=True):
        np.add.at(objects, record.classes[~record.ignored], 1)
        same = one.classes[:, None] == record.classes[None]
        overlaps = np.where(same, overlaps_with(one.boxes, record), -1.0)
        rows.append((one.scores, one.classes, _states(overlaps, one.scores, record.ignored)))
    scores, labels, states = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(-scores, kind="stable")
    order = order[states[order] >= 0]
    return Judged(scores=scores[order], classes=labels[order], right=states[order] == 1, objects=objects)


def _states(overlaps: Floats, scores: Floats, skip: NDArray[np.bool_]) -> NDArray[np.int64]:
    """1 right, 0 wrong, -1 neither, for each detection of a picture."""
    states = np.zeros(len(overlaps), np.int64)
    if not overlaps.shape[1]:
        return states
    free = ~skip
    for row in np.argsort(-scores, kind="stable"):
        open_to = np.where(free, overlaps[row], -1.0)
        best = int(open_to.argmax())
        if open_to[best] >= HALF:
            free[best] = False
            states[row] = 1
        elif (overlaps[row][skip] >= HALF).any():
            states[row] = -1
    return states


def balance(judged: Judged) -> Balance:
    """The score with the best F1."""
    total = int(judged.objects.sum())
    true = np.cumsum(judged.right)
    if not total or not judged.right.any():
        return Balance(threshold=1.0, f1=0.0, precision=0.0, recall=0.0)
    precision, recall = true / np.arange(1, len(true) + 1), true / total
    f1 = 2 * true / (np.arange(1, len(true) + 1) + total)
    # A threshold takes all detections of its score or none.
    f1[:-1][judged.scores[:-1] == judged.scores[1:]] = -1
    best = int(f1.argmax())
    return Balance(
        threshold=float(judged.scores[best]), f1=float(f1[best]), precision=float(precision[best]),
        recall=float(recall[best]),
    )  # fmt: skip


def confusion(
    records: Sequence[AnnotatedImage], found: Sequence[Detections], classes: int, threshold: float
) -> NDArray[np.int64]:
    """(classes + 1, classes + 1): objects by their class and by the class that they were taken for.

    The last column counts objects that were missed, the last row detections where nothing is. Pairs of any classes
    are made by overlap, the largest first.

    Args:
        records: of all pictures.
        found: in the same order.
        classes: how many.
        threshold: least score of a detection.
    """
    result = np.zeros((classes + 1, classes + 1), np.int64)
    for record, every in zip(records, found, strict=True):
        one, skip = every.above(threshold), record.ignored
        overlaps = overlaps_with(one.boxes, record)
        left, missed = set(range(len(one))), set(np.flatnonzero(~skip).tolist())
        pairs = np.argwhere(overlaps >= HALF)
        for row, column in pairs[np.argsort(-overlaps[overlaps >= HALF], kind="stable")].tolist():
            if row in left and column in missed:
                left.remove(row)
                missed.remove(column)
                result[record.classes[column], one.classes[row]] += 1
        for column in missed:
            result[record.classes[column], classes] += 1
        for row in left:
            result[classes, one.classes[row]] += not (overlaps[row][skip] >= HALF).any()
    return result


def as_objects(records: Sequence[AnnotatedImage], found: Sequence[Detections], least: float) -> tuple[Objects, Objects]:
    """Objects to be found and detections, of pictures that have any, as the original's figures see them.

    Args:
        records: of all pictures.
        found: in the same order.
        least: score of detections.
    """
    seen = [(record, one.above(least)) for record, one in zip(records, found, strict=True) if (~record.ignored).any()]
    empty = np.zeros((0, 4))
    there = [~record.ignored for record, _ in seen]
    images = np.arange(len(seen))
    truths = Objects(
        images=np.repeat(images, [int(keep.sum()) for keep in there]),
        boxes=np.concatenate([empty, *(record.boxes[keep] for (record, _), keep in zip(seen, there, strict=True))]),
        classes=np.concatenate(
            [empty[:, 0].astype(int), *(record.classes[keep] for (record, _), keep in zip(seen, there, strict=True))]
        ),
    )
    detections = Objects(
        images=np.repeat(images, [len(one) for _, one in seen]),
        boxes=np.concatenate([empty, *(one.boxes for _, one in seen)]),
        classes=np.concatenate([empty[:, 0].astype(int), *(one.classes for _, one in seen)]),
        scores=np.concatenate([empty[:, 0], *(one.scores for _, one in seen)]),
    )
    return truths, detections
