"""Ridges made clear by filters along them: the classical way, which needs no training.

The orientation comes from the gradients' structure tensor, the distance of ridges from the gradients' strength; then
each pixel is a mixture of what Gabor filters give that follow both.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gradatim.systems.ifvit.fingers.noise import Field, blurred, fast_length
from gradatim.systems.ifvit.fingers.ridges import RidgeFilter
from gradatim.systems.ifvit.overlap import Mask, ridge_mask
from gradatim.systems.ifvit.warping import Picture

_SHORTEST, _LONGEST = 3.0, 25.0
"""Distances of ridges that are believed, in pixels."""
_WINDOW, _MOST_WINDOWS, _LEAST_INSIDE, _FINE = 64, 64, 0.6, 128
"""Windows whose spectra tell the distance of ridges: side, how many, share that is print, points of a spectrum."""


class Enhancer(Protocol):
    """What makes ridges clear, and finds where they are: filters, or a network."""

    def __call__(self, picture: Picture, mask: Mask | None = None) -> Picture:
        """A print (H, W) in [0, 1] on an empty ground; the mask says where it is, or the enhancer finds out."""
        ...

    def mask(self, picture: Picture) -> Mask:
        """Where a print (H, W) in [0, 1] has ridges."""
        ...


class GaborEnhancer:
    """The enhancer that needs no weights: `enhanced`, and edges for the mask."""

    def __call__(self, picture: Picture, mask: Mask | None = None) -> Picture:
        """See `enhanced`."""
        return enhanced(picture, mask)

    def mask(self, picture: Picture) -> Mask:
        """See `overlap.ridge_mask`; edges are averaged over a tenth of the print."""
        return ridge_mask(picture, window=max(max(picture.shape) // 10, 3) | 1)


def enhanced(picture: Picture, mask: Mask | None = None) -> Picture:
    """A print with clear ridges on an empty ground.

    Args:
        picture: (H, W) in [0, 1], dark ridges.
        mask: (H, W), where the print is; by default the largest area with edges.

    Returns:
        (H, W) in [0, 1]: ridges are dark, the ground is white.

    Source:
        L. Hong, Y. Wan and A. Jain, "Fingerprint image enhancement: algorithm and performance evaluation", 1998; the
        distance is measured without their projections along windows.
    """
    if mask is None:
        mask = ridge_mask(picture)
    if not mask.any():
        return np.ones_like(picture)
    even = _evened(picture, mask)
    rough = _typical_period(even, mask)
    # The first filter takes away what is no ridge, so that the second one can follow the ridges more closely.
    for _ in range(2):
        theta = ridge_orientation(even, 1.2 * rough)
        period = ridge_period(even, mask, 2.0 * rough)
        even = RidgeFilter(theta, period)(torch.from_numpy(np.ascontiguousarray(even))).numpy()
        even = _evened(even, mask)
    clear: Picture = (0.5 * (1 + np.tanh(1.5 * even))).astype(np.float32)
    return np.where(mask, clear, 1).astype(np.float32)


def ridge_distance(picture: Picture, mask: Mask) -> float:
    """Usual distance of a print's ridges in pixels: where the spectra of its windows are strongest.

    It grows with the size of the picture as it should, within a tenth; what gradients tell does not, since grain counts
    for more in a small print.

    Args:
        picture: (H, W) in [0, 1].
        mask: (H, W), where the print is; not empty.
    """
    spectra = np.abs(np.fft.rfft2(_windows(_evened(picture, mask), mask), (_FINE, _FINE))) ** 2
    power = (spectra / (spectra.sum((1, 2), keepdims=True) + 1e-12)).sum(0)
    waves = np.hypot(np.fft.fftfreq(_FINE)[:, None], np.fft.rfftfreq(_FINE)[None])
    edges = np.arange(1 / _LONGEST, 1 / _SHORTEST, 0.5 / _FINE)
    rings = np.histogram(waves, edges, weights=power)[0]
    smooth = np.convolve(rings, np.ones(5) / 5, "same")
    peak = int(smooth.argmax())
    near = slice(max(peak - 4, 0), peak + 5)
    middles = (edges[:-1] + edges[1:])[near] / 2
    return float(smooth[near].sum() / (smooth[near] * middles).sum()) if smooth[peak] > 0 else _LONGEST


def _windows(picture: Picture, mask: Mask) -> Field:
    """(N, S, S): windows that lie in the print for the most part, faded towards their edges."""
    side = min(_WINDOW, *picture.shape)
    step = max(side // 2, 1)
    places = [slice(None, None, step), slice(None, None, step)]
    inside = sliding_window_view(mask, (side, side))[*places].mean((2, 3))
    # The best ones where the print is too small for any to lie in it.
    rows, columns = np.nonzero(inside >= min(_LEAST_INSIDE, inside.max()))
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_WINDOWS)).round().astype(int)
    cut = sliding_window_view(picture, (side, side))[*places][rows[chosen], columns[chosen]]
    fade = np.hanning(side + 2)[1:-1]
    faded: Field = ((cut - cut.mean((1, 2), keepdims=True)) * np.outer(fade, fade)).astype(np.float32)
    return faded


def ridge_orientation(picture: Picture, sigma: float) -> Field:
    """Direction of ridges: (H, W) radians in [0, pi), from the x axis towards y.

    Args:
        picture: (H, W).
        sigma: of the Gaussian that gradients are averaged with, in pixels.
    """
    down, right = np.gradient(picture)
    double = [_around(part, sigma) for part in (np.subtract(right**2, down**2), np.multiply(2 * right, down))]
    across = np.arctan2(double[1], double[0]) / 2
    return np.mod(across + np.pi / 2, np.pi).astype(np.float32)


def ridge_period(picture: Picture, mask: Mask, sigma: float) -> Field:
    """Distance of ridges: (H, W) pixels, from how steep they are for their height.

    Args:
        picture: (H, W), mean about 0.
        mask: (H, W), where there are ridges; elsewhere their typical distance is given.
        sigma: of the Gaussian that both are averaged with, in pixels.
    """
    steepness, height = _steepness(picture)
    typical = _typical_period(picture, mask)
    inner = mask.astype(np.float32)
    # A tenth of the mean holds the quotient together where there is nothing.
    spare = 0.1 * height[mask].mean()
    ratio = _around(steepness * inner, sigma) / (_around(height * inner, sigma) + spare)
    found = 2 * np.pi / np.sqrt(np.maximum(ratio + (2 * np.pi / typical) ** 2 * 0.05, 1e-6))
    return np.clip(np.where(mask, found, typical), 0.75 * typical, 1.35 * typical).astype(np.float32)


def _typical_period(picture: Picture, mask: Mask) -> float:
    """The distance of ridges that most of a print has, in pixels."""
    steepness, height = _steepness(picture)
    ratio = steepness[mask].sum() / max(float(height[mask].sum()), 1e-9)
    return float(np.clip(2 * np.pi / np.sqrt(max(float(ratio), 1e-6)), _SHORTEST, _LONGEST))


def _steepness(picture: Picture) -> tuple[Field, Field]:
    """Squares of the gradient, and of the height, of each pixel; for waves, their quotient is that of 2 pi / period."""
    smooth = blurred(picture, 0.7)
    # Differences of neighbors: those over two pixels see a wave of six as one of seven.
    right = np.diff(smooth, axis=1, append=smooth[:, -1:])
    down = np.diff(smooth, axis=0, append=smooth[-1:])
    return (right**2 + down**2).astype(np.float32), (smooth**2).astype(np.float32)


def _evened(picture: Picture, mask: Mask) -> Picture:
    """A print whose ridges have mean 0 and height 1 all over; 0 outside."""
    inner = mask.astype(np.float32)
    sigma = max(picture.shape) / 20
    share = np.maximum(_around(inner, sigma), 0) + 1e-3
    mean = _around(picture * inner, sigma) / share
    away = (picture - mean) * inner
    deviation = np.sqrt(np.maximum(_around(away * away, sigma), 0) / share)
    even: Picture = (np.clip(away / (deviation + 0.1 * deviation[mask].mean() + 1e-6), -3, 3)).astype(np.float32)
    return even


def _around(values: NDArray[np.floating], sigma: float) -> Field:
    """Gaussian mean around each pixel, (H, W); beyond the border there is nothing."""
    height, width = values.shape
    margin = int(np.ceil(4 * sigma))
    # The filter wraps around, so the ends are kept apart by one margin.
    room = np.zeros((fast_length(height + margin), fast_length(width + margin)), np.float32)
    room[:height, :width] = values
    return blurred(room, sigma)[:height, :width]
