"""Luminance and chroma: BT.601 with full range, and Pillow's whole-number version of it.

Y = 0.299 R + 0.587 G + 0.114 B, and the chroma values are scaled differences to it. Because each color is
Y plus something that depends on chroma alone, exchanging Y means adding the difference to R, G and B.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gradatim.data.image import Picture

WEIGHTS = (0.299, 0.587, 0.114)
_CB_SCALE = 0.5 / (1 - WEIGHTS[2])
_CR_SCALE = 0.5 / (1 - WEIGHTS[0])


def luminance(image: Tensor) -> Tensor:
    """Y of RGB (..., 3, H, W): (..., 1, H, W) in the same range."""
    red, green, blue = torch.chunk(image, 3, dim=-3)
    return WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """RGB (..., 3, H, W) in [0, 1] to Y in [0, 1], Cb and Cr in [0, 1] with 0.5 for gray; nothing is rounded."""
    y = luminance(image)
    cb = (image[..., 2:3, :, :] - y) * _CB_SCALE + 0.5
    cr = (image[..., 0:1, :, :] - y) * _CR_SCALE + 0.5
    return torch.cat([y, cb, cr], dim=-3)


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """Inverse of `rgb_to_ycbcr`; values outside [0, 1] are not clipped."""
    y, cb, cr = torch.chunk(image, 3, dim=-3)
    red = y + (cr - 0.5) / _CR_SCALE
    blue = y + (cb - 0.5) / _CB_SCALE
    green = (y - WEIGHTS[0] * red - WEIGHTS[2] * blue) / WEIGHTS[1]
    return torch.cat([red, green, blue], dim=-3)


def exchange_luminance(image: Picture, y: NDArray[Any]) -> Picture:
    """Give a picture another luminance and keep its chroma.

    Args:
        image: (H, W, 3) uint8, RGB.
        y: (H, W), the new luminance in 0..255, not rounded.

    Returns:
        (H, W, 3) uint8, rounded once at the end. Where the new color would leave 0..255 it is clipped.
    """
    old = image @ np.array(WEIGHTS)
    color = image + (y - old)[:, :, None]
    rounded: Picture = np.rint(color.clip(0, 255)).astype(np.uint8)
    return rounded


def pillow_ycbcr(image: Picture) -> Picture:
    """RGB (H, W, 3) uint8 to Y, Cb, Cr uint8 as Pillow computes them: cut down to whole numbers, not rounded."""
    return np.array(Image.fromarray(image).convert("YCbCr"))


def pillow_rgb(image: Picture) -> Picture:
    """Y, Cb, Cr (H, W, 3) uint8 to RGB as Pillow computes it."""
    return np.array(Image.fromarray(image, mode="YCbCr").convert("RGB"))
