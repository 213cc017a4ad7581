"""GridMask: black squares in a regular, turned grid; what they hide too much of is no object any more.

The published program's default pipeline blacks out rows only, and keeps the boxes of hidden objects instead of the
visible ones; both are bugs that are not copied.

Source:
    (P. Chen et al., GridMask Data Augmentation, 2020.)
"""

from dataclasses import replace
from math import ceil, hypot

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradatim.systems.multigriddet.example import Boxes, Example

Visible = NDArray[np.bool_]


def draw_grid(
    size: tuple[int, int], *, pitch: tuple[float, float], band: float, turn: float, random: np.random.Generator
) -> Visible:
    """Which pixels stay visible: bands in both directions.

    Args:
        size: (height, width).
        pitch: from one band to the next, least and most, in shares of the width.
        band: width of a band in shares of the pitch.
        turn: the grid is turned by up to this many degrees.
        random: the source of pitch, place and angle.

    Returns:
        (H, W) bool.
    """
    height, width = size
    low = max(int(width * pitch[0]), 2)
    step = int(random.integers(low, max(int(width * pitch[1]), low + 1)))
    wide = min(max(int(step * band), 1), step - 1)
    side = ceil(hypot(height, width))
    rows, columns = ((np.arange(side) - int(random.integers(step))) % step < wide for _ in range(2))
    lines = rows[:, None] | columns[None, :]
    angle = int(random.uniform(0, turn)) if turn else 0
    if angle:
        lines = np.asarray(Image.fromarray(lines.astype(np.uint8)).rotate(angle)) > 0
    top, left = (side - height) // 2, (side - width) // 2
    return lines[top : top + height, left : left + width]


def masked(example: Example, visible: Visible, least: float) -> Example:
    """Black where a grid hides; objects of whose box not more than `least` stays visible are gone."""
    picture = np.where(visible[:, :, None], example.picture, np.uint8(0))
    keep = np.array([_visible_share(visible, box) > least for box in example.boxes], np.bool_)
    return replace(example, picture=picture).only(keep)


def _visible_share(visible: Visible, box: Boxes) -> float:
    """Share of the pixels that a box touches."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return float(visible[top:bottom, left:right].mean())
