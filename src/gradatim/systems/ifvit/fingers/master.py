"""A finger's master: the ridges that all of its prints show parts of."""

from dataclasses import dataclass

import numpy as np

from gradatim.data.random import keyed_generator
from gradatim.systems.ifvit.fingers.noise import Field
from gradatim.systems.ifvit.fingers.orientation import (
    Singularities,
    draw_orientation,
    draw_pattern,
    draw_singularities,
)
from gradatim.systems.ifvit.fingers.ridges import draw_periods, grow_ridges

MARGIN = 1.3
"""Side of a master's canvas in that of a print, so that a print that is moved still shows ridges."""


@dataclass(frozen=True)
class Master:
    """The ridges of a finger on a canvas that is larger than a print.

    Positions are pixels of the canvas: x to the right, y down, whole numbers at the pixels' middles.

    Args:
        seed, finger: whose it is.
        size: side of a print of it, in pixels.
        pattern: its name; see `PATTERNS`.
        ridges: (C, C) float32 in [-1, 1]; a ridge is above 0.
        theta: (C, C), direction of the ridges: radians from the x axis towards y, in [0, pi).
        period: (C, C), distance between ridges in pixels.
        singularities: in pixels of the canvas.
    """

    seed: int
    finger: int
    size: int
    pattern: str
    ridges: Field
    theta: Field
    period: Field
    singularities: Singularities

    @property
    def side(self) -> int:
        """Side C of the canvas."""
        return len(self.ridges)


def canvas_side(size: int) -> int:
    """Side of the canvas of a master whose prints have a side of `size` pixels."""
    return round(MARGIN * size)


def make_master(seed: int, finger: int, *, size: int = 256, pattern: str | None = None) -> Master:
    """The master of a finger; always the same for the same arguments.

    Args:
        seed: of all fingers.
        finger: its number.
        size: side of its prints in pixels. The ridges' distance grows with the square root of it, 8 to 10 pixels at
            256, so that small prints still show ridges that a network can see.
        pattern: a key of `PATTERNS`; by default drawn by the shares that occur.
    """
    random = keyed_generator(seed, "finger", finger)
    drawn = draw_pattern(random)
    pattern = drawn if pattern is None else pattern
    side = canvas_side(size)
    places = draw_singularities(pattern, random)
    base = random.uniform(8, 10) * np.sqrt(size / 256)
    theta = draw_orientation(pattern, places, size, side, random)
    period = draw_periods(base, places, size, side, random)
    ridges = grow_ridges(theta, period, random)
    middle = (side - 1) / 2
    cores, deltas = (middle + one * (size / 2, -size / 2) for one in (places.cores, places.deltas))
    return Master(seed, finger, size, pattern, ridges, theta, period, Singularities(cores, deltas))
