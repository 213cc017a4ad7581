"""Boxes drawn into pictures, with names and scores; lines and letters grow with the picture."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gradatim.data.image import Picture
from gradatim.systems.multigriddet.predict import Detections

Color = tuple[int, int, int]
_GOLDEN = 0.618033988749895
_LINE, _TEXT = 0.004, 0.022
_LEAST_TEXT = 10


def class_color(number: int) -> Color:
    """A color for a class: hues a golden section apart, so that neighbors differ and none comes twice soon."""
    hue = (number * _GOLDEN) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.95, 0.6, 0.8)[number // 12 % 3], (1.0, 0.8, 0.9)[number // 4 % 3])
    return round(red * 255), round(green * 255), round(blue * 255)


def label(name: str, score: float | None) -> str:
    """`name 0.87`; the name alone without a score."""
    return name if score is None else f"{name} {score:.2f}"


def draw_objects(picture: Picture, found: Detections, names: Sequence[str], *, scores: bool = True) -> Picture:
    """A copy of a picture with a box and a label for each object, the best on top.

    Args:
        picture: (H, W, 3) uint8.
        found: objects in its pixels.
        names: of the classes.
        scores: whether labels tell the score.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    draw = ImageDraw.Draw(image)
    side = (image.width + image.height) / 2
    line, font = max(1, round(_LINE * side)), ImageFont.load_default(max(_LEAST_TEXT, round(_TEXT * side)))
    for n in reversed(range(len(found))):
        color = class_color(int(found.classes[n]))
        text = label(names[int(found.classes[n])], float(found.scores[n]) if scores else None)
        left, top, right, bottom = found.boxes[n].tolist()
        # The lower right pixel that a corner at the picture's edge belongs to.
        last = (max(left, right - 1), max(top, bottom - 1))
        draw.rectangle((left, top, *last), outline=color, width=line)
        _write(draw, text, (left, top), font, color, image.size)
    return np.asarray(image)


def _write(
    draw: ImageDraw.ImageDraw, text: str, corner: tuple[float, float], font: Any, color: Color, size: tuple[int, int]
) -> None:
    """Write on a field of the box's color, above the corner where there is room, and inside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0.0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    red, green, blue = color
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
    draw.text((x + 2 - left, y + 2 - top), text, font=font, fill="white" if dark else "black")


def side_by_side(left: Picture, right: Picture, *, gap: int = 6) -> Picture:
    """Two pictures of one size with a white line between them."""
    white = np.full((left.shape[0], gap, 3), 255, np.uint8)
    return np.concatenate([left, white, right], axis=1)
