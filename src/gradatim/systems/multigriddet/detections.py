"""From raw predictions to objects: decoding, suppression of what is found twice, and fusion of boxes.

All of it works on the device that the predictions are on, for a batch at once, without torchvision.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gradatim.errors import PlanError, unknown
from gradatim.systems.multigriddet.geometry import CLAMP, area, cells, corners, intersection, offset
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.parts.backbone import STRIDES

Suppression = Literal["diou", "greedy", "cluster", "soft", "none"]
Overlap = Literal["iou", "iol"]
SUPPRESSIONS: tuple[Suppression, ...] = ("diou", "greedy", "cluster", "soft", "none")
_EPSILON = 1e-8
_CANDIDATES = 1000
_SOFT_FLOOR = 1e-3


def decode(
    raw: Sequence[Tensor], anchors: Sequence[Tensor], *, exclusive: bool = True, product: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Every cell's box, its score and the probabilities of its classes.

    Args:
        raw: (B, h, w, 5 + A + classes) at strides 32, 16 and 8.
        anchors: (A, 2) of each scale, in pixels of the input.
        exclusive: anchors and classes exclude each other (softmax), as the published weights want it although they
            were trained with independent classes; else each has a probability of its own.
        product: the score is objectness times the best anchor's times the best class's; else objectness alone.

    Returns:
        Boxes (B, N, 4) as centers and sizes relative to the input, scores (B, N), classes (B, N, classes); scales in
        order, cells row by row.
    """
    boxes: list[Tensor] = []
    scores: list[Tensor] = []
    classes: list[Tensor] = []
    for one, sizes, stride in zip((each.float() for each in raw), anchors, STRIDES, strict=True):
        height, width, count = one.shape[1], one.shape[2], len(sizes)
        grid = one.new_tensor([width, height])
        center = (offset(one[..., :2]) + cells(height, width, one.device)) / grid
        logits = one[..., 5 : 5 + count]
        anchor = sizes[logits.argmax(-1)]
        size = one[..., 2:4].clamp(max=CLAMP).exp() * anchor / (grid * stride)
        kinds = one[..., 5 + count :]
        probabilities = torch.softmax(kinds, -1) if exclusive else torch.sigmoid(kinds)
        score = torch.sigmoid(one[..., 4])
        if product:
            best = (torch.softmax(logits, -1) if exclusive else torch.sigmoid(logits)).amax(-1)
            score = score * best * probabilities.amax(-1)
        boxes.append(torch.cat([center, size], -1).flatten(1, 2))
        scores.append(score.flatten(1))
        classes.append(probabilities.flatten(1, 2))
    return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(classes, 1)


def pairwise(boxes: Tensor, kind: str = "iou") -> Tensor:
    """Overlaps of corner boxes with each other, (..., K, 4) -> (..., K, K).

    Args:
        boxes: x1, y1, x2, y2.
        kind: `iou`; `iol`, the intersection over the larger area; `diou`, the first less the squared distance of
            centers over the squared diagonal of the box around both.
    """
    a, b = boxes[..., :, None, :], boxes[..., None, :, :]
    both = intersection(a, b)
    if kind == "iol":
        return both / (torch.maximum(area(a), area(b)) + _EPSILON)
    found = both / (area(a) + area(b) - both + _EPSILON)
    if kind == "diou":
        distance = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).square().sum(-1)
        around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
        found = found - distance / (around.square().sum(-1) + _EPSILON)
    return found


def keep_best(overlaps: Tensor, threshold: float) -> Tensor:
    """Which candidates greedy suppression keeps, (..., K, K) sorted by falling score -> (..., K) bool.

    A candidate is dropped where a kept one before it overlaps it by the threshold or more. The same is found by
    repeating the rule for all at once until nothing changes (Zheng et al., 2020), in few rounds instead of K.
    """
    after = torch.triu(overlaps >= threshold, diagonal=1)
    keep = torch.ones(overlaps.shape[:-1], dtype=torch.bool, device=overlaps.device)
    while True:
        again = ~(after & keep[..., :, None]).any(-2)
        if torch.equal(again, keep):
            return keep
        keep = again


def decayed(overlaps: Tensor, scores: Tensor, *, sigma: float = 0.5) -> Tensor:
    """Soft suppression (Bodla et al., 2017): scores fall with the overlap of every better candidate; order as given.

    Candidates whose score fell below a thousandth take nothing from others any more.

    Args:
        overlaps: (..., K, K) of candidates sorted by falling score.
        scores: (..., K).
        sigma: of the Gaussian.
    """
    before = torch.triu(overlaps.square(), diagonal=1)
    alive = torch.ones_like(scores, dtype=torch.bool)
    while True:
        found = scores * torch.exp(-(before * alive[..., :, None]).sum(-2) / sigma)
        again = found >= _SOFT_FLOOR
        if torch.equal(again, alive):
            return found
        alive = again


def suppress(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    *,
    suppression: Suppression = "diou",
    overlap: Overlap = "iou",
    threshold: float = 0.45,
    by_class: bool = True,
) -> tuple[Tensor, Tensor]:
    """New scores of candidates, 0 where one is dropped; sorted by falling score.

    Args:
        boxes: (B, K, 4) corners.
        scores, classes: (B, K).
        suppression: `diou`; `greedy` or `cluster` by plain overlap; `soft`; `none`.
        overlap: what `greedy`, `cluster` and `soft` measure.
        threshold: overlap from which on a candidate is dropped.
        by_class: candidates of different classes leave each other alone.

    Returns:
        Scores (B, K), and which are kept (B, K).
    """
    if suppression not in SUPPRESSIONS:
        raise PlanError(f"find.suppression: {unknown('suppression', suppression, SUPPRESSIONS)}")
    if suppression == "none":
        return scores, scores > 0
    overlaps = pairwise(boxes, "diou" if suppression == "diou" else overlap)
    if by_class:
        overlaps = overlaps.masked_fill(classes[..., :, None] != classes[..., None, :], -1.0 if threshold > 0 else 0.0)
    if suppression == "soft":
        soft = decayed(overlaps.clamp_min(0), scores)
        return soft, soft >= _SOFT_FLOOR
    return scores, keep_best(overlaps, threshold)


def detect(
    raw: Sequence[Tensor],
    anchors: Sequence[Tensor],
    *,
    confidence: float = 0.01,
    suppression: Suppression = "diou",
    overlap: Overlap = "iou",
    threshold: float = 0.45,
    by_class: bool = True,
    most: int = 100,
) -> tuple[Tensor, Tensor]:
    """Objects of a batch, best first: (B, N, 6) corners in pixels of the input, score, class; and (B, N) bool.

    Args:
        raw, anchors: see `decode`.
        confidence: least score.
        suppression, overlap, threshold, by_class: see `suppress`.
        most: objects of an image.
    """
    relative, scores, probabilities = decode(raw, anchors)
    height, width = (side * STRIDES[0] for side in raw[0].shape[1:3])
    pixels = relative.new_tensor([width, height, width, height])
    count = min(_CANDIDATES, scores.shape[1])
    scores, order = scores.topk(count, dim=1)
    boxes = corners(relative.gather(1, order[..., None].expand(-1, -1, 4))) * pixels
    classes = probabilities.argmax(-1).gather(1, order)
    usable = scores >= confidence
    longest = max(1, int(usable.sum(1).max()))
    boxes, scores, classes, usable = boxes[:, :longest], scores[:, :longest], classes[:, :longest], usable[:, :longest]
    found, keep = suppress(
        boxes, scores * usable, classes, suppression=suppression, overlap=overlap, threshold=threshold,
        by_class=by_class,
    )  # fmt: skip
    found = torch.where(keep & usable, found, 0.0)
    scores, order = found.topk(min(most, longest), dim=1)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    boxes = torch.minimum(boxes.clamp_min(0), pixels)
    there = scores > 0
    result = torch.cat([boxes, scores[..., None], classes.gather(1, order)[..., None].float()], -1)
    return result * there[..., None], there


Confidence = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]


def fuse_boxes(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    classes: Sequence[Tensor],
    *,
    weights: Sequence[float] | None = None,
    threshold: float = 0.55,
    skip_below: float = 0.0,
    confidence: Confidence = "avg",
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted boxes fusion (Solovyev et al., 2021) of the boxes of one or several models, class by class.

    Args:
        boxes: (N, 4) corners of each model.
        scores, classes: (N,) of each model.
        weights: of each model; None: all 1.
        threshold: overlap with a cluster's first box from which on a box joins it.
        skip_below: boxes with lower scores are left out.
        confidence: how a cluster's score is made: the mean, the largest, or the mean of score times weight.

    Returns:
        Boxes (M, 4), scores and classes (M,): classes in order, clusters of one by the score of their first box.
    """
    chosen = weights or [1.0] * len(boxes)
    all_boxes, all_scores, all_classes = torch.cat(list(boxes)), torch.cat(list(scores)), torch.cat(list(classes))
    model = torch.cat([s.new_full((len(s),), w) for s, w in zip(scores, chosen, strict=True)])
    result: list[tuple[Tensor, Tensor, int]] = []
    for label in sorted(set(all_classes.tolist())):
        mine = ((all_classes == label) & (all_scores >= skip_below)).nonzero()[:, 0]
        mine = mine[all_scores[mine].argsort(descending=True, stable=True)]
        while len(mine):
            first = all_boxes[mine[:1]]
            both = intersection(first, all_boxes[mine])
            joins = both / (area(first) + area(all_boxes[mine]) - both).clamp_min(1e-12) >= threshold
            joins[0] = True
            cluster, mine = mine[joins], mine[~joins]
            weight = all_scores[cluster] * model[cluster]
            box = (all_boxes[cluster] * weight[:, None]).sum(0) / weight.sum()
            own = all_scores[cluster]
            score = own.mean() if confidence == "avg" else own.max() if confidence == "max" else weight.mean()
            result.append((box, score, label))
    if not result:
        return all_boxes[:0], all_scores[:0], all_classes[:0]
    return (
        torch.stack([box for box, _, _ in result]),
        torch.stack([score for _, score, _ in result]),
        all_classes.new_tensor([label for _, _, label in result]),
    )


def from_letterbox(boxes: Tensor, place: Letterbox, *, published: bool = False) -> Tensor:
    """Boxes of the network's input back in the image; not clipped.

    Args:
        boxes: (N, 4) centers and sizes relative to the input.
        place: of the image in the input.
        published: by the published program's reckoning, see `Letterbox.published_content`.

    Returns:
        (N, 4) x, y of the corner, width and height in pixels of the image.
    """
    pixels, source = place.target, place.source
    inner = place.published_content if published else place.content
    gap = place.published_offset if published else place.offset
    shift = boxes.new_tensor([gap[1] / pixels[1], gap[0] / pixels[0]])
    grow = boxes.new_tensor([pixels[1] / inner[1], pixels[0] / inner[0]])
    size = boxes[..., 2:] * grow
    corner = (boxes[..., :2] - shift) * grow - size / 2
    return torch.cat([corner, size], -1) * boxes.new_tensor([source[1], source[0]] * 2)
