"""Average precision: COCO's 101 points, VOC's eleven or the area below the curve, and the original's own figures.

A detection counts where it overlaps an object of its class and image that no better detection has taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

COCO_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))
Points = Literal["coco", "voc07", "voc", "legacy_coco", "legacy_voc"]
_TINY = 1e-8
SMALL, MEDIUM = 32.0**2, 96.0**2


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Boxes of a data set.

    Args:
        images: (N,) number of each one's image.
        boxes: (N, 4) corners in pixels.
        classes: (N,).
        scores: (N,) for detections.
    """

    images: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, mask: np.ndarray) -> "Objects":
        """Those where a mask is true."""
        scores = None if self.scores is None else self.scores[mask]
        return Objects(images=self.images[mask], boxes=self.boxes[mask], classes=self.classes[mask], scores=scores)

    @property
    def areas(self) -> np.ndarray:
        """(N,) in pixels."""
        areas: np.ndarray = (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])
        return areas


def overlap_matrix(a: np.ndarray, b: np.ndarray, *, as_centers: bool = False, epsilon: float = 0.0) -> np.ndarray:
    """Intersection over union, (N, 4) and (M, 4) -> (N, M).

    Args:
        a, b: corners.
        as_centers: read them as centers and sizes nevertheless, which is the original's mistake in most figures.
        epsilon: beside the union.
    """
    if as_centers:
        a, b = (np.concatenate([x[:, :2] - x[:, 2:] / 2, x[:, :2] + x[:, 2:] / 2], 1) for x in (a, b))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    size = np.clip(high - low, 0, None)
    both = size[..., 0] * size[..., 1]
    areas = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - both + epsilon
    result: np.ndarray = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return result


def hits(
    truths: Objects, found: Objects, thresholds: Sequence[float], *, as_centers: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of one class are right, best first.

    Args:
        truths, found: of one class.
        thresholds: least overlaps.
        as_centers: see `overlap_matrix`.

    Returns:
        (N, T) bool, and the scores, (N,).
    """
    assert found.scores is not None
    order = np.argsort(-found.scores, kind="mergesort")
    right = np.zeros((len(found), len(thresholds)), bool)
    places = np.empty(len(found), np.int64)
    places[order] = np.arange(len(found))
    for image in np.unique(found.images):
        mine = np.flatnonzero(found.images == image)
        mine = mine[np.argsort(places[mine])]
        objects = np.flatnonzero(truths.images == image)
        if not len(objects):
            continue
        overlaps = overlap_matrix(found.boxes[mine], truths.boxes[objects], as_centers=as_centers)
        for column, threshold in enumerate(thresholds):
            free = np.ones(len(objects), bool)
            for row, one in enumerate(mine):
                candidates = np.where(free, overlaps[row], -1.0)
                best = int(candidates.argmax())
                if candidates[best] >= min(threshold, 1 - 1e-10):
                    free[best] = False
                    right[places[one], column] = True
    return right, found.scores[order]


def area_below(right: np.ndarray, objects: int, points: Points) -> float:
    """Average precision of detections in falling order.

    Args:
        right: (N,) bool.
        objects: how many there are to find.
        points: `coco`, 101 recalls; `voc07`, eleven; `voc`, the whole curve; `legacy_coco` and `legacy_voc`, as the
            original computes what it calls by these names.
    """
    if not len(right) or not objects:
        return 0.0
    true, false = np.cumsum(right), np.cumsum(~right)
    tiny = _TINY if points.startswith("legacy") else 0.0
    recall, precision = true / (objects + tiny), true / (true + false + tiny)
    if points in ("voc07", "legacy_voc"):
        levels = np.linspace(0, 1, 11)
        # Rounding must not lose the last level; the original's recall never reaches it.
        slack = 1e-12 if points == "voc07" else 0.0
        return float(np.mean([precision[recall >= level - slack].max(initial=0.0) for level in levels]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if points == "legacy_coco":
        if len(recall) == 1:
            return float(envelope[0] * recall[0])
        return float(np.trapezoid(envelope, recall))
    if points == "voc":
        return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * envelope))
    places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.concatenate([envelope, [0.0]])[np.minimum(places, len(envelope))].mean())


def average_precisions(
    truths: Objects,
    found: Objects,
    *,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    points: Points = "coco",
    as_centers: bool = False,
    most: int | None = 100,
) -> dict[int, np.ndarray]:
    """Average precision by class, (T,) each.

    Args:
        truths: all objects.
        found: all detections.
        thresholds: least overlaps.
        points: see `area_below`.
        as_centers: see `overlap_matrix`.
        most: detections of a class in an image that count; None: all.

    Returns:
        Classes that have objects; with the original's figures also those that have detections alone, with 0.
    """
    legacy = points.startswith("legacy")
    present = np.unique(truths.classes)
    if legacy:
        present = np.union1d(present, np.unique(found.classes))
    result = {}
    for label in present.tolist():
        own = found.chosen(found.classes == label)
        if most is not None and not legacy:
            own = _first_of_each_image(own, most)
        objects = truths.chosen(truths.classes == label)
        right, _ = hits(objects, own, thresholds, as_centers=as_centers)
        result[int(label)] = np.array([area_below(right[:, t], len(objects), points) for t in range(len(thresholds))])
    return result


def _first_of_each_image(found: Objects, most: int) -> Objects:
    assert found.scores is not None
    keep = np.zeros(len(found), bool)
    for image in np.unique(found.images):
        mine = np.flatnonzero(found.images == image)
        keep[mine[np.argsort(-found.scores[mine], kind="mergesort")[:most]]] = True
    return found.chosen(keep)


def mean_precision(by_class: dict[int, np.ndarray]) -> np.ndarray:
    """Mean over the classes, (T,); zeros where there is none."""
    values = list(by_class.values())
    mean: np.ndarray = np.mean(values, axis=0) if values else np.zeros(len(COCO_THRESHOLDS))
    return mean


@dataclass(frozen=True, kw_only=True)
class LegacyFigures:
    """What the original's evaluation prints.

    Args:
        by_class: (10,) by class.
        sizes: mean and first threshold of small, medium and large objects.
    """

    by_class: dict[int, np.ndarray]
    sizes: dict[str, tuple[float, float]]

    @property
    def by_threshold(self) -> np.ndarray:
        """(10,) mean over the classes."""
        return mean_precision(self.by_class)


def legacy_figures(
    truths: Objects, found: Objects, *, points: Points = "legacy_coco", cached: bool = True
) -> LegacyFigures:
    """The original's figures, right and wrong alike, to compare with numbers of old.

    Args:
        truths, found: all objects and detections.
        points: `legacy_coco` or `legacy_voc`.
        cached: it compares boxes as they are up to 10,000 detections; beyond, as if corners were centers and sizes,
            which it always does for objects by size.
    """
    sizes = {}
    for name, low, high in (("APS", 0.0, SMALL), ("APM", SMALL, MEDIUM), ("APL", MEDIUM, np.inf)):
        chosen = [one.chosen((one.areas >= low) & (one.areas < high)) for one in (truths, found)]
        values = mean_precision(average_precisions(*chosen, points=points, as_centers=True))
        sizes[name] = float(values.mean()), float(values[0])
    by_class = average_precisions(truths, found, points=points, as_centers=not cached)
    return LegacyFigures(by_class=by_class, sizes=sizes)
