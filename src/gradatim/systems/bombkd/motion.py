"""Clips whose class is a motion: the camera's, or that of an object in front of it.

A camera looks at a picture that repeats without seams; before it hangs an object with a pattern of its own. Place,
angle, distance and the object's place are drawn alike for every class, and all motions are symmetric in time around
the middle of the clip, so that no single frame tells the class: only time does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Array = NDArray[np.float32]
Random = np.random.Generator

CLASSES = (
    "pan_left", "pan_right", "pan_up", "pan_down", "zoom_in", "zoom_out", "rotate_left", "rotate_right", "shake",
    "object_left", "object_right", "object_up", "object_down", "object_circle",
)  # fmt: skip

_SIDES = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Path:
    """Where camera and object are in each frame.

    Args:
        shift: (T, 2), x and y of the camera across its view, in shorter sides of a frame.
        angle: (T,), in radians.
        distance: (T,), logarithm of the picture's pixels for one of the frame.
        place: (T, 2), x and y of the object on the frame, in shorter sides, which go around.
    """

    shift: Array
    angle: Array
    distance: Array
    place: Array


def draw_path(motion: str, frames: int, random: Random) -> Path:
    """A path of a class; `pan_left` moves the camera to the left, `rotate_left` turns the picture against the clock.

    Args:
        motion: one of `CLASSES`.
        frames: number of frames T.
        random: source of place, angle, distance and speed.
    """
    time = np.linspace(-0.5, 0.5, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    angle, distance = random.uniform(0, 2 * np.pi), random.uniform(-0.8, 0.8)
    place, speed, phase = random.uniform(0, 1, 2), random.uniform(0.7, 1.3), random.uniform(0, 2 * np.pi)
    jitter = random.normal(0, 0.07, (frames, 2))
    kind, _, way = motion.partition("_")
    still = np.zeros((frames, 2), np.float32)
    across = np.array(_SIDES.get(way, (0, 0)), np.float32) * time[:, None] * 0.6 * speed
    circle = 0.22 * speed * np.stack([np.cos(phase + 7 * time), np.sin(phase + 7 * time)], axis=1)
    zoom = {"in": -0.5, "out": 0.5}.get(way, 0.0) * speed * (kind == "zoom")
    turn = {"left": 1.0, "right": -1.0}.get(way, 0.0) * speed * (kind == "rotate")
    moved = circle if motion == "object_circle" else across if kind == "object" else still
    shift = jitter if kind == "shake" else across if kind == "pan" else still
    return Path(
        shift=shift.astype(np.float32),
        angle=(angle + turn * time).astype(np.float32),
        distance=(distance + zoom * time).astype(np.float32),
        place=(place + moved).astype(np.float32),
    )


def render(path: Path, size: tuple[int, int], *, scene: Tensor, pattern: Tensor, random: Random) -> NDArray[np.uint8]:
    """Frames along a path.

    Args:
        path: of T frames.
        size: (H, W).
        scene: (3, P, P), 0 to 255, the picture behind; repeats without seams.
        pattern: (3, P, P), 0 to 255, of the object.
        random: source of the places in both pictures, the object's size, the light and the noise.

    Returns:
        (T, H, W, 3) uint8.
    """
    height, width = size
    short = min(size)
    y, x = torch.meshgrid(_centered(height), _centered(width), indexing="ij")
    shift, angle, distance, place = (
        torch.from_numpy(values) for values in (path.shift * short, path.angle, path.distance, path.place * short)
    )
    cos, sin = (turn(angle).mul(distance.exp())[:, None, None] for turn in (torch.cos, torch.sin))
    seen_x, seen_y = x + shift[:, 0, None, None], y + shift[:, 1, None, None]
    at = random.uniform(0, scene.shape[-1], 4).tolist()
    behind = sample_wrapped(scene, cos * seen_x - sin * seen_y + at[0], sin * seen_x + cos * seen_y + at[1])
    # For the object the frame is a ring in both directions: what leaves at one side enters at the other.
    object_x = _around(x - place[:, 0, None, None], width)
    object_y = _around(y - place[:, 1, None, None], height)
    front = sample_wrapped(pattern, object_x + at[2], object_y + at[3])
    radius = random.uniform(0.16, 0.24) * short
    cover = torch.hypot(object_x, object_y).neg_().add_(radius + 0.5).clamp_(0, 1)
    frames = torch.lerp(behind, front, cover)
    contrast = random.uniform(0.75, 1.15)
    frames.mul_(contrast).add_(128 * (1 - contrast) + random.uniform(-20, 20))
    frames += torch.from_numpy(random.standard_normal(tuple(frames.shape), dtype=np.float32)).mul_(2)
    clip: NDArray[np.uint8] = frames.clamp_(0, 255).round_().byte().permute(1, 2, 3, 0).contiguous().numpy()
    return clip


def sample_wrapped(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values of a picture (3, P, P) that repeats without end at places (T, H, W): (3, T, H, W), bilinear."""
    side = picture.shape[-1]
    frames, height, width = x.shape
    grid = torch.stack([x, y], dim=-1).div_(side)
    grid.sub_(grid.floor()).mul_(2).sub_(1)
    ring = functional.pad(picture[None], (0, 1, 0, 1), mode="circular")
    found = functional.grid_sample(ring, grid.view(1, frames * height, width, 2), align_corners=True)
    return found.view(3, frames, height, width)


def _centered(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float32) - (length - 1) / 2


def _around(values: Tensor, length: int) -> Tensor:
    """The way to 0 around a ring: -length / 2 to length / 2."""
    turns = (values / length + 0.5).floor_()
    return values - turns * length


def draw_picture(side: int, random: Random) -> Tensor:
    """A picture (3, side, side), 0 to 255, of soft fields, edges and two colors; repeats without seams."""
    areas, tones, grain = _field(side, random, fall=1.9), _field(side, random, fall=1.4), _field(side, random, fall=0.8)
    light, tint = random.uniform(50, 205, (3, 1, 1, 1)), random.normal(0, 30, (3, 3, 1, 1))
    first, second, third = light + tint
    share = 0.5 + 0.5 * np.tanh(random.uniform(2, 8) * areas)
    colors = first + (second - first) * share + (third - 128) * 0.6 * np.tanh(tones) + 6 * grain
    return torch.from_numpy(colors.clip(0, 255).astype(np.float32))


def _field(side: int, random: Random, *, fall: float) -> NDArray[np.float64]:
    """A random field (side, side) of mean 0 and deviation 1 whose detail falls by a power of its frequency."""
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(random.standard_normal((side, side)))
    field: NDArray[np.float64] = np.fft.irfft2(noise * np.maximum(frequency, 2 / side) ** -fall, s=(side, side))
    even: NDArray[np.float64] = (field - field.mean()) / field.std()
    return even
