"""Losses by the names that plans call them; every one is the sum of three scales, which are logged beside it."""

from collections.abc import Callable, Mapping

from torch import Tensor

from gradatim.systems.multigriddet.parts.backbone import STRIDES
from gradatim.task import itemized

_scaled = itemized(*(f"stride{stride}" for stride in STRIDES))


@_scaled
def location(location_terms: Tensor) -> Tensor:
    """Place and size of the boxes."""
    return location_terms


@_scaled
def objectness(objectness_terms: Tensor) -> Tensor:
    """Whether a cell tells an object."""
    return objectness_terms


@_scaled
def anchor(anchor_terms: Tensor) -> Tensor:
    """Which anchor a cell's box is measured by."""
    return anchor_terms


@_scaled
def classification(class_terms: Tensor) -> Tensor:
    """What the object is."""
    return class_terms


@_scaled
def consensus_box(box_spread: Tensor) -> Tensor:
    """How far the boxes of an object's cells differ."""
    return box_spread


@_scaled
def consensus_objectness(objectness_spread: Tensor) -> Tensor:
    """How far the objectness of an object's cells differs."""
    return objectness_spread


@_scaled
def consensus_class(class_spread: Tensor) -> Tensor:
    """How far the classes of an object's cells differ."""
    return class_spread


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "location": location,
    "objectness": objectness,
    "anchor": anchor,
    "classification": classification,
    "consensus_box": consensus_box,
    "consensus_objectness": consensus_objectness,
    "consensus_class": consensus_class,
}
SCALES_OF_LOSSES: Mapping[str, float] = {"location": 5.0, "objectness": 1.0, "anchor": 1.0, "classification": 1.0}
"""Weights that the published model was trained with; fine-tuning with others unlearns it."""
