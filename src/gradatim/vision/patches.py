"""Images cut into square patches, and put together again.

A patch is a flat vector of its pixels, row by row, the channels of one pixel side by side. Patches are counted row
by row over the grid (rows, columns).
"""

from math import isqrt

from torch import Tensor


def patchify(image: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches.

    Args:
        image: (B, C, H, W); H and W are multiples of `patch_size`.
        patch_size: side of a patch, in pixels.

    Returns:
        (B, N, patch_size² * C).
    """
    height, width = image.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(f"image is {height} x {width}, both sides must be multiples of the patch size, {patch_size}.")
    batch, channels = image.shape[:2]
    rows, columns = height // patch_size, width // patch_size
    cut = image.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def unpatchify(patches: Tensor, grid: tuple[int, int], *, channels: int = 3) -> Tensor:
    """Put patches together to images; undoes `patchify`.

    Args:
        patches: (B, rows * columns, patch_size² * channels).
        grid: (rows, columns).
        channels: of the image.

    Returns:
        (B, channels, rows * patch_size, columns * patch_size).
    """
    side = patch_side(patches, channels=channels)
    if patches.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"patches have shape {tuple(patches.shape)}, a grid of {grid[0]} x {grid[1]} "
            f"needs {grid[0] * grid[1]} in the second place."
        )
    rows, columns = grid
    cut = patches.reshape(-1, rows, columns, side, side, channels)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, rows * side, columns * side)


def patch_side(patches: Tensor, *, channels: int = 3) -> int:
    """Side in pixels of the square patches in (B, N, side² * channels)."""
    side = isqrt(patches.shape[-1] // channels)
    if side * side * channels != patches.shape[-1]:
        raise ValueError(f"a patch has {patches.shape[-1]} values, not a square of pixels with {channels} channels.")
    return side
