"""Prints as the networks see them: one channel, in [0, 1], in a square."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from gradatim.data.image import read_gray
from gradatim.systems.ifvit.warping import Picture

Fit = Literal["keep", "stretch"]


def read_print(path: Path) -> Picture:
    """A print as grey values (H, W) float32 in [0, 1]; any common format, told by its content.

    Raises:
        DataError: the file is missing, empty, damaged or no image.
    """
    return as_picture(read_gray(path))


def as_picture(values: NDArray[np.uint8]) -> Picture:
    """8-bit values (H, W) as float32 in [0, 1]."""
    picture: Picture = values.astype(np.float32) / np.float32(255)
    return picture


def as_bytes(picture: Picture) -> NDArray[np.uint8]:
    """Values in [0, 1] as 8-bit ones, rounded; what lies beyond is cut."""
    values: NDArray[np.uint8] = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
    return values


def background(picture: Picture) -> float:
    """Grey value of the ground that a print lies on: the upper quartile of its border, whose ridges are dark."""
    border = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    return float(np.percentile(np.concatenate(border), 75))


def fitted(picture: Picture, size: int, *, fit: Fit = "keep") -> Picture:
    """A print (H, W) in a square (size, size).

    Args:
        picture: of any size.
        size: side of the square, in pixels.
        fit: "keep" keeps the aspect and fills with the print's own ground; "stretch" is the published program's plain
            bilinear resize, which skips pixels when it shrinks.
    """
    height, width = picture.shape
    if fit == "stretch":
        grid = torch.from_numpy(np.ascontiguousarray(picture))[None, None]
        stretched: Picture = functional.interpolate(grid, (size, size), mode="bilinear", align_corners=False)[
            0, 0
        ].numpy()
        return stretched
    scale = size / max(height, width)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    square = np.full((size, size), background(picture), np.float32)
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize(inner, Image.Resampling.BILINEAR)
    square[top : top + inner[1], left : left + inner[0]] = np.asarray(resized)
    return square
