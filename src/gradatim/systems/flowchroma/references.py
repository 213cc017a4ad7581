"""Augmentation of reference pictures: other colors, mirrored and bent, so that a network learns what is alike.

Everything is drawn first, as a `Change`, and then done to 8-bit pixels at the picture's own size. Each operation can be
called alone with the values that were drawn for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from gradatim.data.image import Picture
from gradatim.data.opencv import opencv
from gradatim.data.presets import check_ordered, with_preset

Probability = Annotated[float, Field(ge=0, le=1)]
Array = NDArray[np.float64]

LEAST_SIDE = 8
"""Pictures with shorter sides are not bent: points of the grid would fall together."""
_REACH = 0.15
_MOVED = (1, 3, 4, 5, 7)
_SAME_ORDER = (0, 1, 2)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "minimal": {"hue": 20.0, "saturation": (0.8, 1.2), "brightness": (0.9, 1.1)},
    "moderate": {
        "hue": 30.0,
        "saturation": (0.7, 1.3),
        "brightness": (0.8, 1.2),
        "channels": 0.1,
        "flip": 0.5,
    },
    "strong": {
        "hue": 30.0,
        "saturation": (0.7, 1.3),
        "brightness": (0.8, 1.2),
        "channels": 0.15,
        "flip": 0.5,
        "bend": 0.3,
        "bend_strength": 0.1,
    },
}
"""Strengths by name, those of the published program."""


class ReferenceAugmentation(BaseModel):
    """What is done to reference pictures of training; by default nothing.

    In a plan it is the name of a preset (`none`, `minimal`, `moderate`, `strong`), or these fields, or both: the field
    `preset` names the one that the other fields change. They are listed in the order in which they act.

    Args:
        hue: most that hues are turned by, in degrees, to either side.
        saturation: least and most of its factor.
        brightness: least and most of its factor.
        channels: probability of red, green and blue in another order, which may turn out to be their own.
        flip: probability of exchanging left and right.
        bend: probability of a smooth warp.
        bend_strength: of the warp; 1 moves its points by up to 15 % of the shorter side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hue: Annotated[float, Field(ge=0, le=180)] = 0.0
    saturation: tuple[NonNegativeFloat, NonNegativeFloat] = (1.0, 1.0)
    brightness: tuple[NonNegativeFloat, NonNegativeFloat] = (1.0, 1.0)
    channels: Probability = 0.0
    flip: Probability = 0.0
    bend: Probability = 0.0
    bend_strength: Probability = 0.1

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        """Fields of a preset, and what is given beside its name."""
        return with_preset(value, PRESETS)

    @model_validator(mode="after")
    def _ordered(self) -> "ReferenceAugmentation":
        check_ordered(self, ("saturation", "brightness"))
        return self

    @property
    def varies(self) -> bool:
        """Whether anything is done."""
        factors = self.saturation != (1.0, 1.0) or self.brightness != (1.0, 1.0)
        return factors or any((self.hue, self.channels, self.flip, self.bend and self.bend_strength))


@dataclass(frozen=True)
class Change:
    """What was drawn for one picture.

    Args:
        hue: turn in degrees.
        saturation: factor.
        brightness: factor.
        order: channels of the result, by their numbers.
        flip: whether left and right are exchanged.
        bend: moves of the points, (5, 2) in [-1, 1]; None for no warp. See `bent`.
        strength: of the warp.
    """

    hue: float = 0.0
    saturation: float = 1.0
    brightness: float = 1.0
    order: tuple[int, int, int] = _SAME_ORDER
    flip: bool = False
    bend: Array | None = None
    strength: float = 0.0

    def of(self, picture: Picture) -> Picture:
        """Do it to RGB, (H, W, 3) uint8.

        Raises:
            MissingExtraError: the picture is to be bent, and OpenCV is not installed.
        """
        if self.hue:
            picture = hue_turned(picture, self.hue)
        if self.saturation != 1:
            picture = saturated(picture, self.saturation)
        if self.brightness != 1:
            picture = brightened(picture, self.brightness)
        if self.order != _SAME_ORDER:
            picture = reordered(picture, self.order)
        if self.flip:
            picture = mirrored(picture)
        if self.bend is not None and min(picture.shape[:2]) >= LEAST_SIDE:
            picture = bent(picture, self.bend, self.strength)
        return picture


def draw_change(settings: ReferenceAugmentation, random: np.random.Generator) -> Change:
    """Choose what is done to a picture.

    Args:
        settings: how strongly.
        random: the one source of the choice.
    """
    hue = float(random.uniform(-settings.hue, settings.hue))
    saturation, brightness = (float(random.uniform(*span)) for span in (settings.saturation, settings.brightness))
    reorder, flip, bend = (random.random() < share for share in (settings.channels, settings.flip, settings.bend))
    first, second, third = (int(channel) for channel in random.permutation(3)) if reorder else _SAME_ORDER
    return Change(
        hue=hue,
        saturation=saturation,
        brightness=brightness,
        order=(first, second, third),
        flip=bool(flip),
        bend=random.uniform(-1, 1, (len(_MOVED), 2)) if bend else None,
        strength=settings.bend_strength,
    )


def hue_turned(picture: Picture, degrees: float) -> Picture:
    """Turn the hues of RGB, (H, W, 3) uint8; they are cut down to 256 whole numbers, as Pillow has them."""
    hsv = np.array(Image.fromarray(picture).convert("HSV"))
    hsv[:, :, 0] = np.floor(hsv[:, :, 0] + degrees * 255 / 360).astype(np.int64) % 256
    return np.array(Image.fromarray(hsv, mode="HSV").convert("RGB"))


def saturated(picture: Picture, factor: float) -> Picture:
    """Move RGB, (H, W, 3) uint8, away from its gray picture; 0 is gray, 1 changes nothing."""
    return np.array(ImageEnhance.Color(Image.fromarray(picture)).enhance(factor))


def brightened(picture: Picture, factor: float) -> Picture:
    """Multiply RGB, (H, W, 3) uint8; what leaves the range is clipped."""
    return np.array(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(factor))


def reordered(picture: Picture, order: tuple[int, int, int]) -> Picture:
    """Give RGB, (H, W, 3) uint8, other channels: the first is that of number `order[0]`, and so on."""
    return np.ascontiguousarray(picture[:, :, list(order)])


def mirrored(picture: Picture) -> Picture:
    """Exchange left and right of (H, W, 3) uint8."""
    return np.ascontiguousarray(picture[:, ::-1])


def bent(picture: Picture, moves: Array, strength: float) -> Picture:
    """Warp a picture by a thin plate through a grid of 3 x 3 points, of which all but the corners move.

    Args:
        picture: RGB, (H, W, 3) uint8, at least `LEAST_SIDE` on both sides.
        moves: (5, 2) in [-1, 1], x and y of the middle of the upper side, of the left one, of the center, of the right
            side, of the lower one.
        strength: what they are multiplied by, beside 15 % of the shorter side.

    Returns:
        (H, W, 3) uint8; bilinear, mirrored beyond the border.

    Raises:
        MissingExtraError: OpenCV is not installed.

    Source:
        The published program, whose plate is a sum of r^2 log r around the points without an affine part. Its grid
        reaches one pixel beyond the picture and is then clipped to it, so that even unmoved points warp a little.
    """
    cv2 = opencv("bending reference pictures")
    height, width = picture.shape[:2]
    grid = np.array([(width * j // 2, height * i // 2) for i in range(3) for j in range(3)], np.float64)
    points = grid.copy()
    points[list(_MOVED)] += moves * (min(height, width) * strength * _REACH)
    points = points.clip(0, (width - 1, height - 1))
    weights = np.linalg.solve(_plate(points, points), grid)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    places = (_plate(pixels.astype(np.float64), points) @ weights).astype(np.float32).reshape(height, width, 2)
    warped: Picture = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return warped


def _plate(at: Array, points: Array) -> Array:
    """r^2 log r of the distances of (N, 2) to (M, 2): (N, M); 0 where they are equal."""
    squares = ((at[:, None] - points) ** 2).sum(axis=2)
    bends: Array = 0.5 * squares * np.log(np.where(squares > 0, squares, 1.0))
    return bends
