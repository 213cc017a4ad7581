"""Fusing at native resolution with a model of one fixed size: overlapping tiles, blended smoothly."""

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.data.color import luminance
from gradatim.errors import DataError

Fuse = Callable[[Tensor, Tensor], Tensor]
Plane = NDArray[np.float64]
Planes = NDArray[np.floating]


def fuse_tiled(
    visible: Plane,
    infrared: Plane,
    fuse: Fuse,
    *,
    size: tuple[int, int],
    overlap: float = 0.5,
    batch_size: int = 4,
    device: torch.device | str = "cpu",
) -> Plane:
    """Fuse two pictures of any size, tile by tile.

    Args:
        visible: luminance (H, W) in [0, 1].
        infrared: (H, W) in [0, 1].
        fuse: visible and infrared (B, 3, h, w) float32 in [0, 1] -> fused, same shape, not bounded.
        size: (h, w) of a tile, the size that the model was trained at.
        overlap: least share of a tile that it has in common with its neighbor, in each direction.
        batch_size: tiles that are fused at once.
        device: where the model is.

    Returns:
        Luminance of the fused picture, (H, W) in [0, 1]. A picture that is smaller than a tile is
        continued by its mirror image, which is cut off again.
    """
    height, width = visible.shape
    padding = [(0, max(size[0] - height, 0)), (0, max(size[1] - width, 0))]
    both = np.stack([np.pad(plane, padding, mode="reflect") for plane in (visible, infrared)])
    rows, columns = (tile_starts(both.shape[axis + 1], size[axis], overlap) for axis in (0, 1))
    corners = list(product(rows, columns))
    weight = window(size)
    total, weights = np.zeros(both.shape[1:]), np.zeros(both.shape[1:])
    for first in range(0, len(corners), batch_size):
        batch = corners[first : first + batch_size]
        cut = np.stack([both[:, top : top + size[0], left : left + size[1]] for top, left in batch])
        fused = call(fuse, cut[:, 0], cut[:, 1], device=device)
        for (top, left), tile in zip(batch, fused, strict=True):
            place = np.s_[top : top + size[0], left : left + size[1]]
            total[place] += tile * weight
            weights[place] += weight
    return (total / weights)[:height, :width]


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """First pixels of the fewest tiles that cover a side with at least this overlap, evenly spread."""
    room = length - tile
    step = max(int(tile * (1 - overlap)), 1)
    count = -(-room // step) + 1
    return [room * i // max(count - 1, 1) for i in range(count)]


def window(size: tuple[int, int]) -> Plane:
    """Weight of each pixel of a tile: squared sine, largest in the middle and above 0 everywhere."""
    rows, columns = (np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in size)
    return np.outer(rows, columns)


def call(
    fuse: Fuse, visible: NDArray[np.floating], infrared: NDArray[np.floating], *, device: torch.device | str
) -> Plane:
    """Luminance of what `fuse` makes of gray pictures: (B, h, w) in [0, 1] each -> (B, h, w), clipped to [0, 1].

    Raises:
        DataError: the model's output is not finite.
    """
    pictures = [
        torch.from_numpy(np.asarray(planes, np.float32)).to(device).unsqueeze(1).expand(-1, 3, -1, -1)
        for planes in (visible, infrared)
    ]
    with torch.inference_mode():
        fused = fuse(*pictures).detach().to("cpu").double()
    if not torch.isfinite(fused).all():
        raise DataError("the model's output is not finite; try precision 32.")
    plane: Plane = luminance(fused.clamp(0, 1)).squeeze(1).numpy()
    return plane
