"""Losses of dense matching: a probability of matching against cells that are known to match.

Letters: B batch, N and M cells of the two grids, row by row, K points.
"""

from typing import Literal

import torch
from torch import Tensor

Average = Literal["sample", "points", "original"]
_FLOOR = 1e-8
MIDDLE = 0.5
"""From whole numbers at the middles of pixels or cells to whole numbers at their corners."""


def cells_of(points: Tensor, *, grid: tuple[int, int], cell: tuple[float, float]) -> Tensor:
    """Number of the cell that a point lies in, (...) int64; points outside count for the nearest cell.

    Args:
        points: (..., 2), x and y in pixels.
        grid: cells (down, across).
        cell: height and width of a cell, in pixels.
    """
    column = (points[..., 0] / cell[1]).floor().clamp(0, grid[1] - 1)
    row = (points[..., 1] / cell[0]).floor().clamp(0, grid[0] - 1)
    return (row * grid[1] + column).long()


def points_loss(
    probability: Tensor,
    points: Tensor,
    points_mask: Tensor | None = None,
    *,
    grid: tuple[int, int],
    image_size: tuple[int, int],
    cell: float | None = None,
    average: Average = "sample",
) -> Tensor:
    """Mean of -log P over pairs of points that show the same place, scalar.

    Args:
        probability: (B, N, M) in [0, 1], both images on the same grid.
        points: (B, K, 4), x and y in the first image, x and y in the second, in pixels.
        points_mask: (B, K) bool, true where there is a pair; None: everywhere.
        grid: cells (down, across) of either image.
        image_size: (height, width) in pixels.
        cell: side of a cell in pixels; None: what the grid makes of the image.
        average: `sample`: of each sample's mean, over the samples that have any pair; `points`: over all K of all
            samples, without the mask; `original`: see below.

    Raises:
        ValueError: the probability is not of that grid.

    Source:
        IFViT, L_D. The authors' code has cells of 8 pixels whatever the grid, and with a mask multiplies the mean
        over samples of the sum by the mean over samples of one divided by the count, of which a sample without
        pairs has 1. `cell=8` and `average="original"` give its numbers; nothing is trained with them.
    """
    if probability.shape[1:] != (grid[0] * grid[1],) * 2:
        raise ValueError(f"a probability of shape {tuple(probability.shape)} is not of two grids of {grid}")
    size = (image_size[0] / grid[0], image_size[1] / grid[1]) if cell is None else (cell, cell)
    first, second = (cells_of(points[..., at : at + 2], grid=grid, cell=size) for at in (0, 2))
    samples = torch.arange(len(points), device=points.device)[:, None]
    wrong_BK = -probability[samples, first, second].clamp(_FLOOR, 1).log()
    if average == "points":
        return wrong_BK.mean()
    valid_BK = wrong_BK.new_ones(wrong_BK.shape) if points_mask is None else points_mask.to(wrong_BK.dtype)
    sum_B, count_B = (wrong_BK * valid_BK).sum(dim=1), valid_BK.sum(dim=1)
    if average == "original":
        return sum_B.mean() * (1 / count_B.clamp_min(1)).mean()
    return (sum_B / count_B.clamp_min(1)).sum() / (count_B > 0).sum().clamp_min(1)


def matrix_loss(probability: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of -target log P over all pairs of cells, or over those of a mask, scalar.

    Args:
        probability: (B, N, M) in [0, 1].
        target: the same shape and range, 1 where two cells match.
        mask: the same shape, 1 where a pair counts.
    """
    wrong = -target * (probability + _FLOOR).log()
    return wrong.mean() if mask is None else (wrong * mask).sum() / mask.sum().clamp_min(_FLOOR)


def no_match_loss(probability: Tensor, matches: Tensor) -> Tensor:
    """Mean of -log(1 - P) of the best partner of each cell, over images that do not match; 0 where all match.

    Args:
        probability: (B, N, M) in [0, 1].
        matches: (B,) bool, true where both images are of one finger.
    """
    wrong_B = -(1 - probability.amax(dim=2)).clamp_min(_FLOOR).log().mean(dim=1)
    return (wrong_B * ~matches).sum() / (~matches).sum().clamp_min(1)
