"""Colorful videos that do not exist on disk, with a reference for each: for demos, tests and first trials.

A few shapes move over a ground. Each has a pattern of its own that its lightness shows, and a color that its lightness
does not tell: the color of a pattern is drawn anew for each video, and the reference shows the same patterns in the
same colors elsewhere. So colors can only be told from the reference, or from frames before. Picture i of a seed is
always the same, whatever was drawn before it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from gradatim.data.image import Picture
from gradatim.data.random import keyed_generator
from gradatim.systems.flowchroma.color import rgb_of_lab
from gradatim.systems.flowchroma.videos import Video
from gradatim.weights.digest import text_digest

Array = NDArray[np.float32]
Pattern = Callable[[Array, Array], Array]
Scene = Literal["frame", "reference"]

_VERSION = 1
_MIDDLE, _CONTRAST = 58.0, 16.0
_CHROMA, _GROUND_CHROMA = 44.0, 24.0


def _rings(x: Array, y: Array) -> Array:
    waves: Array = np.cos(3 * math.pi * np.hypot(x, y))
    return waves


def _checks(x: Array, y: Array) -> Array:
    squares: Array = np.sign(np.sin(2 * math.pi * x) * np.sin(2 * math.pi * y))
    return squares


def _bars(x: Array, y: Array) -> Array:
    stripes: Array = np.sin(3 * math.pi * x)
    return stripes


def _cross(x: Array, y: Array) -> Array:
    return np.where(np.minimum(np.abs(x), np.abs(y)) < 0.25, np.float32(1), np.float32(-1))


def _fade(x: Array, y: Array) -> Array:
    return 1 - 2 * np.hypot(x, y)


SHAPES: Mapping[str, tuple[Pattern, bool]] = {
    "rings": (_rings, True),
    "checks": (_checks, False),
    "bars": (_bars, True),
    "cross": (_cross, False),
    "fade": (_fade, True),
}
"""Pattern of each shape, [-1, 1] of places in [-1, 1], and whether it is a disk; the others are squares."""


class DrawnSettings(BaseModel):
    """Which videos are drawn.

    Args:
        count: number of videos.
        frames: of each video.
        size: (height, width); None for the size that frames are brought to anyway.
        shapes: how many move in each video; which ones differs from video to video.
        seed: of everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: PositiveInt = 64
    frames: PositiveInt = 8
    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = None
    shapes: Annotated[int, Field(ge=1, le=len(SHAPES))] = 3
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn when it is read; a `gradatim.systems.flowchroma.videos.Source`.

    Args:
        seed: of the videos.
        shapes: how many there are.
        size: (height, width).
        video: number of the video.
        scene: whether it is a frame, or the reference, where all stands elsewhere.
        number: of the frame; 0 for the reference.
    """

    seed: int
    shapes: int
    size: tuple[int, int]
    video: int
    scene: Scene
    number: int

    @property
    def name(self) -> str:
        """Name of the picture in its video."""
        return f"{self.number:04d}" if self.scene == "frame" else "reference"

    def read(self) -> Picture:
        """Draw it: RGB, (H, W, 3) uint8."""
        looks = _looks(self.seed, self.shapes, self.video)
        return _painted(looks, _staged(self.seed, self.shapes, self.video, self.scene), self.size, self.number)

    def digest(self) -> str:
        """Digest of what tells the picture."""
        return text_digest(f"flowchroma drawing {_VERSION}", repr(self))


@dataclass(frozen=True)
class Looks:
    """What shapes and ground of a video look like, wherever they are.

    Args:
        shapes: names of `SHAPES`.
        hues: of each shape and of the ground, in radians.
        waves: of the ground's pattern, (3, 3): frequency along x and y, and phase.
    """

    shapes: tuple[str, ...]
    hues: tuple[float, ...]
    waves: Array


@dataclass(frozen=True)
class Staging:
    """Where shapes are and how they move; lengths in parts of the picture's sides, times in frames.

    Args:
        starts: (N, 2), x and y in [0, 1].
        speeds: (N, 2).
        radii: (N,), in parts of the shorter side.
        angles: (N, 2), radians: at first, and the turn of each frame.
        drift: (2,), of the ground.
    """

    starts: Array
    speeds: Array
    radii: Array
    angles: Array
    drift: Array


def drawn_videos(settings: DrawnSettings, size: tuple[int, int]) -> list[Video]:
    """All videos, sorted by name; nothing is drawn yet.

    Args:
        settings: which videos.
        size: (height, width) where the settings name none.
    """
    return [_video(settings, settings.size or size, number) for number in range(settings.count)]


def _video(settings: DrawnSettings, size: tuple[int, int], number: int) -> Video:
    def drawing(scene: Scene, frame: int) -> Drawing:
        return Drawing(settings.seed, settings.shapes, size, number, scene, frame)

    frames = tuple(drawing("frame", frame) for frame in range(settings.frames))
    return Video(f"drawn_{number:05d}", frames, ((drawing("reference", 0),),) * settings.frames)


@lru_cache(maxsize=64)
def _looks(seed: int, shapes: int, video: int) -> Looks:
    random = keyed_generator("flowchroma looks", seed, video)
    names = random.permutation(list(SHAPES))[:shapes]
    # Spread over the circle, so that no two colors of a video are alike.
    hues = random.permutation(shapes + 1) * (2 * np.pi / (shapes + 1)) + random.uniform(0, 2 * np.pi)
    waves = np.concatenate([random.uniform(-9, 9, (3, 2)), random.uniform(0, 2 * np.pi, (3, 1))], axis=1)
    return Looks(tuple(str(name) for name in names), tuple(hues.tolist()), waves.astype(np.float32))


@lru_cache(maxsize=64)
def _staged(seed: int, shapes: int, video: int, scene: Scene) -> Staging:
    random = keyed_generator("flowchroma staging", seed, video, scene)
    # One in each upright strip, so that none hides another for good.
    across = (random.permutation(shapes) + random.uniform(0, 1, shapes)) / shapes
    values = (
        np.stack([across, random.uniform(0, 1, shapes)], axis=1),
        random.uniform(0.012, 0.05, (shapes, 2)) * random.choice([-1, 1], (shapes, 2)),
        random.uniform(0.17, 0.24, shapes),
        np.stack([random.uniform(-0.5, 0.5, shapes), random.uniform(-0.05, 0.05, shapes)], axis=1),
        random.uniform(-0.015, 0.015, 2),
    )
    return Staging(*(value.astype(np.float32) for value in values))


def _painted(looks: Looks, staging: Staging, size: tuple[int, int], time: int) -> Picture:
    """The scene at a time: the ground, and the shapes over it in their order."""
    height, width = size
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    across, down = (staging.drift * time).tolist()
    waves = [np.sin(fx * (x - across) + fy * (y - down) + phase) for fx, fy, phase in looks.waves.tolist()]
    lab = np.empty((3, height, width), np.float32)
    _color(lab, np.mean(waves, axis=0, dtype=np.float32), looks.hues[-1], _GROUND_CHROMA, np.True_)
    short = min(size)
    for number, name in enumerate(looks.shapes):
        pattern, disk = SHAPES[name]
        radius = float(staging.radii[number])
        middle = radius + _bounced(staging.starts[number] + staging.speeds[number] * time) * (1 - 2 * radius)
        angle = float(staging.angles[number, 0] + staging.angles[number, 1] * time)
        right, below = ((x - middle[0]) * (width / short / radius), (y - middle[1]) * (height / short / radius))
        cosine, sine = math.cos(angle), math.sin(angle)
        u, v = cosine * right + sine * below, cosine * below - sine * right
        inside = np.hypot(u, v) <= 1 if disk else np.maximum(np.abs(u), np.abs(v)) <= 0.85
        _color(lab, pattern(u, v), looks.hues[number], _CHROMA, inside)
    rgb = rgb_of_lab(torch.from_numpy(lab)).permute(1, 2, 0).numpy()
    levels: Picture = np.rint(rgb * 255).astype(np.uint8)
    return levels


def _color(lab: Array, pattern: Array, hue: float, chroma: float, where: NDArray[np.bool_] | np.bool_) -> None:
    """Give pixels of (3, H, W), in place, a lightness by a pattern (H, W) in [-1, 1] and one color."""
    np.copyto(lab[0], _MIDDLE + _CONTRAST * pattern, where=where)
    np.copyto(lab[1], np.float32(chroma * math.cos(hue)), where=where)
    np.copyto(lab[2], np.float32(chroma * math.sin(hue)), where=where)


def _bounced(places: Array) -> Array:
    """Places anywhere, thrown back at 0 and 1."""
    thrown: Array = 1 - np.abs(np.mod(places, 2) - 1)
    return thrown
