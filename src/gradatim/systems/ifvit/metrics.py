"""Figures of validation: equal error rate of the scores, and how far dense correspondences miss."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradatim.system import Metric
from gradatim.systems.ifvit.dense import cells_of
from gradatim.systems.ifvit.metric_losses import cosine, fused_score
from gradatim.systems.ifvit.verification import equal_error, rates

Scores = tuple[list[float], list[float]]
"""Of genuine pairs and of imposters."""


def scores(
    embedding1: Tensor, embedding2: Tensor, roi_embedding1: Tensor, roi_embedding2: Tensor, label: Tensor
) -> Scores:
    """Fused scores of a batch, genuine and imposter."""
    fused = fused_score(cosine(embedding1, embedding2), cosine(roi_embedding1, roi_embedding2)).double()
    return fused[label > 0].tolist(), fused[label <= 0].tolist()


def eer_of(batches: Sequence[Scores]) -> float:
    """Equal error rate of all batches, in percent."""
    genuine, imposter = ([score for batch in batches for score in batch[kind]] for kind in (0, 1))
    return 100 * equal_error(rates(genuine, imposter)).rate


def misses(
    probability: Tensor, features1: Tensor, image1: Tensor, points: Tensor, points_mask: Tensor | None = None
) -> Tensor:
    """How many cells lie between the best match of a point's cell and the cell that it belongs to.

    Args:
        probability: (B, N, N).
        features1: for its grid.
        image1: for its size.
        points: (B, K, 4); x, y in the first print, x, y in the second.
        points_mask: (B, K) bool.

    Returns:
        (points,) float64, those of all samples together.
    """
    grid, size = (features1.shape[2], features1.shape[3]), (image1.shape[2], image1.shape[3])
    cell = (size[0] / grid[0], size[1] / grid[1])
    first, second = (cells_of(points[..., at : at + 2] + 0.5, grid=grid, cell=cell) for at in (0, 2))
    found = probability.argmax(dim=2).gather(1, first)
    down, across = found // grid[1] - second // grid[1], found % grid[1] - second % grid[1]
    apart = (down.double().square() + across.double().square()).sqrt()
    return apart.flatten() if points_mask is None else apart[points_mask]


def miss_of(batches: Sequence[Tensor]) -> float:
    """Mean over all points."""
    return float(torch.cat(list(batches)).mean())


def near_of(batches: Sequence[Tensor]) -> float:
    """Share of points whose best match is the right cell or touches it, in percent."""
    return 100 * float((torch.cat(list(batches)) < 1.5).double().mean())


METRICS: Mapping[str, Metric] = {
    "eer": Metric(scores, higher_is_better=False, over=eer_of),
    "dense_error": Metric(misses, higher_is_better=False, over=miss_of),
    "dense_near": Metric(misses, over=near_of),
}
"""`dense_error` is in cells; `eer` and `dense_near` are in percent."""
