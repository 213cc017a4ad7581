"""Figures of validation: equal error rate of the scores, and how far dense correspondences miss."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradatim.system import Metric
from gradatim.systems.ifvit.dense import MIDDLE, cells_of
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
    """How far cells of the first print are matched from where they belong, in cells.

    A cell belongs where the points in it lie in the second print, on average. It is matched to its best partner,
    refined by that partner's neighbors, as registration does; and moved by what its points lie off its middle.

    Args:
        probability: (B, N, N).
        features1: for its grid.
        image1: for its size.
        points: (B, K, 4); x, y in the first print, x, y in the second.
        points_mask: (B, K) bool.

    Returns:
        (cells that have points,) float64, those of all samples together.
    """
    grid, size = (features1.shape[2], features1.shape[3]), (image1.shape[2], image1.shape[3])
    cell = (size[0] / grid[0], size[1] / grid[1])
    scale = points.new_tensor([cell[1], cell[0]] * 2)
    places = ((points + MIDDLE) / scale).double()
    counts = torch.ones_like(places[..., 0]) if points_mask is None else points_mask.double()
    index = cells_of(points[..., :2] + MIDDLE, grid=grid, cell=cell)
    number = counts.new_zeros(len(points), grid[0] * grid[1]).scatter_add_(1, index, counts)
    total = places.new_zeros(len(points), grid[0] * grid[1], 4)
    total.scatter_add_(1, index[..., None].expand(-1, -1, 4), places * counts[..., None])
    mean = total / number[..., None].clamp_min(1)
    middles = _middles(grid, points.device)
    found = _refined(probability.double(), grid, middles) + mean[..., :2] - middles
    apart: Tensor = torch.linalg.vector_norm(found - mean[..., 2:], dim=-1)
    return apart[number > 0]


def _middles(grid: tuple[int, int], device: torch.device) -> Tensor:
    """x and y of the cells' middles, (N, 2), in cells."""
    y, x = torch.meshgrid(*(torch.arange(side, device=device, dtype=torch.float64) for side in grid), indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1) + MIDDLE


def _refined(probability: Tensor, grid: tuple[int, int], middles: Tensor) -> Tensor:
    """Where each cell is matched to, (B, N, 2) in cells: the mean of its best partner and that one's neighbors."""
    best = middles[probability.argmax(dim=2)]
    near = ((middles - best[:, :, None]).abs() < 1.5).all(-1)
    weights = probability * near
    return (weights @ middles) / weights.sum(dim=2, keepdim=True)


def miss_of(batches: Sequence[Tensor]) -> float:
    """Mean over all cells."""
    return float(torch.cat(list(batches)).mean())


def near_of(batches: Sequence[Tensor]) -> float:
    """Share of cells that are matched less than a cell from where they belong, in percent."""
    return 100 * float((torch.cat(list(batches)) < 1).double().mean())


METRICS: Mapping[str, Metric] = {
    "eer": Metric(scores, higher_is_better=False, over=eer_of),
    "dense_error": Metric(misses, higher_is_better=False, over=miss_of),
    "dense_near": Metric(misses, over=near_of),
}
"""`dense_error` is in cells; `eer` and `dense_near` are in percent."""
