"""Ridges that grow out of noise along an orientation, at a given distance from one another."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gradatim.systems.ifvit.fingers.noise import Field, Random, fast_length, smooth_noise
from gradatim.systems.ifvit.fingers.orientation import Singularities

ROUNDS = 16
_ANGLES = 24
_PERIODS = 4
_GAIN = 2.0
_LOSS = 1e-3
_WIDER = 0.08


def draw_periods(base: float, singular: Singularities, size: float, side: int, random: Random) -> Field:
    """Distance between ridges on a canvas, in pixels: (side, side).

    It wavers by about a tenth, and is a little larger above the upper core and below the deltas.

    Args:
        base: the finger's own distance.
        singular: in units of the finger's box.
        size: side of the box in pixels.
        side: of the canvas.
        random: source of the waver.
    """
    waver = np.clip(smooth_noise(side, size / 5, random) / 2, -1, 1)
    y = ((side - 1) / 2 - np.arange(side, dtype=np.float64)) * (2 / size)
    top = singular.cores[:, 1].max() if len(singular.cores) else 0.4
    bottom = singular.deltas[:, 1].min() if len(singular.deltas) else -0.6
    wider = 1 + _WIDER * np.add(_step(y - float(top)), _step(float(bottom) - y))
    return (base * (1 + 0.1 * waver) * wider[:, None]).astype(np.float32)


def _step(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.clip(distance / 0.3, 0, 1)
    return share


def grow_ridges(theta: Field, period: Field, random: Random, *, rounds: int = ROUNDS) -> Field:
    """Ridges along an orientation field: (H, W) in [-1, 1], a ridge is above 0.

    Noise is filtered over and over with Gabor kernels that follow the orientation and the distance at each pixel, and
    squashed in between. Where ridges do not fit together, they end or fork: these are the minutiae.

    Args:
        theta: (H, W), radians modulo pi, in image coordinates.
        period: (H, W), pixels.
        random: source of the noise.
        rounds: how often it is filtered; more rounds leave fewer minutiae.

    Source:
        R. Cappelli, D. Maio and D. Maltoni, "Synthetic fingerprint-image generation", 2000, for the kernels and the
        iteration. See `RidgeFilter`.
    """
    apply = RidgeFilter(theta, period)
    ridges = torch.from_numpy(random.standard_normal(theta.shape, dtype=np.float32))
    response = ridges
    for _ in range(rounds):
        response = apply(ridges)
        response = response / response.std()
        ridges = torch.tanh(_GAIN * response)
    # A last step with less gain keeps the height of a ridge above its sides, which pressure later cuts at.
    grown: Field = torch.tanh(response * 0.9).numpy()
    return grown


class RidgeFilter:
    """Gabor filters that follow an orientation and a distance at each pixel.

    A few fixed filters are applied by Fourier transform, and their results mixed, pixel by pixel. A kernel that lies
    between two angles or two distances is a mixture of both.

    Args:
        theta: (H, W), radians modulo pi, in image coordinates.
        period: (H, W), pixels.
    """

    def __init__(self, theta: Field, period: Field) -> None:
        height, width = theta.shape
        # Room for a kernel, so that what leaves at one border does not enter at the other.
        margin = int(np.ceil(period.max()))
        self._size = (fast_length(height + margin), fast_length(width + margin))
        low = np.floor(float(period.min()) * 10) / 10
        high = max(np.ceil(float(period.max()) * 10) / 10, low + 0.1)
        self._spectra, codes = _bank(self._size, low, high)
        self._weights = _mixture(theta, period, codes, low, high)

    def __call__(self, picture: Tensor) -> Tensor:
        """What is ridge in a picture (H, W) float32, of the same size; nothing is beyond its border."""
        height, width = picture.shape
        parts = torch.fft.irfft2(self._spectra * torch.fft.rfft2(picture, s=self._size), s=self._size)
        ridges: Tensor = (self._weights * parts[:, :height, :width]).sum(dim=0)
        return ridges


@lru_cache(maxsize=8)
def _bank(size: tuple[int, int], low: float, high: float) -> tuple[Tensor, Tensor]:
    """Few filters whose mixtures are all Gabor kernels of a range of periods.

    Returns:
        spectra (R, H, W // 2 + 1), real; and codes (angles, periods, R): the mixture that makes each kernel.
    """
    rows = torch.fft.fftfreq(size[0])[:, None]
    columns = torch.fft.rfftfreq(size[1])[None]
    angles = torch.arange(_ANGLES) * (torch.pi / _ANGLES)
    periods = torch.linspace(low, high, _PERIODS)
    kernels = torch.stack([_gabor(rows, columns, float(a), float(p)) for a in angles for p in periods])
    flat = kernels.flatten(1)
    values, vectors = torch.linalg.eigh((flat @ flat.T).double())
    kept = vectors[:, values > _LOSS * values.max()].float()
    spectra = (kept.T @ flat).view(-1, *kernels.shape[1:])
    return spectra, kept.view(_ANGLES, _PERIODS, -1)


def _gabor(rows: Tensor, columns: Tensor, angle: float, period: float) -> Tensor:
    """Spectrum of a Gabor kernel without mean whose ridges run at an angle; three of its peaks count."""
    frequency = 1 / period
    spread = 9 / (8 * frequency**2 * np.log(1000))
    across_x, across_y = -np.sin(angle) * frequency, np.cos(angle) * frequency

    def bump(x: float, y: float) -> Tensor:
        # A Gaussian of both axes is a product; what is hardly above 0 is 0, as tiny numbers are slow to multiply.
        across, down = (torch.exp(-2 * torch.pi**2 * spread * axis**2) for axis in (columns - x, rows - y))
        return functional.threshold(down * across, 1e-9, 0.0)

    both = bump(across_x, across_y) + bump(-across_x, -across_y)
    return both - both[0, 0] * bump(0, 0)


def _mixture(theta: Field, period: Field, codes: Tensor, low: float, high: float) -> Tensor:
    """Share of each filter at each pixel: (R, H, W)."""
    angle = torch.from_numpy(theta) * (_ANGLES / torch.pi)
    level = (torch.from_numpy(period) - low) * ((_PERIODS - 1) / (high - low))
    first = angle.floor()
    lower = level.floor().clamp(0, _PERIODS - 2)
    total = torch.zeros(*theta.shape, codes.shape[-1])
    for turn in (0, 1):
        for step in (0, 1):
            share = (1 - (angle - first - turn).abs()) * (1 - (level - lower - step).abs())
            found = codes[(first.long() + turn) % _ANGLES, lower.long() + step]
            total += share[..., None] * found
    return total.permute(2, 0, 1).contiguous()
