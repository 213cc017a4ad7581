"""Drawing board for synthetic scenes: one geometry, seen by a color camera and by a heat camera.

Lengths are meters: X to the right, Y up from the ground, Z away from the camera. Everything is painted from
far to near into three layers at once: color (what reflects), glow (what shines by itself) and heat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float64]
Point = tuple[float, float, float]
Color = tuple[float, float, float]

NEAREST = 1.5


@dataclass(frozen=True)
class Camera:
    """A pinhole that looks along Z.

    Args:
        height: of the eye above the ground, in meters.
        focal: focal length in pixels.
        center: (x, y) of the vanishing point in pixels; y is the horizon.
    """

    height: float
    focal: float
    center: tuple[float, float]

    def project(self, point: Point) -> tuple[float, float]:
        """Pixel (x, y) of a point; what is nearer than the nearest plane is moved there."""
        x, y, z = point
        z = max(z, NEAREST)
        return self.center[0] + self.focal * x / z, self.center[1] + self.focal * (self.height - y) / z

    def scale(self, z: float) -> float:
        """Pixels a meter at distance z."""
        return self.focal / max(z, NEAREST)

    def ground(self, shape: tuple[int, int]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """X and Z of the ground behind each pixel (H, W), and where there is ground at all."""
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
        below = rows > self.center[1] + 0.5
        z = self.focal * self.height / np.where(below, rows - self.center[1], 1.0)
        return (columns - self.center[0]) * z / self.focal, z, below


class Canvas:
    """The three layers, and brushes that fill shapes in all of them.

    Args:
        size: (H, W) in pixels.
        random: source of the surfaces' unevenness.
    """

    def __init__(self, size: tuple[int, int], random: np.random.Generator) -> None:
        self.size = size
        self.color = np.zeros((*size, 3))
        self.glow = np.zeros((*size, 3))
        self.heat = np.zeros(size)
        self.grain = fractal(size, random, coarsest=8)

    def polygon(
        self,
        points: Sequence[tuple[float, float]],
        color: Color,
        heat: float,
        *,
        rough: float = 0.05,
        glow: float = 0.0,
        fog: tuple[Color, float] | None = None,
    ) -> None:
        """Fill a polygon given in pixels.

        Args:
            points: corners (x, y).
            color: in [0, 1].
            heat: in [0, 1].
            rough: how uneven the color is; heat is a sixth as uneven.
            glow: how strongly the shape shines in its own color.
            fog: color of the air, and its share in [0, 1].
        """
        self._fill(points, None, color, heat, rough, glow, fog)

    def ellipse(
        self,
        center: tuple[float, float],
        radii: tuple[float, float],
        color: Color,
        heat: float,
        *,
        rough: float = 0.05,
        glow: float = 0.0,
        fog: tuple[Color, float] | None = None,
    ) -> None:
        """Fill an ellipse given in pixels; see `polygon`."""
        (x, y), (rx, ry) = center, radii
        box = [(x - rx, y - ry), (x + rx, y + ry)]
        self._fill(box, "ellipse", color, heat, rough, glow, fog)

    def shade(self, points: Sequence[tuple[float, float]], keep: float, warm: float = 0.0) -> None:
        """Darken a polygon to a share of its color, softly; `warm` is added to its heat."""
        found = self._mask(points, None, soft=0.012 * self.size[0])
        if found:
            where, mask = found
            self.color[where] *= 1 - (1 - keep) * mask[:, :, None]
            self.heat[where] += warm * mask

    def _fill(
        self,
        points: Sequence[tuple[float, float]],
        shape: str | None,
        color: Color,
        heat: float,
        rough: float,
        glow: float,
        fog: tuple[Color, float] | None,
    ) -> None:
        found = self._mask(points, shape)
        if not found:
            return
        where, mask = found
        uneven = self.grain[where]
        painted = np.array(color) * (1 + rough * uneven)[:, :, None]
        shining = np.broadcast_to(np.array(color) * glow, painted.shape)
        warm = heat * (1 + rough / 6 * uneven)
        if fog is not None:
            painted = painted * (1 - fog[1]) + np.array(fog[0]) * fog[1]
            shining = shining * (1 - fog[1])
        alpha = mask[:, :, None]
        self.color[where] += alpha * (painted - self.color[where])
        self.glow[where] += alpha * (shining - self.glow[where])
        self.heat[where] += mask * (warm - self.heat[where])

    def _mask(
        self, points: Sequence[tuple[float, float]], shape: str | None, soft: float = 0.0
    ) -> tuple[tuple[slice, slice], Array] | None:
        """The part of the canvas that a shape touches, and its share of each pixel there."""
        xs, ys = zip(*points, strict=True)
        margin = int(3 * soft) + 1
        top, bottom = max(int(min(ys)) - margin, 0), min(int(max(ys)) + margin + 1, self.size[0])
        left, right = max(int(min(xs)) - margin, 0), min(int(max(xs)) + margin + 1, self.size[1])
        if top >= bottom or left >= right:
            return None
        image = Image.new("L", (right - left, bottom - top))
        moved = [(x - left, y - top) for x, y in points]
        draw = ImageDraw.Draw(image)
        (draw.ellipse if shape == "ellipse" else draw.polygon)(moved, fill=255)
        mask = np.asarray(image) / 255
        return (slice(top, bottom), slice(left, right)), blur(mask, soft) if soft else mask


def fractal(size: tuple[int, int], random: np.random.Generator, *, coarsest: int = 4, fall: float = 0.6) -> Array:
    """Noise (H, W) with mean 0 and deviation 1 that looks alike at every scale.

    Args:
        size: (H, W).
        random: source.
        coarsest: cells along the longer side of the coarsest layer.
        fall: strength of each layer relative to the one twice as coarse.
    """
    total = np.zeros(size)
    cells, strength = coarsest, 1.0
    while cells < 2 * max(size):
        shape = tuple(max(2, round(cells * side / max(size))) for side in size)
        total += strength * zoom(random.standard_normal(shape), size)
        cells, strength = cells * 2, strength * fall
    normal: Array = (total - total.mean()) / max(float(total.std()), 1e-9)
    return normal


def zoom(values: Array, size: tuple[int, int]) -> Array:
    """Resize (h, w) to (H, W), smoothly."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC)).astype(np.float64)


def blur(values: Array, sigma: float) -> Array:
    """Gaussian blur of (H, W); the border is continued."""
    radius = max(int(3 * sigma), 1)
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * max(sigma, 1e-6) ** 2))
    weights /= weights.sum()
    for axis in (0, 1):
        ends = [(radius, radius) if axis == other else (0, 0) for other in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, ends, mode="edge"), len(weights), axis)
        values = windows @ weights
    return values
