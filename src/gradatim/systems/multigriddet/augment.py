"""Augmentation of pictures with boxes: what is drawn, how strongly, and in which order.

Everything is drawn for each picture alone, so it does not depend on the batch. Pixels and boxes move together, boxes
never leave the picture, and an object is dropped by stated rules only: see `Keeping`, `gridmask` and `mosaic`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from gradatim.data.image import Picture
from gradatim.data.presets import check_ordered, with_preset
from gradatim.systems.multigriddet.example import Boxes, Example, Keeping
from gradatim.systems.multigriddet.gridmask import draw_grid, masked
from gradatim.systems.multigriddet.light import grayed, relit
from gradatim.systems.multigriddet.mosaic import draw_share, mixup, mosaic
from gradatim.systems.multigriddet.views import draw_placement, letterboxed, mirrored, tilted, turned

Probability = Annotated[float, Field(ge=0, le=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Inner = Annotated[float, Field(gt=0, lt=1)]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "original": {
        "scale": (0.5, 2.0),
        "aspect": 0.3,
        "flip": 0.5,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.1,
        "grayscale": 0.1,
        "quarter_turns": 0.05,
        "grid_mask": 0.1,
        "mosaic": 0.3,
        "mixup": 0.1,
    },
}
"""Strengths by name; `original` has those of the published program's default pipeline, without its bugs."""


class Augmentation(BaseModel):
    """What is done to training pictures; by default nothing.

    In a plan it is the name of a preset (`none`, `original`), or these fields, or both: the field `preset`
    names the one that the other fields change. Single pictures are placed, mirrored, turned, relit and
    masked, in this order; then come mosaic and mixup.

    Args:
        scale: least and most of the size, in that of the letterboxed picture.
        aspect: width over height changes by a quotient of two numbers of 1 - aspect to 1 + aspect.
        flip, vertical_flip: probability of exchanging left and right, top and bottom.
        brightness: most that is added to, or taken from, all values, in parts of the range.
        contrast, saturation: most that their factors differ from 1.
        hue: most that hues are turned by, in turns.
        grayscale: probability of losing all color.
        quarter_turns: probability of a turn by 90, 180 or 270 degrees.
        tilt: probability of a turn by a few degrees.
        tilt_degrees: standard deviation of those; more than three times as much never occurs.
        grid_mask: probability of a grid of black squares.
        grid_mask_pitch: distance of its bands, least and most, in shares of the width.
        grid_mask_band: width of the visible bands, in shares of their distance.
        grid_mask_turn: most degrees that the grid is turned by.
        grid_mask_visible: an object remains if more than this share of its box is visible.
        mosaic: probability of a picture made of quarters of four.
        mosaic_split: where the quarters meet, least and most, in shares of the sides.
        mosaic_least_side, mosaic_least_share: an object that is cut by a quarter's edge remains if both sides have
            at least this many pixels, and this share of the picture's shorter side.
        mixup: probability of laying two pictures over one another.
        mixup_alpha: of the Beta distribution that the first one's share is drawn from; 1 is even.
        mixup_least: no picture's share is smaller than this.
        least_side, least_visible: an object remains if both sides of its box are longer than this many pixels, and
            at least this share of its whole box is left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    aspect: Below1 = 0.0
    flip: Probability = 0.0
    vertical_flip: Probability = 0.0
    brightness: Probability = 0.0
    contrast: Probability = 0.0
    saturation: Probability = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    grayscale: Probability = 0.0
    quarter_turns: Probability = 0.0
    tilt: Probability = 0.0
    tilt_degrees: Annotated[float, Field(gt=0, le=60)] = 10.0
    grid_mask: Probability = 0.0
    grid_mask_pitch: tuple[Inner, Inner] = (1 / 7, 1 / 3)
    grid_mask_band: Inner = 0.5
    grid_mask_turn: Annotated[float, Field(ge=0, le=360)] = 360.0
    grid_mask_visible: Below1 = 0.3
    mosaic: Probability = 0.0
    mosaic_split: tuple[Inner, Inner] = (0.2, 0.8)
    mosaic_least_side: NonNegativeFloat = 10.0
    mosaic_least_share: Below1 = 0.03
    mixup: Probability = 0.0
    mixup_alpha: PositiveFloat = 1.0
    mixup_least: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    least_side: NonNegativeFloat = 1.0
    least_visible: Below1 = 0.1

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        """Fields of a preset, and what is given beside its name."""
        return with_preset(value, PRESETS)

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        check_ordered(self, ("scale", "grid_mask_pitch", "mosaic_split"))
        return self

    @property
    def varies(self) -> bool:
        """Whether anything is drawn."""
        strengths = (
            self.aspect, self.flip, self.vertical_flip, self.brightness, self.contrast, self.saturation, self.hue,
            self.grayscale, self.quarter_turns, self.tilt, self.grid_mask, self.mosaic, self.mixup,
        )  # fmt: skip
        return any(strengths) or self.placed

    @property
    def placed(self) -> bool:
        """Whether pictures get another size or aspect than the letterbox gives them."""
        return self.scale != (1.0, 1.0) or self.aspect > 0

    @property
    def largest(self) -> float:
        """The largest factor of a side of the letterboxed picture."""
        return self.scale[1]

    @property
    def keeping(self) -> Keeping:
        """Which cut objects remain."""
        return Keeping(side=self.least_side, share=self.least_visible)


@dataclass(frozen=True)
class Stored:
    """A picture as it is kept.

    Args:
        picture: (h, w, 3) uint8, whole, in any resolution.
        size: (height, width) that its boxes refer to.
        boxes: (N, 4) float64.
        classes: (N,) int64.
    """

    picture: Picture
    size: tuple[int, int]
    boxes: Boxes
    classes: NDArray[np.int64]


_SEEN = 0.1
"""Least share of a picture in a mixture for its objects to count: others nobody could see."""


@dataclass(frozen=True)
class Augmenter:
    """Makes training examples of stored pictures.

    Args:
        read: a stored picture by its index.
        count: how many there are.
        size: (height, width) of the examples.
        settings: what is done.
    """

    read: Callable[[int], Stored]
    count: int
    size: tuple[int, int]
    settings: Augmentation

    def example(self, index: int, random: np.random.Generator) -> Example:
        """A training example of a picture; others are read for mosaic and mixup.

        Args:
            index: of the picture.
            random: the source of all choices.
        """
        first = self._composed(index, random)
        settings = self.settings
        if random.random() >= settings.mixup:
            return first
        share = draw_share(settings.mixup_alpha, settings.mixup_least, random)
        second = self._composed(int(random.integers(self.count)), random)
        return mixup(first, second, share, least=_SEEN)

    def _composed(self, index: int, random: np.random.Generator) -> Example:
        """One picture, or a mosaic with three others, each in a quarter that is drawn."""
        settings, size = self.settings, self.size
        if random.random() >= settings.mosaic:
            return self._changed(index, random)
        members = random.permutation([index, *random.integers(self.count, size=3).tolist()]).tolist()
        x, y = (_split(side, settings.mosaic_split, random) for side in (size[1], size[0]))
        four = [self._changed(member, random) for member in members]
        least = max(settings.mosaic_least_side, settings.mosaic_least_share * min(size))
        return mosaic(four, (x, y), settings.keeping, least_side=least)

    def _changed(self, index: int, random: np.random.Generator) -> Example:
        """One picture: placed, mirrored, turned, relit and masked."""
        stored, settings = self.read(index), self.settings
        placement = letterboxed(stored.size, self.size)
        if settings.placed:
            placement = draw_placement(
                stored.size, self.size, scale=settings.scale, aspect=settings.aspect, random=random
            )
        example = placement.example(
            stored.picture, stored.boxes, stored.classes, size=stored.size, keeping=settings.keeping
        )
        for change in (_mirrored, _turned, _relit, _masked):
            example = change(example, settings, random)
        return example


def _split(side: int, shares: tuple[float, float], random: np.random.Generator) -> int:
    """Where a side is parted; both parts have at least a pixel."""
    return min(max(int(random.uniform(shares[0] * side, shares[1] * side)), 1), side - 1)


def _mirrored(example: Example, settings: Augmentation, random: np.random.Generator) -> Example:
    across, down = random.random(2)
    if across < settings.flip:
        example = mirrored(example)
    return mirrored(example, vertical=True) if down < settings.vertical_flip else example


def _turned(example: Example, settings: Augmentation, random: np.random.Generator) -> Example:
    if random.random() < settings.quarter_turns:
        example = turned(example, int(random.integers(1, 4)))
    if random.random() < settings.tilt:
        degrees = float(np.clip(random.standard_normal(), -3, 3)) * settings.tilt_degrees
        example = tilted(example, degrees, settings.keeping)
    return example


def _relit(example: Example, settings: Augmentation, random: np.random.Generator) -> Example:
    most = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    brightness, contrast, saturation, hue = (float(random.uniform(-one, one)) for one in most)
    picture = example.picture
    if any(most):
        picture = relit(picture, brightness=brightness, contrast=1 + contrast, saturation=1 + saturation, hue=hue)
    return replace(example, picture=grayed(picture) if random.random() < settings.grayscale else picture)


def _masked(example: Example, settings: Augmentation, random: np.random.Generator) -> Example:
    if random.random() >= settings.grid_mask:
        return example
    visible = draw_grid(
        example.size,
        pitch=settings.grid_mask_pitch,
        band=settings.grid_mask_band,
        turn=settings.grid_mask_turn,
        random=random,
    )
    return masked(example, visible, settings.grid_mask_visible)
