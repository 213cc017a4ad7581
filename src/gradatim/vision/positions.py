"""Position tables of transformers that work on a grid of patches.

A grid is (rows, columns); token t of a grid with C columns lies in row t // C and column t % C.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Grid = tuple[int, int]


def sine_cosine_table(width: int, grid: Grid) -> Tensor:
    """Fixed two-dimensional positions, (rows * columns, width) in [-1, 1], float32 on the CPU.

    The first half of a row encodes the token's column, the second half its row; each half holds all sines, then all
    cosines. Positions are whole steps and are not rescaled, so a larger grid continues a smaller one.

    Args:
        width: size of a token; a multiple of 4.
        grid: (rows, columns).

    Source:
        Vaswani et al. 2017, section 3.5, once for each axis, as in the masked autoencoder's code. Angles are
        computed in float64; only the result is rounded.
    """
    if width % 4:
        raise ValueError(f"width is {width}, sine-cosine positions need a multiple of 4: sine and cosine for two axes.")
    rows, columns = (torch.arange(size, dtype=torch.float64, device="cpu") for size in grid)
    row = _waves(rows, width // 4)[:, None, :].expand(-1, grid[1], -1)
    column = _waves(columns, width // 4)[None, :, :].expand(grid[0], -1, -1)
    return torch.cat([column, row], dim=-1).flatten(0, 1).float()


def _waves(positions: Tensor, count: int) -> Tensor:
    """Sines and cosines at `count` frequencies, falling from 1 towards 1/10000; (P,) -> (P, 2 * count)."""
    step = torch.arange(count, dtype=torch.float64, device="cpu") / count
    angles = positions[:, None] * 10000.0**-step
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def resize_positions(
    table: Tensor, source: Grid, target: Grid, *, class_row: Literal["absent", "keep", "drop"] = "absent"
) -> Tensor:
    """Bicubic resize of a position table from one grid to another.

    Args:
        table: (1, rows * columns, D), with one more row in front where there is a class token.
        source: (rows, columns) of `table`.
        target: (rows, columns) that are needed.
        class_row: whether `table` begins with the row of a class token, and what becomes of it. It has no place on
            the grid and is never interpolated.

    Returns:
        (1, N, D) where N counts the target's tokens and a kept class row; the dtype of `table`.
    """
    first = 0 if class_row == "absent" else 1
    needed = first + source[0] * source[1]
    if table.ndim != 3 or table.shape[:2] != (1, needed):
        raise ValueError(
            f"position table has shape {tuple(table.shape)}, a grid of {source[0]} x {source[1]} "
            f"with class_row={class_row!r} needs (1, {needed}, width)."
        )
    patches = table[:, first:]
    if source != target:
        image = patches.transpose(1, 2).reshape(1, -1, *source)
        image = F.interpolate(image.double(), size=target, mode="bicubic", align_corners=False)
        patches = image.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat([table[:, :1], patches], dim=1) if class_row == "keep" else patches.clone()
