"""COCO's figures, reckoned by faster_coco_eval, which gives the numbers of COCO's own tools."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import MissingExtraError
from gradatim.systems.multigriddet.annotations import AnnotatedImage
from gradatim.systems.multigriddet.predict import Detections

FIGURES = (
    "AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge",
    "AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge",
)  # fmt: skip
"""In the order of COCO's tools."""


@dataclass(frozen=True, kw_only=True)
class CocoFigures:
    """Average precision and recall over ten overlaps from 0.5 to 0.95, and at single ones.

    Args:
        figures: the twelve `FIGURES`; None where there is no object of the kind.
        by_class: (AP, AP50, AP75) of each class that has objects, by number.
        curves: (101,) precision at recalls from 0 to 1 and an overlap of 0.5, by number of the class.
    """

    figures: Mapping[str, float | None]
    by_class: Mapping[int, tuple[float, float, float]]
    curves: Mapping[int, NDArray[np.float64]]


def coco_documents(
    records: Sequence[AnnotatedImage], found: Sequence[Detections], classes: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Objects and detections as COCO writes them; numbers of images, objects and categories count from 1.

    An object's area is that of its box. COCO knows no difficult objects; they count as crowds do.
    """
    images = [{"id": n, "height": record.size[0], "width": record.size[1]} for n, record in enumerate(records, 1)]
    categories = [{"id": number, "name": str(number)} for number in range(1, classes + 1)]
    truths: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for number, (record, one) in enumerate(zip(records, found, strict=True), 1):
        for box, label, ignored in zip(record.boxes, record.classes, record.ignored, strict=True):
            truths.append({**_object(number, len(truths) + 1, box, int(label)), "iscrowd": int(ignored)})
        for box, label, score in zip(one.boxes, one.classes, one.scores, strict=True):
            entry = _object(number, len(detections) + 1, box, int(label))
            detections.append({**entry, "iscrowd": 0, "score": float(score)})
    common = {"images": images, "categories": categories}
    return {**common, "annotations": truths}, {**common, "annotations": detections}


def _object(image: int, number: int, box: NDArray[np.float64], label: int) -> dict[str, Any]:
    left, top, right, bottom = box.tolist()
    bbox = [left, top, right - left, bottom - top]
    return {"id": number, "image_id": image, "category_id": label + 1, "bbox": bbox, "area": bbox[2] * bbox[3]}


def coco_figures(records: Sequence[AnnotatedImage], found: Sequence[Detections], classes: int) -> CocoFigures:
    """Judge detections as COCO does.

    Args:
        records: of all pictures, those without objects too.
        found: in the same order.
        classes: how many.

    Raises:
        MissingExtraError: faster_coco_eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtraError("faster_coco_eval", "detection", "evaluating a detector") from error
    truths, detections = (COCO(document) for document in coco_documents(records, found, classes))
    judge = COCOeval_faster(truths, detections, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    # (overlaps, recalls, classes, areas, numbers of detections); -1 where a class has no object.
    precision = np.asarray(judge.eval["precision"])[:, :, :, 0, -1]
    present = [number for number in range(classes) if precision[0, 0, number] > -1]
    told = [_known(float(value)) for value in judge.stats[: len(FIGURES)]]
    by_class = {
        n: (float(precision[:, :, n].mean()), float(precision[0, :, n].mean()), float(precision[5, :, n].mean()))
        for n in present
    }
    return CocoFigures(
        figures=dict(zip(FIGURES, told, strict=True)),
        by_class=by_class,
        curves={number: precision[0, :, number] for number in present},
    )


def _known(value: float) -> float | None:
    return None if value < 0 or math.isnan(value) else value
