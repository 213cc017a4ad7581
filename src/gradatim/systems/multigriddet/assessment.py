"""How wrong raw predictions are: location, objectness, anchor and class at one scale, and the cells' agreement.

`geometry` says where a cell's box lies. In `corrected` the column gives x and the row y, in pixels. `original` repeats
the published code, which exchanges rows and columns and multiplies sizes by the stride once more: with it nearly every
cell overlaps some object and is ignored. It is there to compare figures with those of older runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.systems.multigriddet.focal import box_loss, sigmoid_focal, softmax_focal
from gradatim.systems.multigriddet.geometry import CLAMP, cells, corners, iou, offset
from gradatim.systems.multigriddet.targets import smoothed

Geometry = Literal["corrected", "original"]
Divisor = Literal["batch", "positives", "grid"]
BoxLoss = Literal["squared", "giou", "diou", "ciou"]
ClassLoss = Literal["sigmoid", "focal", "softmax_focal"]
EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class Assessing:
    """Options of the losses.

    Args:
        geometry: see above.
        box: how the location is compared: squared differences of raw numbers, or an overlap of decoded boxes.
        classes: how classes are compared; focal losses do not smooth.
        object_scale, no_object_scale: weight of objectness where an object is told, and where none is.
        ignore_above: cells without an object are ignored where some box of theirs overlaps an object by more.
        iou_objectness: objectness aims at the overlap of the cell's own box instead of 1.
        iou_power, iou_ratio: of that overlap, and its share beside 1.
        trainable_nms: weight of ignored cells, by their overlap to `trainable_nms_power`; 0 leaves them out.
        smoothing: of class labels.
        class_weights: (classes,); None: all 1.
        normalization: what sums are divided by; several are multiplied, as in the original.
    """

    geometry: Geometry = "corrected"
    box: BoxLoss = "squared"
    classes: ClassLoss = "sigmoid"
    object_scale: float = 1.0
    no_object_scale: float = 0.5
    ignore_above: float = 0.5
    iou_objectness: bool = False
    iou_power: float = 1.5
    iou_ratio: float = 1.0
    trainable_nms: float = 0.0
    trainable_nms_power: float = 2.0
    smoothing: float = 0.0
    class_weights: Tensor | None = None
    normalization: Sequence[Divisor] = ("batch",)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Predictions and targets of one scale.

    Args:
        raw: (B, h, w, 5 + A + classes).
        told: targets of the same shape.
        owners: (B, h, w) int64, which object a cell tells; cells of one object tell the same box.
        objects: largest number of objects in an image.
        anchors: (A, 2) in pixels.
        stride: pixels of a cell, (x, y).
    """

    raw: Tensor
    told: Tensor
    owners: Tensor
    objects: int
    anchors: Tensor
    stride: tuple[int, int]

    @property
    def has_object(self) -> Tensor:
        """(B, h, w) bool."""
        return self.told[..., 4] > 0.5

    @property
    def count(self) -> int:
        """Anchors of the scale."""
        return len(self.anchors)

    def grid(self, geometry: Geometry) -> Tensor:
        """Corner of every cell, (h, w, 2): (column, row), or exchanged."""
        grid = cells(self.raw.shape[1], self.raw.shape[2], self.raw.device)
        return grid.flip(-1) if geometry == "original" else grid


@dataclass(frozen=True, kw_only=True)
class Overlaps:
    """What boxes overlap, without gradient.

    Args:
        own: (P,) overlap of the box of each cell that tells an object with the best object.
        highest: (B, h, w) largest overlap of any box of a cell with any object.
        ignored: (B, h, w) bool.
    """

    own: Tensor
    highest: Tensor
    ignored: Tensor


@torch.no_grad()
def overlaps(scale: Scale, geometry: Geometry, ignore_above: float) -> Overlaps:
    """Overlaps of predicted boxes with the objects that the scale tells."""
    raw, has = scale.raw, scale.has_object
    stride = raw.new_tensor(scale.stride)
    unit = stride if geometry == "original" else torch.ones_like(stride)
    grid = scale.grid(geometry)
    image, row, column = has.nonzero(as_tuple=True)
    told = scale.told[has]
    anchor = scale.anchors[told[:, 5 : 5 + scale.count].argmax(-1)]
    truth = corners(torch.cat([(told[:, :2] + grid[row, column]) * stride, told[:, 2:4].exp() * anchor * unit], -1))
    table, there = _by_image(truth, image, scale, geometry)
    center = (offset(raw[..., :2]) + grid) * stride
    factor = raw[..., 2:4].clamp(max=CLAMP).exp()
    highest = torch.zeros_like(raw[..., 0])
    for one in scale.anchors:
        found = corners(torch.cat([center, factor * one * unit], -1)).flatten(1, 2)
        overlap = iou(found[:, :, None], table[:, None]).masked_fill(~there[:, None], 0)
        if overlap.shape[-1]:
            highest = torch.maximum(highest, overlap.amax(-1).reshape(highest.shape))
    own_box = corners(torch.cat([center[has], factor[has] * anchor * unit], -1))
    own = iou(own_box[:, None], table[image]).masked_fill(~there[image], 0)
    return Overlaps(
        own=own.amax(-1).clamp(0, 1) if own.shape[-1] else own.new_zeros(len(own)),
        highest=highest,
        ignored=(highest > ignore_above) & ~has,
    )


def _by_image(truth: Tensor, image: Tensor, scale: Scale, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Boxes (B, N, 4) and which of them are there, (B, N)."""
    if geometry == "original":
        # Its cells of one object tell different boxes: none may stand for the others.
        first = torch.searchsorted(image, torch.arange(len(scale.raw), device=image.device))
        place = torch.arange(len(image), device=image.device) - first[image]
        size = int(place.max()) + 1 if len(place) else 0
    else:
        place, size = scale.owners[scale.has_object], scale.objects
    table = truth.new_zeros(len(scale.raw), size, 4)
    there = torch.zeros(len(scale.raw), size, dtype=torch.bool, device=truth.device)
    table[image, place] = truth
    there[image, place] = True
    return table, there


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Losses of one scale, scalars before their weights."""

    location: Tensor
    objectness: Tensor
    anchor: Tensor
    classification: Tensor


def assess(scale: Scale, options: Assessing) -> Terms:
    """The losses of one scale."""
    raw, has = scale.raw, scale.has_object
    told, found = scale.told[has], raw[has]
    seen = overlaps(scale, options.geometry, options.ignore_above)
    divisor = _divisor(scale, options.normalization)
    kinds = 5 + scale.count
    anchor = _bce(found[:, 5:kinds], told[:, 5:kinds]).sum()
    return Terms(
        location=_location(scale, found, told, options) / divisor,
        objectness=_objectness(scale, seen, options) / divisor,
        anchor=anchor / divisor,
        classification=_classification(found[:, kinds:], told[:, kinds:], options) / divisor,
    )


def _bce(logits: Tensor, truth: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _divisor(scale: Scale, names: Sequence[Divisor]) -> Tensor:
    batch, height, width = scale.raw.shape[:3]
    found = scale.raw.new_ones(())
    for name in names:
        if name == "positives":
            found = found * scale.has_object.sum().clamp_min(1)
        else:
            found = found * {"batch": batch, "grid": batch * height * width}[name]
    return found.clamp_min(1)


def _location(scale: Scale, found: Tensor, told: Tensor, options: Assessing) -> Tensor:
    if options.box == "squared":
        place = (told[:, :2] - offset(found[:, :2])).square().sum()
        return place + (told[:, 2:4] - found[:, 2:4]).square().sum()
    _, row, column = scale.has_object.nonzero(as_tuple=True)
    corner = scale.grid("corrected")[row, column]
    anchor = scale.anchors[told[:, 5 : 5 + scale.count].argmax(-1)]
    stride = found.new_tensor(scale.stride)
    truth = torch.cat([(told[:, :2] + corner) * stride, told[:, 2:4].exp() * anchor], -1)
    boxes = torch.cat(
        [(offset(found[:, :2]) + corner) * stride, found[:, 2:4].clamp(max=CLAMP).exp() * anchor], -1
    )  # fmt: skip
    return box_loss(options.box, truth, boxes).sum()


def _objectness(scale: Scale, seen: Overlaps, options: Assessing) -> Tensor:
    has = scale.has_object
    aim = scale.told[..., 4]
    if options.iou_objectness:
        share = options.iou_ratio
        aim = aim.masked_scatter(has, share * (seen.own + EPSILON) ** options.iou_power + (1 - share) * aim[has])
    weight = torch.where(has, options.object_scale, (~seen.ignored) * options.no_object_scale)
    if options.trainable_nms > 0:
        closeness = (seen.highest.clamp(0, 1) + EPSILON) ** options.trainable_nms_power
        weight = weight + seen.ignored * options.trainable_nms * closeness
    return (_bce(scale.raw[..., 4], aim) * weight).sum()


def _classification(found: Tensor, told: Tensor, options: Assessing) -> Tensor:
    if options.classes == "softmax_focal":
        each = softmax_focal(told, found)[:, None]
        weights = told @ options.class_weights[:, None] if options.class_weights is not None else None
    else:
        focal = options.classes == "focal"
        each = sigmoid_focal(told, found) if focal else _bce(found, smoothed(told, options.smoothing))
        weights = options.class_weights
    return (each if weights is None else each * weights).sum()


Frame = Literal["absolute", "raw"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Options of the consensus between the cells of an object.

    Args:
        geometry: see above.
        frame: what boxes of neighbors are compared in: `absolute` centers, or `raw` numbers as the original does, whose
            offsets differ by whole cells when all are right.
        iou_power, least_iou: weight of a cell: its own box's overlap, at least `least_iou`, to this power.
        fixed_mean: no gradient flows through the mean that cells are drawn to.
        tolerance: centers that lie nearer, in cells, are one object's.
        window: side of the neighborhood, odd.
    """

    geometry: Geometry = "corrected"
    frame: Frame = "absolute"
    iou_power: float = 1.5
    least_iou: float = 0.001
    fixed_mean: bool = True
    tolerance: float = 1e-4
    window: int = 3


def consensus(scale: Scale, options: Agreement) -> tuple[Tensor, Tensor, Tensor]:
    """How much the cells of one object differ: in boxes, in objectness, in classes; scalars."""
    raw, has = scale.raw, scale.has_object
    grid = scale.grid(options.geometry)
    own = torch.zeros_like(raw[..., 0]).masked_scatter(has, overlaps(scale, options.geometry, 1.0).own)
    inside = has & ((scale.told[..., :2] >= 0) & (scale.told[..., :2] < 1)).all(-1)
    centers = scale.told[..., :2] + grid
    image, row, column = inside.nonzero(as_tuple=True)
    around = torch.arange(options.window, device=raw.device) - options.window // 2
    rows = (row[:, None, None] + around[:, None]).expand(-1, -1, options.window).flatten(1)
    columns = (column[:, None, None] + around[None]).expand(-1, options.window, -1).flatten(1)
    height, width = raw.shape[1:3]
    there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    place = (image[:, None], rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    apart = (centers[place] - centers[inside][:, None]).abs().amax(-1)
    group = there & has[place] & (apart < options.tolerance)
    weight = own[place].clamp_min(options.least_iou) ** options.iou_power * group
    weight = (weight / (weight.sum(1, keepdim=True) + EPSILON)).unsqueeze(-1)
    boxes = raw[..., :4]
    if options.frame == "absolute":
        boxes = torch.cat([offset(raw[..., :2]) + scale.grid("corrected"), raw[..., 2:4]], -1)
    kinds = 5 + scale.count
    found = (boxes, torch.sigmoid(raw[..., 4:5]), torch.sigmoid(raw[..., kinds:]))
    count = inside.sum().clamp_min(1)

    def spread(values: Tensor) -> Tensor:
        near = values[place]
        mean = (weight * near).sum(1, keepdim=True)
        mean = mean.detach() if options.fixed_mean else mean
        return (weight * (near - mean).square()).sum() / count

    box, objectness, classes = (spread(values) for values in found)
    return box, objectness, classes / (raw.shape[-1] - kinds)
