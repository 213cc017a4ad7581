"""MultiGridDet's steps, and the tasks they make up.

see -> blend -> narrow -> read_out: an image's features, trunks, wide features and raw predictions at three scales. aim:
what the raw predictions should be. assess: how wrong they are; agree: how far the cells of one object disagree. find:
the objects themselves. Images are RGB in [0, 1]. Letters: B batch, H, W pixels, h, w cells, A anchors, N objects.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradatim.systems.multigriddet.assessment import (
    Agreement,
    Assessing,
    BoxLoss,
    ClassLoss,
    Divisor,
    Frame,
    Geometry,
    Scale,
)
from gradatim.systems.multigriddet.assessment import assess as assess_scale
from gradatim.systems.multigriddet.assessment import consensus as consensus_of
from gradatim.systems.multigriddet.detections import Overlap, Suppression, detect
from gradatim.systems.multigriddet.parts.backbone import SCALES, STRIDES, Darknet
from gradatim.systems.multigriddet.parts.heads import Neck, Predict, PrePredict
from gradatim.systems.multigriddet.targets import Encoding, encode
from gradatim.task import makes

ByScale = dict[str, Tensor]


@makes("features")
def see(backbone: Darknet, image: Tensor) -> ByScale:
    """Features by scale, (B, 3, H, W) -> (B, C, h, w) each."""
    features: ByScale = backbone(image)
    return features


@makes("trunks")
def blend(neck: Neck, features: ByScale) -> ByScale:
    """Features and what the coarser scales know, (B, C, h, w) -> (B, C', h, w) each."""
    trunks: ByScale = neck(features)
    return trunks


@makes("wide")
def narrow(pre_predict: PrePredict, trunks: ByScale) -> ByScale:
    """Trunks, one convolution further, (B, C', h, w) -> (B, P, h, w) each."""
    wide: ByScale = pre_predict(trunks)
    return wide


@makes("raw")
def read_out(predict: Predict, wide: ByScale) -> ByScale:
    """Raw predictions, (B, P, h, w) -> (B, h, w, 5 + A + classes) each."""
    raw: ByScale = predict(wide)
    return raw


@makes("targets", "owners")
def aim(
    predict: Predict,
    raw: ByScale,
    boxes: Tensor,
    boxes_mask: Tensor | None = None,
    *,
    encoding: Encoding = "exact",
    center_first: bool = False,
) -> tuple[ByScale, ByScale]:
    """What `raw` should be, and which box each cell tells, (B, h, w); see `targets.encode`.

    Args:
        predict: says what its channels mean.
        raw: for its sizes.
        boxes: (B, N, 5) corners in pixels and class.
        boxes_mask: (B, N) bool, true where there is a box.
        encoding, center_first: see `targets.encode`.
    """
    if boxes_mask is not None:
        boxes = boxes * boxes_mask[..., None]
    grids = [(raw[scale].shape[1], raw[scale].shape[2]) for scale in SCALES]
    pixels = (grids[0][0] * STRIDES[0], grids[0][1] * STRIDES[0])
    found = encode(
        boxes, grids, pixels, predict.anchors, predict.classes, encoding=encoding, center_first=center_first
    )  # fmt: skip
    return found.cells, found.owners


def _scales(predict: Predict, raw: ByScale, targets: ByScale, owners: ByScale, boxes: Tensor) -> list[Scale]:
    return [
        Scale(
            raw=raw[name].float(),
            told=targets[name],
            owners=owners[name],
            objects=boxes.shape[1],
            anchors=anchors,
            stride=(stride, stride),
        )
        for name, anchors, stride in zip(SCALES, predict.anchors, STRIDES, strict=True)
    ]


@makes("location_terms", "objectness_terms", "anchor_terms", "class_terms")
def assess(
    predict: Predict,
    raw: ByScale,
    targets: ByScale,
    owners: ByScale,
    boxes: Tensor,
    class_weights: Tensor | None = None,
    *,
    geometry: Geometry = "corrected",
    box: BoxLoss = "squared",
    classes: ClassLoss = "sigmoid",
    object_scale: float = 1.0,
    no_object_scale: float = 0.5,
    ignore_above: float = 0.5,
    iou_objectness: bool = False,
    iou_power: float = 1.5,
    iou_ratio: float = 1.0,
    trainable_nms: float = 0.0,
    trainable_nms_power: float = 2.0,
    smoothing: float = 0.0,
    normalization: Sequence[Divisor] = ("batch",),
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses of the raw predictions at strides 32, 16 and 8, (3,) each; for the options see `assessment.Assessing`.

    Args:
        predict: says what its channels mean.
        raw, targets, owners, boxes: predictions, and what they should be.
        class_weights: (B, classes), the same in all rows.
    """
    options = Assessing(
        geometry=geometry,
        box=box,
        classes=classes,
        object_scale=object_scale,
        no_object_scale=no_object_scale,
        ignore_above=ignore_above,
        iou_objectness=iou_objectness,
        iou_power=iou_power,
        iou_ratio=iou_ratio,
        trainable_nms=trainable_nms,
        trainable_nms_power=trainable_nms_power,
        smoothing=smoothing,
        class_weights=class_weights[0] if class_weights is not None else None,
        normalization=tuple(normalization),
    )
    terms = [assess_scale(scale, options) for scale in _scales(predict, raw, targets, owners, boxes)]
    return (
        torch.stack([term.location for term in terms]),
        torch.stack([term.objectness for term in terms]),
        torch.stack([term.anchor for term in terms]),
        torch.stack([term.classification for term in terms]),
    )


@makes("box_spread", "objectness_spread", "class_spread")
def agree(
    predict: Predict,
    raw: ByScale,
    targets: ByScale,
    owners: ByScale,
    boxes: Tensor,
    *,
    geometry: Geometry = "corrected",
    frame: Frame = "absolute",
    iou_power: float = 1.5,
    least_iou: float = 0.001,
    fixed_mean: bool = True,
    tolerance: float = 1e-4,
    window: int = 3,
) -> tuple[Tensor, Tensor, Tensor]:
    """How far the cells of one object differ at strides 32, 16 and 8, (3,) each; see `assessment.Agreement`."""
    options = Agreement(
        geometry=geometry,
        frame=frame,
        iou_power=iou_power,
        least_iou=least_iou,
        fixed_mean=fixed_mean,
        tolerance=tolerance,
        window=window,
    )
    found = [consensus_of(scale, options) for scale in _scales(predict, raw, targets, owners, boxes)]
    box, objectness, classes = (torch.stack(each) for each in zip(*found, strict=True))
    return box, objectness, classes


@makes("found", "found_mask")
def find(
    predict: Predict,
    raw: ByScale,
    *,
    confidence: float = 0.01,
    suppression: Suppression = "diou",
    overlap: Overlap = "iou",
    threshold: float = 0.45,
    by_class: bool = True,
    most: int = 100,
) -> tuple[Tensor, Tensor]:
    """Objects, best first: (B, N, 6) corners in pixels of the input, score and class; and which of them are there.

    Args:
        predict: says what its channels mean.
        raw: predictions.
        confidence: least score.
        suppression, overlap, threshold, by_class: see `detections.detect`.
        most: objects of an image.
    """
    return detect(
        [raw[scale] for scale in SCALES],
        predict.anchors,
        confidence=confidence,
        suppression=suppression,
        overlap=overlap,
        threshold=threshold,
        by_class=by_class,
        most=most,
    )


TASKS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "detect": (see, blend, narrow, read_out, aim, assess, agree, find),
}
