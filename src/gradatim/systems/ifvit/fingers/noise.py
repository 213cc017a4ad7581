"""Random fields and filters that drawing a print needs; all fields are float32."""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Random = np.random.Generator


def smooth_noise(side: int, sigma: float, random: Random) -> Field:
    """White noise after a Gaussian filter that wraps around: (side, side), mean 0, deviation 1.

    Args:
        side: of the square.
        sigma: of the filter, in pixels.
        random: source of the noise.
    """
    field = blurred(random.standard_normal((side, side), dtype=np.float32), sigma)
    field -= field.mean()
    even: Field = field / max(float(field.std()), 1e-6)
    return even


def blurred(field: Field, sigma: float) -> Field:
    """A field (H, W) after a Gaussian filter whose borders wrap around; sigma in pixels."""
    height, width = field.shape
    rows = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(height)) ** 2)
    columns = np.exp(-2 * (np.pi * sigma * np.fft.rfftfreq(width)) ** 2)
    spectrum = np.fft.rfft2(field) * (rows[:, None] * columns[None])
    return np.fft.irfft2(spectrum, s=field.shape).astype(np.float32)


def fast_length(length: int) -> int:
    """The least length from this on that has no prime factor above 5; others are slow to transform."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def gradient_noise(height: int, width: int, cell: float, random: Random) -> Field:
    """Perlin's gradient noise: (height, width), about -0.7 to 0.7, 0 at the corners of its cells.

    Args:
        height, width: of the field.
        cell: side of the lattice's squares, in pixels.
        random: source of the gradients.

    Source:
        K. Perlin, "Improving noise", 2002: quintic blend of the four corners' slopes.
    """
    y, x = np.arange(height, dtype=np.float32) / cell, np.arange(width, dtype=np.float32) / cell
    row, column = y.astype(np.int64), x.astype(np.int64)
    angle = random.uniform(0, 2 * np.pi, (row[-1] + 2, column[-1] + 2)).astype(np.float32)
    slope_x, slope_y = np.cos(angle), np.sin(angle)
    inner_y, inner_x = (y - row)[:, None], (x - column)[None]

    def corner(down: int, right: int) -> Field:
        at = np.ix_(row + down, column + right)
        height_there: Field = slope_x[at] * (inner_x - right) + slope_y[at] * (inner_y - down)
        return height_there

    blend_y, blend_x = _quintic(inner_y), _quintic(inner_x)
    top = corner(0, 0) + blend_x * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + blend_x * (corner(1, 1) - corner(1, 0))
    return (top + blend_y * (bottom - top)).astype(np.float32)


def _quintic(t: Field) -> Field:
    result: Field = t * t * t * (t * (t * 6 - 15) + 10)
    return result
