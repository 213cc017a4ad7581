"""Figures of merit of a validation set, by the names that plans call them."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor

from gradatim.system import Metric
from gradatim.systems.multigriddet.average_precision import (
    COCO_THRESHOLDS,
    Objects,
    average_precisions,
    mean_precision,
)
from gradatim.systems.multigriddet.losses import SCALES_OF_LOSSES

Pictured = tuple[np.ndarray, np.ndarray]


def found_and_true(
    found: Tensor, found_mask: Tensor, boxes: Tensor, boxes_mask: Tensor | None = None
) -> list[Pictured]:
    """What was found in each image of a batch, (n, 6), and what is there, (m, 5)."""
    there = (boxes[..., 2] > boxes[..., 0]) if boxes_mask is None else boxes_mask
    return [
        (a[m].double().cpu().numpy(), b[t].double().cpu().numpy())
        for a, m, b, t in zip(found, found_mask, boxes, there, strict=True)
    ]


def gathered(pictured: Sequence[Pictured]) -> tuple[Objects, Objects]:
    """Objects and detections of all images, numbered in order."""
    truths = np.concatenate([np.zeros((0, 5)), *(b for _, b in pictured)])
    found = np.concatenate([np.zeros((0, 6)), *(a for a, _ in pictured)])
    images = [np.repeat(np.arange(len(pictured)), [len(pair[which]) for pair in pictured]) for which in (0, 1)]
    return (
        Objects(images=images[1], boxes=truths[:, :4], classes=truths[:, 4].astype(int)),
        Objects(images=images[0], boxes=found[:, :4], classes=found[:, 5].astype(int), scores=found[:, 4]),
    )


def mean_over(batches: Sequence[list[Pictured]], *, thresholds: Sequence[float]) -> float:
    """Mean average precision at 101 recalls, over classes and thresholds."""
    truths, found = gathered([one for batch in batches for one in batch])
    return float(mean_precision(average_precisions(truths, found, thresholds=thresholds)).mean())


def weighted_loss(
    location_terms: Tensor, objectness_terms: Tensor, anchor_terms: Tensor, class_terms: Tensor
) -> Tensor:
    """The four losses with the weights of the published model."""
    terms = (location_terms, objectness_terms, anchor_terms, class_terms)
    return sum(
        (weight * term.sum() for weight, term in zip(SCALES_OF_LOSSES.values(), terms, strict=True)),
        start=location_terms.new_zeros(()),
    )


METRICS = {
    "map50": Metric(found_and_true, over=partial(mean_over, thresholds=(0.5,))),
    "map": Metric(found_and_true, over=partial(mean_over, thresholds=COCO_THRESHOLDS)),
    "loss": Metric(weighted_loss, higher_is_better=False),
}
