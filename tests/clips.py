"""Little videos of known content, made on the spot."""

from pathlib import Path

import numpy as np

from gradatim.data.video import Clip, write_video


def numbered_clip(frames: int, *, size: tuple[int, int] = (32, 48), seed: int = 0) -> Clip:
    """Frames (T, H, W, 3) uint8 that tell their number: gray 8 * number, with a little square of the seed's color."""
    clip = np.empty((frames, *size, 3), np.uint8)
    clip[:] = (8 * np.arange(frames) % 256)[:, None, None, None]
    clip[:, :8, :8] = np.random.default_rng(seed).integers(0, 256, 3)
    return clip


def numbers_of(clip: Clip) -> list[int]:
    """Numbers of the frames of a `numbered_clip` that went through a codec."""
    return np.rint(np.median(clip.reshape(len(clip), -1), axis=1) / 8).astype(int).tolist()


def write_numbered(path: Path, frames: int, *, size: tuple[int, int] = (32, 48), seed: int = 0) -> Path:
    """Write a `numbered_clip`; its folder is made."""
    write_video(path, numbered_clip(frames, size=size, seed=seed), 10, quality=4)
    return path
