"""One print of a finger: which part of it touches, how it is bent and turned, and how the ink takes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat
from torch.nn import functional

from gradatim.data.random import keyed_generator
from gradatim.systems.ifvit.fingers.master import Master, canvas_side
from gradatim.systems.ifvit.fingers.noise import Field as Map
from gradatim.systems.ifvit.fingers.noise import Random, blurred, gradient_noise, smooth_noise
from gradatim.systems.ifvit.fingers.skin import Points, SkinMap, draw_map

_SHARPNESS = 6.0
_EDGE = 0.025
_FADE = 2.5
_FRAME = 4


class PrintStyle(BaseModel):
    """How much two prints of a finger differ.

    Args:
        rotation: most degrees that a finger is turned by; about 20 for a guided sensor, 60 for a free one.
        translation: most that it is shifted by, in sides of the print.
        plastic: whether skin slips; without it the map from the master is a matrix.
        pressure: most that ridges are thinner (dry) or wider (wet) than the valleys; their height is 1.
        noise: factor of the grain on the paper, pores, breaks and scratches; 0 is a clean print.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: Annotated[float, Field(ge=0, le=180)] = 20.0
    translation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    plastic: bool = True
    pressure: Annotated[float, Field(ge=0, le=0.8)] = 0.5
    noise: NonNegativeFloat = 1.0


@dataclass(frozen=True)
class Impression:
    """A print and where each of its points lies on the finger.

    Args:
        image: (S, S) uint8, dark ridges on a light ground.
        mask: (S, S) bool, where the finger touches.
        skin: map from the master to the print, in pixels of both.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    skin: SkinMap

    @property
    def size(self) -> int:
        """Side S of the print."""
        return len(self.image)

    def origins(self) -> Points:
        """Where on the master each pixel comes from: (S, S, 2), x and y."""
        return self.skin.inverse(pixels(self.size))

    def orientation(self, master: Master) -> tuple[Map, Map]:
        """Direction of the ridges and their distance at each pixel: (S, S) radians in [0, pi), and (S, S) pixels."""
        origins = self.origins()
        double = [sampled(part, origins) for part in (np.cos(2 * master.theta), np.sin(2 * master.theta))]
        theta = np.arctan2(double[1], double[0]) / 2
        along = np.stack([np.cos(theta), np.sin(theta)], axis=-1)
        across = np.stack([-np.sin(theta), np.cos(theta)], axis=-1)
        step = 0.5
        moved, aside = (
            (self.skin(origins + step * way) - self.skin(origins - step * way)) / (2 * step) for way in (along, across)
        )
        area = np.abs(moved[..., 0] * aside[..., 1] - moved[..., 1] * aside[..., 0])
        period = sampled(master.period, origins) * area / np.hypot(moved[..., 0], moved[..., 1])
        turned = np.mod(np.arctan2(moved[..., 1], moved[..., 0]), np.pi)
        return turned.astype(np.float32), period.astype(np.float32)


def make_impression(master: Master, number: int, style: PrintStyle | None = None) -> Impression:
    """Print number `number` of a finger; always the same for the same arguments.

    Args:
        master: of the finger.
        number: of the print.
        style: how much it may differ from others; by default `PrintStyle()`.
    """
    style = style or PrintStyle()
    random = keyed_generator(master.seed, "ink", master.finger, number)
    skin = impression_map(master.seed, master.finger, number, size=master.size, style=style)
    origins = skin.inverse(pixels(master.size))
    inside = _silhouette(origins, skin.center, master, random)
    inked = _inked(sampled(master.ridges, origins), inside, style, random)
    return Impression(_printed(inked, style, random), inside > 0, skin)


def impression_map(seed: int, finger: int, number: int, *, size: int, style: PrintStyle) -> SkinMap:
    """The map of a print from its master, without drawing either; arguments as of the functions that draw them."""
    random = keyed_generator(seed, "impression", finger, number)
    side = canvas_side(size)
    return draw_map(
        (side - 1) / 2 + random.normal(0, 0.06, 2) * size,
        size,
        side,
        random,
        rotation=style.rotation,
        translation=style.translation,
        plastic=style.plastic,
    )


def pixels(height: int, width: int | None = None) -> Points:
    """The middles of all pixels: (H, W, 2) float64, x and y; a square by default."""
    y, x = np.mgrid[:height, : width or height]
    return np.stack([x, y], axis=-1).astype(np.float64)


def sampled(field: Map, points: Points) -> Map:
    """Values of a field (H, W) at points (h, w, 2), bicubic; beyond the field its border goes on."""
    height, width = field.shape
    scale = np.array([2 / (width - 1), 2 / (height - 1)])
    grid = torch.from_numpy((points * scale - 1).astype(np.float32))[None]
    source = torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32))[None, None]
    found = functional.grid_sample(source, grid, mode="bicubic", padding_mode="border", align_corners=True)
    values: Map = found[0, 0].numpy()
    return values


def _silhouette(origins: Points, center: Points, master: Master, random: Random) -> Map:
    """Depth of each pixel inside the area of contact, in shares of the soft edge: above 0 inside."""
    half = master.size / 2
    width, top, bottom = (random.uniform(low, high) * half for low, high in ((0.7, 0.88), (0.82, 1.0), (0.9, 1.15)))
    away = origins - center
    radius = np.where(away[..., 1] < 0, top, bottom)
    distance = 1 - np.sqrt((away[..., 0] / width) ** 2 + (away[..., 1] / radius) ** 2)
    rough = smooth_noise(master.size, max(master.size / 40, 1.5), random)
    depth = distance * width / (_EDGE * master.size) + 0.5 * rough
    within = ((origins >= 0) & (origins <= master.side - 1)).all(axis=-1)
    return np.where(within, depth, -1).astype(np.float32)


def _inked(ridges: Map, inside: Map, style: PrintStyle, random: Random) -> Map:
    """Share of each pixel that takes ink: (S, S) in [0, 1]; pressure moves the edge between ridge and valley."""
    side = len(ridges)
    pressure = random.uniform(-style.pressure, style.pressure)
    uneven = 0.2 * smooth_noise(side, side / 10, random) + 0.15 * style.noise * smooth_noise(side, 1.2, random)
    # At the rim the pressure falls, so that ridges become thin and break up before they end.
    rim = _FADE * (1 - np.clip(inside, 0, 1))
    ridge = 1 / (1 + np.exp(-_SHARPNESS * (ridges + pressure + uneven - rim)))
    broken = 1 - np.clip(_pores(side, style, random) + _scratches(side, style, random), 0, 1)
    ink: Map = (ridge * broken * (inside > 0)).astype(np.float32)
    return ink


def _pores(side: int, style: PrintStyle, random: Random) -> Map:
    """Holes of one to three pixels: (side, side), 1 in their middles."""
    density = random.uniform(0.002, 0.01) * style.noise
    spots = (random.random((side, side)) < density).astype(np.float32)
    sigma = random.uniform(0.5, 1.0)
    holes: Map = blurred(spots, sigma) * np.float32(2 * np.pi * sigma**2)
    return holes


def _scratches(side: int, style: PrintStyle, random: Random) -> Map:
    """Up to three thin lines without ink: (side, side) in [0, 1]."""
    lines = np.zeros((side, side), np.float32)
    places = pixels(side)
    for _ in range(int(random.integers(0, 4)) if style.noise else 0):
        start, angle = random.uniform(0.1, 0.9, 2) * side, random.uniform(0, np.pi)
        length, width = random.uniform(0.1, 0.4) * side, random.uniform(1, 2)
        away = places - start
        along = away[..., 0] * np.cos(angle) + away[..., 1] * np.sin(angle)
        across = away[..., 1] * np.cos(angle) - away[..., 0] * np.sin(angle)
        line = np.clip(width / 2 + 0.5 - np.abs(across), 0, 1) * (np.abs(along) < length / 2)
        lines = np.maximum(lines, line.astype(np.float32))
    return lines


def _printed(inked: Map, style: PrintStyle, random: Random) -> NDArray[np.uint8]:
    """Grey values of a print: ink on paper, the grain of both, and the sensor's blur."""
    side = len(inked)
    contrast, ground = random.uniform(0.5, 0.9), np.clip(random.normal(0.9, 0.03), 0.8, 1)
    slope = random.normal(0, 0.03, 2)
    places = pixels(side) / side - 0.5
    paper = ground + places @ slope
    grain = 0.04 * gradient_noise(side, side, max(side / 16, 4), random) + 0.02 * random.standard_normal((side, side))
    # The filter wraps around; a frame keeps the ink of one border from showing at the other.
    framed = np.pad((paper - contrast * inked).astype(np.float32), _FRAME, mode="edge")
    clean = blurred(framed, random.uniform(0.4, 0.9))[_FRAME:-_FRAME, _FRAME:-_FRAME]
    value = clean + style.noise * grain
    return np.rint(255 * np.clip(value, 0, 1)).astype(np.uint8)
