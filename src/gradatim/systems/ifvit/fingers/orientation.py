"""Where the ridges of a finger run: its pattern, its cores and deltas, and the orientation at every pixel.

Positions are in units of the finger's box: x from -1 (left) to 1, y from -1 (below) to 1. Orientations of maps are in
image coordinates: the angle from the x axis towards y, which points down, in radians and modulo pi.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.systems.ifvit.fingers.noise import Field, Random, smooth_noise

Points = NDArray[np.float64]

PATTERNS = {
    "arch": 0.037,
    "tented_arch": 0.029,
    "left_loop": 0.338,
    "right_loop": 0.317,
    "whorl": 0.1395,
    "twin_loop": 0.1395,
}
"""Share of fingers that show each pattern."""

_JITTER = 0.04
_KNOTS = 8
_KNOT_JITTER = 0.15
_WAVER = np.radians(4.0)

_CORES = {
    "arch": (),
    "tented_arch": ((0.0, 0.1),),
    "left_loop": ((0.0, 0.15),),
    "right_loop": ((0.0, 0.15),),
    "whorl": ((0.0, 0.3), (0.0, -0.05)),
    "twin_loop": ((-0.14, 0.25), (0.14, 0.0)),
}
_DELTAS = {
    "arch": (),
    "tented_arch": ((0.0, -0.35),),
    "left_loop": ((0.55, -0.55),),
    "right_loop": ((-0.55, -0.55),),
    "whorl": ((-0.6, -0.6), (0.6, -0.6)),
    "twin_loop": ((-0.6, -0.6), (0.6, -0.6)),
}


@dataclass(frozen=True)
class Singularities:
    """Where the orientation has no value.

    Args:
        cores: (N, 2), x and y; around each the orientation makes half a turn along.
        deltas: (M, 2); around each it makes half a turn against.
    """

    cores: Points
    deltas: Points


def draw_pattern(random: Random) -> str:
    """Name of a pattern, by the shares of `PATTERNS`."""
    shares = np.array(list(PATTERNS.values()))
    return list(PATTERNS)[int(random.choice(len(shares), p=shares / shares.sum()))]


def draw_singularities(pattern: str, random: Random) -> Singularities:
    """Cores and deltas of a pattern, in units of the finger's box."""
    cores, deltas = (np.array(places[pattern], np.float64).reshape(-1, 2) for places in (_CORES, _DELTAS))
    return Singularities(*(one + random.normal(0, _JITTER, one.shape) for one in (cores, deltas)))


def draw_orientation(pattern: str, singular: Singularities, size: float, side: int, random: Random) -> Field:
    """Orientation of the ridges on a canvas around the finger's box.

    Args:
        pattern: a key of `PATTERNS`.
        singular: cores and deltas.
        size: side of the finger's box in pixels.
        side: of the canvas, whose middle is the box's.
        random: source of what differs between two fingers of a pattern.

    Returns:
        (side, side), radians in [0, pi).

    Source:
        B. Sherlock and D. Monro, "A model for interpreting fingerprint topology", 1993, with the piecewise linear
        correction of P. Vizcaya and L. Gerhardt, 1996. Their field is flat far from the singular points; a bend over
        the tip is added, and an arch is this bend alone, steepest at half height. Neither adds singular points.
    """
    y, x = np.mgrid[:side, :side].astype(np.float64)
    x, y = (x - (side - 1) / 2) * (2 / size), ((side - 1) / 2 - y) * (2 / size)
    turn = np.zeros((side, side))
    for sign, places in ((1, singular.cores), (-1, singular.deltas)):
        for place_x, place_y in places:
            turn += sign * _bent(np.arctan2(y - place_y, x - place_x), random)
    upward = turn / 2 + _arch(x, y, pattern, random)
    upward += _WAVER * smooth_noise(side, size / 8, random)
    return np.mod(-upward, np.pi).astype(np.float32)


def _bent(angle: NDArray[np.float64], random: Random) -> NDArray[np.float64]:
    """An angle around a singular point, a little faster in some sectors than in others."""
    knots = np.linspace(-np.pi, np.pi, _KNOTS + 1)
    moved = knots + np.append(random.normal(0, _KNOT_JITTER, _KNOTS), 0)
    moved[-1] = moved[0] + 2 * np.pi
    bent: NDArray[np.float64] = np.interp(angle, knots, moved)
    return bent


def _arch(x: NDArray[np.float64], y: NDArray[np.float64], pattern: str, random: Random) -> NDArray[np.float64]:
    """Angle that ridges rise by on the left and fall by on the right."""
    strength, middle = (1.05, 0.05) if pattern == "arch" else (0.62, 0.75)
    strength *= random.uniform(0.85, 1.15)
    rise = strength * (np.exp(-(((y - middle) / 0.75) ** 2)) + 0.15)
    angle: NDArray[np.float64] = -rise * np.sin(np.pi / 2 * np.clip(x, -1.3, 1.3))
    return angle


def poincare_index(theta: Field) -> NDArray[np.int64]:
    """Half turns of the orientation around each square of four pixels: 1 at cores, -1 at deltas, else 0.

    Args:
        theta: (H, W), radians modulo pi, in image coordinates.

    Returns:
        (H - 1, W - 1).
    """
    corners = (theta[:-1, :-1], theta[:-1, 1:], theta[1:, 1:], theta[1:, :-1])
    total = np.zeros(corners[0].shape)
    for first, second in zip(corners, (*corners[1:], corners[0]), strict=True):
        total += np.mod(second - first + np.pi / 2, np.pi) - np.pi / 2
    return np.rint(total / np.pi).astype(np.int64)
