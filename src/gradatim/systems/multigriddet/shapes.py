"""Pictures of plain shapes before textured backgrounds, drawn on the spot: for demos, tests and first trials.

Picture i of a seed and a split is always the same, whatever was drawn before it. Boxes are those of the pixels that
are really seen of an object; a shape that would hide too much of an earlier one is put elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, sin
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt

from gradatim.data.image import Picture
from gradatim.data.random import keyed_generator
from gradatim.errors import unknown

CLASSES = ("circle", "square", "triangle", "ring", "star", "cross")

_FINE = 4
"""Pixels along a side that one pixel of an outline is made of."""
_TRIES = 20
_LEAST_SEEN = 0.7
_CONTRAST = 90.0
"""Least distance of an object's color to the background's around it, of 0 to 442."""

Random = np.random.Generator


def square(value: object) -> object:
    """Read one number as the side of a square."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _known(classes: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [unknown("shape", name, CLASSES) for name in classes if name not in CLASSES]
    if len(set(classes)) < len(classes):
        wrong.append("a shape is named twice.")
    if wrong:
        raise ValueError(" ".join(wrong))
    return classes


Side = Annotated[int, Field(ge=16)]
Share = Annotated[float, Field(gt=0, le=1)]


class ShapesSettings(BaseModel):
    """Which shapes, how many and how large.

    Args:
        count: pictures of training.
        validate_count: pictures of validation.
        size: (height, width); one number is a square.
        seed: of everything that is drawn.
        classes: some of `CLASSES`, each drawn equally often.
        objects: of a picture that is not empty, at most.
        empty: share of pictures without an object.
        smallest, largest: diameter of an object in shares of the shorter side; drawn evenly in its logarithm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: PositiveInt = 512
    validate_count: PositiveInt = 128
    size: Annotated[tuple[Side, Side], BeforeValidator(square)] = (128, 128)
    seed: NonNegativeInt = 0
    classes: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known)] = CLASSES
    objects: PositiveInt = 5
    empty: Annotated[float, Field(ge=0, le=1)] = 0.1
    smallest: Share = 0.12
    largest: Share = 0.5


@dataclass(frozen=True)
class Scene:
    """A picture and what it shows.

    Args:
        picture: (H, W, 3) uint8.
        boxes: (N, 4) float64, the smallest that hold an object's pixels: left, top, right, bottom.
        classes: (N,) int64.
        owners: (H, W) int64; number of the object that a pixel shows, -1 for the background.
    """

    picture: Picture
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    owners: NDArray[np.int64]


def draw_scene(settings: ShapesSettings, split: Literal["train", "validate"], index: int) -> Scene:
    """A picture by its number; equal arguments give equal pictures."""
    random = keyed_generator(settings.seed, "shapes", split, index)
    picture = _background(settings.size, random)
    owners = np.full(settings.size, -1, np.int64)
    labels: list[int] = []
    if random.random() >= settings.empty:
        for _ in range(int(random.integers(1, settings.objects + 1))):
            label = int(random.integers(len(settings.classes)))
            if _add(picture, owners, len(labels), settings, settings.classes[label], random):
                labels.append(label)
    boxes = np.array([_extent(owners == number) for number in range(len(labels))], np.float64).reshape(-1, 4)
    noisy = picture + random.normal(0, random.uniform(0, 6), (*settings.size, 1)).astype(np.float32)
    return Scene(noisy.clip(0, 255).astype(np.uint8), boxes, np.array(labels, np.int64), owners)


def _add(
    picture: NDArray[np.float32],
    owners: NDArray[np.int64],
    number: int,
    settings: ShapesSettings,
    name: str,
    random: Random,
) -> bool:
    """Draw one object where it hides little of the others; changes both arrays, unless no place is found."""
    height, width = settings.size
    for _ in range(_TRIES):
        share = np.exp(random.uniform(np.log(settings.smallest), np.log(max(settings.largest, settings.smallest))))
        side = max(int(share * min(height, width)), 6)
        cover = _outline(name, side, float(random.uniform(0, 2 * pi)))
        top = int(random.integers(0, max(height - side, 0) + 1))
        left = int(random.integers(0, max(width - side, 0) + 1))
        cover = cover[: height - top, : width - left]
        window = (slice(top, top + cover.shape[0]), slice(left, left + cover.shape[1]))
        own = cover >= 0.5
        if _hides_much(owners, window, own):
            continue
        behind = picture[window]
        color = _color(behind.reshape(-1, 3).mean(axis=0), random)
        shading = np.linspace(-1, 1, cover.shape[1], dtype=np.float32)[None, :, None] * random.uniform(-25, 25)
        picture[window] += cover[:, :, None] * (color + shading - behind)
        owners[window][own] = number
        return True
    return False


def _hides_much(owners: NDArray[np.int64], window: tuple[slice, slice], own: NDArray[np.bool_]) -> bool:
    """Whether an object would leave too little of another one, or be no object itself."""
    if not own.any():
        return True
    hidden = np.unique(owners[window][own])
    for other in hidden[hidden >= 0]:
        pixels = owners == other
        left = np.count_nonzero(pixels) - np.count_nonzero(pixels[window] & own)
        # Counted by what is still seen, so several objects together may hide somewhat more.
        if left < _LEAST_SEEN * np.count_nonzero(pixels):
            return True
    return False


def _extent(pixels: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _color(behind: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """A color that stands out from the one behind."""
    while True:
        color = random.uniform(0, 255, 3).astype(np.float32)
        if np.linalg.norm(color - behind) > _CONTRAST:
            return color


def _background(size: tuple[int, int], random: Random) -> NDArray[np.float32]:
    """(H, W, 3), 0 to 255: two colors mixed by soft noise of several finenesses, or by stripes."""
    height, width = size
    first, second = random.uniform(20, 235, (2, 3)).astype(np.float32)
    second = first + (second - first) * np.float32(random.uniform(0.2, 0.7))
    mix = np.zeros(size, np.float32)
    for cells, strength in ((3, 1.0), (9, 0.5), (28, 0.25)):
        coarse = random.standard_normal((cells, cells)).astype(np.float32)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        mix += strength * np.asarray(fine)
    if random.random() < 0.3:
        angle, wave = random.uniform(0, pi), random.uniform(0.15, 0.8)
        rows, columns = np.ogrid[:height, :width]
        mix += np.sin(wave * (rows * np.sin(angle) + columns * np.cos(angle))).astype(np.float32)
    share = (0.5 + 0.35 * mix).clip(0, 1)[:, :, None]
    picture: NDArray[np.float32] = first + (second - first) * share
    return picture


def _outline(name: str, side: int, angle: float) -> NDArray[np.float32]:
    """Share of each pixel that a shape covers, (side, side); it touches the circle that the square holds."""
    # Angles in steps: a drawn outline is used again.
    return _drawn(name, side, round(angle / (2 * pi) * 72) % 72)


@lru_cache(maxsize=4096)
def _drawn(name: str, side: int, turn: int) -> NDArray[np.float32]:
    large = side * _FINE
    image = Image.new("L", (large, large), 0)
    _PAINTERS[name](ImageDraw.Draw(image), large / 2, turn * 2 * pi / 72)
    small = image.resize((side, side), Image.Resampling.BOX)
    cover = np.asarray(small, np.float32) / np.float32(255)
    cover.flags.writeable = False
    return cover


def _points(radius: float, corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners by angle and distance in radii, around the middle of the square."""
    return [(radius * (1 + far * cos(angle)), radius * (1 + far * sin(angle))) for angle, far in corners]


def _disk(draw: ImageDraw.ImageDraw, radius: float, share: float, fill: int) -> None:
    low, high = radius * (1 - share), radius * (1 + share) - 1
    draw.ellipse((low, low, high, high), fill=fill)


def _polygon(corners: int, inner: float | None = None) -> Callable[[ImageDraw.ImageDraw, float, float], None]:
    """Painter of a regular polygon, or of a star whose inner corners lie nearer."""

    def paint(draw: ImageDraw.ImageDraw, radius: float, angle: float) -> None:
        count = corners if inner is None else 2 * corners
        fars = [1.0 if inner is None or i % 2 == 0 else inner for i in range(count)]
        draw.polygon(_points(radius, [(angle + 2 * pi * i / count, far) for i, far in enumerate(fars)]), fill=255)

    return paint


def _circle(draw: ImageDraw.ImageDraw, radius: float, angle: float) -> None:
    _disk(draw, radius, 1, 255)


def _ring(draw: ImageDraw.ImageDraw, radius: float, angle: float) -> None:
    _disk(draw, radius, 1, 255)
    _disk(draw, radius, 0.55, 0)


def _cross(draw: ImageDraw.ImageDraw, radius: float, angle: float) -> None:
    half = 0.3
    for quarter in (0.0, pi / 2):
        spread = float(np.arcsin(half))
        turns = (-spread, spread, pi - spread, pi + spread)
        draw.polygon(_points(radius, [(angle + quarter + turn, 1.0) for turn in turns]), fill=255)


_PAINTERS: dict[str, Callable[[ImageDraw.ImageDraw, float, float], None]] = {
    "circle": _circle,
    "square": _polygon(4),
    "triangle": _polygon(3),
    "ring": _ring,
    "star": _polygon(5, 0.42),
    "cross": _cross,
}
