"""Objects of pictures: letterboxed, through the network in batches, decoded, and back in the pictures' own pixels.

What overlaps is compared in the pictures' pixels, one picture at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.data.image import Picture
from gradatim.errors import PlanError, unknown
from gradatim.systems.multigriddet.data import STEP, to_tensor
from gradatim.systems.multigriddet.detections import (
    SUPPRESSIONS,
    Overlap,
    Suppression,
    decode,
    from_letterbox,
    fuse_boxes,
    suppress,
)
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.model import MultiGridDetSettings
from gradatim.systems.multigriddet.parts.backbone import SCALES
from gradatim.systems.multigriddet.parts.heads import Predict

Compute = Callable[[str, Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
"""(task, sample with a batch axis, wanted values) -> values: the `compute` of a loaded model, without gradients."""
Doubles = Suppression | Literal["wbf"]
DOUBLES: tuple[Doubles, ...] = (*SUPPRESSIONS, "wbf")
PARTS = ("backbone", "neck", "pre_predict", "predict")
_CANDIDATES, _ORIGINAL_CANDIDATES = 1000, 4000
"""The published detector compares all; of more than this, the matrix of overlaps would fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which of a network's predictions count as objects.

    Args:
        confidence: least score.
        suppression: what is done where several boxes show one object; see `detections.suppress`. `wbf` fuses them.
        threshold: overlap from which on boxes count as one object.
        overlap: `iol` measures the intersection over the larger area instead of the union.
        by_class: boxes of different classes leave each other alone.
        most: objects of a picture, the best ones.
        original: as the published detector does: the picture's place in the input is reckoned with rounded sides,
            more candidates are compared, and corners are whole pixels.
    """

    confidence: float = 0.5
    suppression: Doubles = "diou"
    threshold: float = 0.45
    overlap: Overlap = "iou"
    by_class: bool = True
    most: int = 100
    original: bool = False

    def __post_init__(self) -> None:
        if self.suppression not in DOUBLES:
            raise PlanError(unknown("suppression", self.suppression, DOUBLES))
        if self.overlap == "iol" and self.suppression not in ("greedy", "cluster", "soft"):
            raise PlanError(f"iol: {self.suppression} measures overlap in its own way; take greedy, cluster or soft.")
        if not self.by_class and self.suppression == "wbf":
            raise PlanError("across classes: wbf fuses boxes of one class; take diou, greedy, cluster or soft.")


@dataclass(frozen=True)
class Detections:
    """Objects found in a picture, the best first.

    Args:
        boxes: (N, 4) float64; left, top, right, bottom in the picture's pixels, inside it.
        scores: (N,) float64.
        classes: (N,) int64.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, confidence: float) -> "Detections":
        """Those with at least this score."""
        keep = self.scores >= confidence
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep])


def class_names(settings: MultiGridDetSettings, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the classes: the model's, else those of the data that it learned from, else their numbers.

    Args:
        settings: of the model.
        names: of the data.
    """
    if not isinstance(settings.classes, int):
        return settings.classes
    if len(names) == settings.classes:
        return tuple(names)
    return tuple(f"class {number}" for number in range(settings.classes))


def input_size(text: str) -> tuple[int, int]:
    """(height, width) written as `608` or `384x640`.

    Raises:
        PlanError: it is neither, or no multiple of 32.
    """
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise PlanError(f"size {text!r}: write one number for a square, or HEIGHTxWIDTH, such as 384x640.")
    size = (int(words[0]), int(words[-1]))
    if any(side % STEP or not side for side in size):
        near = "x".join(str(max(round(side / STEP), 1) * STEP) for side in size)
        raise PlanError(f"size {text!r}: sides must be multiples of {STEP}; the nearest is {near}.")
    return size


def find_objects(
    raw: Sequence[Tensor], anchors: Sequence[Tensor], places: Sequence[Letterbox], search: Search
) -> list[Detections]:
    """Objects of each picture of a batch.

    Args:
        raw: (B, h, w, 5 + A + classes) at strides 32, 16 and 8.
        anchors: (A, 2) of each scale, in pixels of the input.
        places: of each picture in the input.
        search: what counts.
    """
    relative, scores, probabilities = decode(raw, anchors)
    classes = probabilities.argmax(-1)
    return [_of_picture(relative[n], scores[n], classes[n], place, search) for n, place in enumerate(places)]


def _of_picture(relative: Tensor, scores: Tensor, classes: Tensor, place: Letterbox, search: Search) -> Detections:
    scores, order = scores.sort(descending=True, stable=True)
    limit = _ORIGINAL_CANDIDATES if search.original else _CANDIDATES
    count = min(int((scores >= search.confidence).sum()), limit)
    scores, order = scores[:count], order[:count]
    # In double precision, so that a box comes back to where it was in large pictures too.
    back = from_letterbox(relative[order].double(), place, published=search.original)
    corners = torch.cat([back[:, :2], back[:, :2] + back[:, 2:]], -1)
    boxes, scores, classes = _chosen(corners, scores.double(), classes[order], search)
    best = scores.argsort(descending=True, stable=True)[: search.most]
    height, width = place.source
    boxes = torch.minimum(boxes[best].clamp_min(0), boxes.new_tensor([width, height] * 2))
    if search.original:
        boxes = (boxes + 0.5).floor()
    found = (boxes, scores[best], classes[best])
    return Detections(*(one.cpu().numpy() for one in found))


def _chosen(boxes: Tensor, scores: Tensor, classes: Tensor, search: Search) -> tuple[Tensor, Tensor, Tensor]:
    """What is left of candidates that are sorted by falling score."""
    if search.suppression == "wbf":
        return fuse_boxes([boxes], [scores], [classes], threshold=search.threshold)
    found, keep = suppress(
        boxes, scores, classes, suppression=search.suppression, overlap=search.overlap, threshold=search.threshold,
        by_class=search.by_class,
    )  # fmt: skip
    if search.suppression == "soft" and not search.original:
        keep = keep & (found >= search.confidence)
    return boxes[keep], found[keep], classes[keep]


def detect_pictures(
    compute: Compute,
    predict: Predict,
    pictures: Iterable[Picture],
    *,
    size: tuple[int, int],
    search: Search,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Picture, Detections]]:
    """Find the objects of pictures of any sizes.

    Args:
        compute: of the loaded model.
        predict: its last part, which knows the anchors.
        pictures: (h, w, 3) uint8 each; read as they are needed.
        size: (height, width) of the network's input.
        search: what counts.
        batch_size: pictures at once.
        device: where the model is.

    Yields:
        Each picture with its objects, in order.
    """
    waiting = iter(pictures)
    while batch := list(islice(waiting, batch_size)):
        places = [Letterbox((picture.shape[0], picture.shape[1]), size) for picture in batch]
        images = torch.stack([to_tensor(place.picture(one)) for place, one in zip(places, batch, strict=True)])
        raw = compute("detect", {"image": images.to(device)}, ("raw",))["raw"]
        found = find_objects([raw[scale] for scale in SCALES], predict.anchors, places, search)
        yield from zip(batch, found, strict=True)
