"""Small files for the tests of MaeFuse's data."""

import numpy as np
from PIL import Image


def picture(seed=0, size=(12, 16), channels=3):
    """Random (H, W, 3) or (H, W) uint8."""
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, array):
    """Write an array by Pillow, folders included; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def pair_root(root, names=("a", "b", "c"), *, size=(12, 16), folders=("vi", "ir"), suffix=".png"):
    """A root with pairs of random pictures; returns it."""
    for seed, name in enumerate(names):
        save(root / folders[0] / f"{name}{suffix}", picture(seed, size))
        save(root / folders[1] / f"{name}{suffix}", picture(seed + 100, size, channels=1))
    return root
