"""Correlation of all cells of one frame with all of another, at several scales, and its values around given places.

Letters: B batch, C channels, h w cells of the grid, N = h * w, S scales, R = 2 * radius + 1 cells of a window's side.
Places are x and y in cells, whole numbers at the cells' middles.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.systems.flowchroma.warping import sampled
from gradatim.vision.precision import full_precision, widened


def correlation_pyramid(first: Tensor, second: Tensor, levels: int) -> tuple[Tensor, ...]:
    """Scalar products of all cells of two frames, divided by sqrt(C); the second frame is halved from scale to scale.

    Args:
        first, second: features, (B, C, h, w).
        levels: number of scales.

    Returns:
        One of (B * N, 1, h // 2^s, w // 2^s) for every scale s, at least float32.
    """
    channels, height, width = first.shape[1:]
    # Differences of neighbouring products decide where a cell has gone.
    with full_precision(first):
        products = widened(first).flatten(2).transpose(1, 2) @ widened(second).flatten(2) / channels**0.5
    pyramid = [products.reshape(-1, 1, height, width)]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return tuple(pyramid)


def look_up(pyramid: tuple[Tensor, ...], places: Tensor, radius: int) -> Tensor:
    """Correlations of each cell of the first frame in a window around its place in the second.

    Args:
        pyramid: from `correlation_pyramid`; at least two cells wide and high at every scale.
        places: (B, 2, h, w) in cells of the finest scale; in a coarser one they are divided by 2^s.
        radius: of the window, in cells of every scale.

    Returns:
        (B, S * R², h, w): scale by scale, the finest first. Within a window, channels that follow one another go down
        a column and then to the next column, since released weights were trained with that order.
    """
    batch, _, height, width = places.shape
    center = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    steps = torch.arange(-radius, radius + 1, dtype=places.dtype, device=places.device)
    window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
    found = [sampled(scale, center / 2**level + window) for level, scale in enumerate(pyramid)]
    return torch.cat([values.reshape(batch, height, width, -1) for values in found], dim=3).permute(0, 3, 1, 2)
