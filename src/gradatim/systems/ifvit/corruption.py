"""A worse copy of a print, with the map from the print to it: the training pairs that one print alone gives."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional

from gradatim.systems.ifvit.fingers.noise import Random, gradient_noise, smooth_noise
from gradatim.systems.ifvit.overlap import Mask
from gradatim.systems.ifvit.prints import background
from gradatim.systems.ifvit.warping import Picture, Points, Warp, motion

_CELL = 8


class Corruption(BaseModel):
    """How much worse a copy is, and where it lies.

    Each copy gets one of three: noise, dry ridges or wet ridges. Then it is moved.

    Args:
        original: do as the published program does, mistakes included: noise that is nearly white; dry and wet
            exchanged, both at full strength; a rotation alone, with black corners.
        noise: most that noise adds or takes; the range of a picture is 1.
        pressure: most that ridges are eaten or widened by, in parts of a 3 x 3 minimum or maximum.
        rotation: most degrees.
        translation: most shift, in sides of the picture.
        scale: most that the factor of size differs from 1.
        elastic: deviation of a smooth bend, in sides of the picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    original: bool = False
    noise: Annotated[float, Field(ge=0, le=1)] = 0.3
    pressure: Annotated[float, Field(ge=0, le=1)] = 0.8
    rotation: Annotated[float, Field(ge=0, le=180)] = 60.0
    translation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    elastic: Annotated[float, Field(ge=0, le=0.02)] = 0.006


@dataclass(frozen=True)
class Corrupted:
    """A copy of a print.

    Args:
        picture: (H, W) in [0, 1].
        mask: (H, W), where it shows the print's foreground.
        warp: from the print's pixels to the copy's.
    """

    picture: Picture
    mask: Mask
    warp: Warp


def corrupted(picture: Picture, mask: Mask, settings: Corruption, random: Random) -> Corrupted:
    """A copy of a print that differs with every draw.

    Args:
        picture: (S, S) in [0, 1].
        mask: (S, S), its foreground.
        settings: how much worse.
        random: source of everything.
    """
    worse = _originally_worse(picture, random) if settings.original else _worse(picture, mask, settings, random)
    warp = draw_warp(picture.shape, settings, random)
    copy = warp.picture(worse, fill=0.0 if settings.original else background(picture))
    return Corrupted(np.clip(copy, 0, 1), warp.picture(mask.astype(np.float32), fill=0) > 0.5, warp)


def draw_warp(shape: tuple[int, int], settings: Corruption, random: Random) -> Warp:
    """Where a copy of a picture (H, W) lies."""
    height, width = shape
    degrees = random.uniform(-settings.rotation, settings.rotation)
    if settings.original:
        return Warp(motion((width / 2, height / 2), degrees=degrees))
    side = max(shape)
    scale = random.uniform(1 - settings.scale, 1 + settings.scale)
    shift_x, shift_y = random.uniform(-settings.translation, settings.translation, 2) * side
    middle = ((width - 1) / 2, (height - 1) / 2)
    matrix = motion(middle, degrees=degrees, scale=scale, shift=(shift_x, shift_y))
    if not settings.elastic:
        return Warp(matrix)
    bend = [settings.elastic * side * smooth_noise(side, side / 8, random)[:height, :width] for _ in range(2)]
    return Warp(matrix, np.stack(bend, axis=-1))


def widened(picture: Picture) -> Picture:
    """Dark ridges one pixel wider on each side: the least of each 3 x 3 square, which ends at the border."""
    return -_greatest(-picture)


def thinned(picture: Picture) -> Picture:
    """Dark ridges one pixel thinner on each side: the greatest of each 3 x 3 square."""
    return _greatest(picture)


def original_noise(shape: tuple[int, int], random: Random) -> Picture:
    """The published program's noise: four octaves of white noise that it calls Perlin's; (H, W) in [-1, 1]."""
    height, width = shape
    total = torch.zeros(1, 1, height, width)
    for octave in (1, 2, 4, 8):
        coarse = random.standard_normal((height // octave, width // octave), dtype=np.float32)
        fine = functional.interpolate(torch.from_numpy(coarse)[None, None], shape, mode="bilinear")
        total += fine / (10 * octave)
    noise: Picture = (total / total.abs().max())[0, 0].numpy()
    return noise


def _originally_worse(picture: Picture, random: Random) -> Picture:
    kind = int(random.integers(3))
    if kind == 0:
        return np.clip(picture + 0.1 * original_noise(picture.shape, random), 0, 1)
    # It takes the least for dry prints and the greatest for wet ones, which is the other way around for dark ridges.
    return widened(picture) if kind == 1 else thinned(picture)


def _worse(picture: Picture, mask: Mask, settings: Corruption, random: Random) -> Picture:
    kind = int(random.integers(3))
    if kind == 0:
        return np.clip(picture + random.uniform(0, settings.noise) * _cloudy(picture.shape, random), 0, 1)
    share = random.uniform(0, settings.pressure)
    inside = picture[mask].mean() if mask.any() else 0.0
    dark = inside <= background(picture)
    changed = widened(picture) if (kind == 1) == dark else thinned(picture)
    mixed: Picture = (1 - share) * picture + share * changed
    return mixed


def _cloudy(shape: tuple[int, int], random: Random) -> Picture:
    """Gradient noise of four octaves, each with half the cells and half the height of the last; about -1 to 1."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(4):
        total += gradient_noise(height, width, max(max(shape) / 4 / 2**octave, 2), random) / 2**octave
    return total


def _greatest(picture: Picture) -> Picture:
    around = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None, None]
    greatest: Picture = functional.max_pool2d(around, 3, stride=1, padding=1)[0, 0].numpy()
    return greatest


def spread_points(mask: Mask, random: Random) -> Points:
    """All pixels of a mask in an order whose beginnings are spread evenly: one of each 8 x 8 cell, then a second, ...

    Args:
        mask: (H, W).
        random: source of the order.

    Returns:
        (N, 2), x and y.
    """
    rows, columns = np.nonzero(mask)
    shuffled = random.permutation(len(rows))
    rows, columns = rows[shuffled], columns[shuffled]
    cell = (rows // _CELL) * (mask.shape[1] // _CELL + 1) + columns // _CELL
    grouped = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[grouped], cell[grouped], side="left")
    turn = np.arange(len(cell)) - starts
    chosen = grouped[np.argsort(turn + random.random(len(turn)))]
    return np.stack([columns[chosen], rows[chosen]], axis=-1).astype(np.float64)


def inside(points: Points, mask: Mask) -> NDArray[np.bool_]:
    """Which points (N, 2) lie on a mask's pixels: (N,)."""
    height, width = mask.shape
    column, row = np.rint(points).astype(np.int64).T
    shown = mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    found: NDArray[np.bool_] = np.logical_and(shown, within(points, (height - 1, width - 1)))
    return found


def original_points(count: int, shape: tuple[int, int], random: Random) -> Points:
    """The published program's points: whole pixels anywhere in a picture (H, W), the ground included."""
    height, width = shape
    return np.stack([random.integers(0, width, count), random.integers(0, height, count)], axis=-1).astype(np.float64)


def within(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which points (N, 2) lie inside a picture (H, W), its first pixel included and its end not: (N,)."""
    height, width = shape
    x, y = points[..., 0], points[..., 1]
    found: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return found
