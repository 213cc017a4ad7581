"""Position tables of transformers that work on a grid of patches.

A grid is (rows, columns); token t of a grid with C columns lies in row t // C and column t % C.
"""

import torch
from torch import Tensor

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
