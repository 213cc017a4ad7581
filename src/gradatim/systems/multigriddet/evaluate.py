"""How good a detector is on annotated pictures, measured in the pictures' own pixels.

COCO's figures, VOC's, those of the published program, and what a user asks next: which classes, at which score, and
what is taken for what. Pictures without objects count: whatever is found there is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.errors import DataError
from gradatim.systems.multigriddet.annotations import AnnotatedImage
from gradatim.systems.multigriddet.average_precision import COCO_THRESHOLDS, Points, area_below, legacy_figures
from gradatim.systems.multigriddet.coco_figures import CocoFigures, coco_figures
from gradatim.systems.multigriddet.data import DetectionDataset
from gradatim.systems.multigriddet.matching import Balance, Judged, as_objects, balance, confusion, judge
from gradatim.systems.multigriddet.parts.heads import Predict
from gradatim.systems.multigriddet.predict import Compute, Detections, Search, detect_pictures

LEGACY_CONFIDENCE = 0.1
"""The published program leaves lower scores out before it evaluates."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of a detector.

    Args:
        images: number of pictures.
        objects: to be found in them; crowds and difficult ones are none.
        detections: in all.
        coco: twelve figures, average precisions and curves of the classes.
        voc07, voc: mean average precision at an overlap of 0.5 by VOC's eleven points, and by the area.
        legacy: what the published program prints: mAP, mAP50, mAP75, and by size.
        balance: the score with the best F1.
        confusion: (classes + 1, classes + 1) at that score; see `matching.confusion`.
        judged: every detection, right or wrong.
        names: of the classes.
        found: of each picture.
    """

    images: int
    objects: int
    detections: int
    coco: CocoFigures
    voc07: float
    voc: float
    legacy: Mapping[str, float]
    balance: Balance
    confusion: NDArray[np.int64]
    judged: Judged
    names: tuple[str, ...]
    found: Sequence[Detections]

    def to_json(self) -> dict[str, Any]:
        """JSON values; curves are precisions at 101 recalls."""
        return {
            "images": self.images,
            "objects": self.objects,
            "detections": self.detections,
            "coco": dict(self.coco.figures),
            "voc07": self.voc07,
            "voc": self.voc,
            "legacy": dict(self.legacy),
            "best_f1": asdict(self.balance),
            "classes": {
                self.names[n]: {"AP": ap, "AP50": ap50, "AP75": ap75, "objects": int(self.judged.objects[n])}
                for n, (ap, ap50, ap75) in self.coco.by_class.items()
            },
            "confusion": {"classes": list(self.names), "counts": self.confusion.tolist()},
            "curves": {self.names[n]: [round(p, 6) for p in curve.tolist()] for n, curve in self.coco.curves.items()},
        }


def evaluate_detector(
    compute: Compute,
    predict: Predict,
    dataset: DetectionDataset,
    *,
    search: Search,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Evaluation:
    """Judge a detector on a data set.

    Args:
        compute: of the loaded model.
        predict: its last part.
        dataset: annotated pictures, taken as they are stored.
        search: what counts as detection; the confidence should be low, since precision is measured at every score.
        batch_size: pictures at once.
        device: where the model is.
        progress: receives (pictures done, pictures in all).

    Raises:
        DataError: there is no object to be found.
        MissingExtraError: faster_coco_eval is not installed.
    """
    records = [dataset.record(index) for index in range(len(dataset))]
    if not any((~record.ignored).any() for record in records):
        raise DataError(f"none of the {len(records)} pictures has an object to be found; nothing can be measured")
    pictures = (dataset.source_image(index) for index in range(len(dataset)))
    found = []
    pairs = detect_pictures(
        compute, predict, pictures, size=dataset.settings.size, search=search, batch_size=batch_size, device=device
    )
    for done, (_, one) in enumerate(pairs, 1):
        found.append(one)
        progress(done, len(records))
    return figures_of(records, found, dataset.classes)


def figures_of(records: Sequence[AnnotatedImage], found: Sequence[Detections], names: Sequence[str]) -> Evaluation:
    """All figures of detections.

    Args:
        records: of all pictures.
        found: in the same order.
        names: of the classes.
    """
    coco = coco_figures(records, found, len(names))
    judged = judge(records, found, len(names))
    best = balance(judged)
    return Evaluation(
        images=len(records),
        objects=int(judged.objects.sum()),
        detections=sum(map(len, found)),
        coco=coco,
        voc07=_mean_area(judged, "voc07"),
        voc=_mean_area(judged, "voc"),
        legacy=_legacy(records, found),
        balance=best,
        confusion=confusion(records, found, len(names), best.threshold),
        judged=judged,
        names=tuple(names),
        found=found,
    )


def _mean_area(judged: Judged, points: Points) -> float:
    """Mean over the classes that have objects."""
    present = np.flatnonzero(judged.objects)
    areas = [area_below(judged.right[judged.classes == n], int(judged.objects[n]), points) for n in present]
    return float(np.mean(areas))


def _legacy(records: Sequence[AnnotatedImage], found: Sequence[Detections]) -> dict[str, float]:
    """The published program's figures by both of its formulas, of what it would have kept."""
    truths, detections = as_objects(records, found, LEGACY_CONFIDENCE)
    figures = legacy_figures(truths, detections)
    mean = figures.by_threshold
    told = {"mAP": float(mean.mean()), "mAP50": float(mean[0]), "mAP75": float(mean[COCO_THRESHOLDS.index(0.75)])}
    told |= {size: whole for size, (whole, _) in figures.sizes.items()}
    voc = legacy_figures(truths, detections, points="legacy_voc").by_threshold
    return {**told, "voc_mAP50": float(voc[0])}
