"""Adapters: named ways to fit an array whose shape differs from the part's."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gradatim.errors import WeightsError

Adapter = Callable[[Tensor, Tensor, nn.Module], Tensor]


def resize_positions(table: Tensor, target: Tensor, part: nn.Module) -> Tensor:
    """Resize a table of positions to the part's grid by bicubic interpolation.

    Args:
        table: (1, N, D) or (1, 1 + N, D), row-major over a square grid; a class token's row comes first.
        target: the part's array, (1, rows * columns, D); gives the shape only.
        part: its attribute `grid`, (rows, columns), tells the target's shape; square where it has none.

    Raises:
        WeightsError: a width differs, or a table covers no square grid.
    """
    count, width = target.shape[-2:]
    if table.ndim != 3 or table.shape[-1] != width:
        raise WeightsError(f"a table of shape {tuple(table.shape)} cannot be resized to {tuple(target.shape)}")
    rows, columns = getattr(part, "grid", None) or (math.isqrt(count), math.isqrt(count))
    side = math.isqrt(table.shape[1])
    has_class = side * side != table.shape[1]
    side = math.isqrt(table.shape[1] - 1) if has_class else side
    if side * side + has_class != table.shape[1] or rows * columns != count:
        raise WeightsError(f"{table.shape[1]} positions are no square grid, with or without a class row")
    grid = table[:, int(has_class) :].float().reshape(1, side, side, width).permute(0, 3, 1, 2)
    if (side, side) != (rows, columns):
        grid = torch.nn.functional.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(1, count, width).to(target.dtype)


ADAPTERS: Mapping[str, Adapter] = {"position": resize_positions}
