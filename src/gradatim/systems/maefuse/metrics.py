"""Metrics of a fused picture: what papers on infrared-visible fusion report.

Arguments are gray pictures (..., H, W) in 0..255 of one size; results are (...,). The formulas are those
of the evaluator that most of these papers use (MMIF-CDDFuse), whose values they reproduce. A correlation
with a picture that does not vary at all, which is undefined, counts as 0.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.systems.maefuse.structure import qabf, ssim, vif

Levels = NDArray[np.uint8] | NDArray[np.float64]
"""A picture's gray levels or colors in 0..255."""

NAMES = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM", "CC", "MSE", "PSNR")
LOWER_IS_BETTER = frozenset({"MSE"})


def measure(
    fused: Levels, visible: Levels, infrared: Levels, *, data_range: float = 255, base: float = math.e
) -> dict[str, float]:
    """All metrics of one fused picture, by their usual names.

    Args:
        fused: (H, W) or (H, W, 3), values 0..255; color counts by its gray version.
        visible: the same size.
        infrared: the same size.
        data_range: of SSIM; see `structure.ssim`.
        base: of the logarithm in MI.
    """
    f, v, i = (torch.from_numpy(gray(image)) for image in (fused, visible, infrared))
    values = {
        "EN": entropy(f),
        "SD": standard_deviation(f),
        "SF": spatial_frequency(f),
        "AG": average_gradient(f),
        "MI": mutual_information(f, v, i, base=base),
        "SCD": sum_of_correlations_of_differences(f, v, i),
        "VIF": vif(f, v, i),
        "Qabf": qabf(f, v, i),
        "SSIM": ssim(f, v, i, data_range=data_range),
        "CC": correlation(f, v, i),
        "MSE": mean_squared_error(f, v, i),
        "PSNR": peak_signal_to_noise(f, v, i),
    }
    return {name: float(values[name]) for name in NAMES}


def gray(image: Levels) -> NDArray[np.float64]:
    """Gray version as the evaluator reads it: whole numbers (H, W), as float64.

    Args:
        image: (H, W), returned as it is, or (H, W, 3), RGB. The weighted sum is that of OpenCV's single
            precision conversion to the last bit, then rounded, halves to the even neighbor.
    """
    if image.ndim == 2:
        return image.astype(np.float64)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    red, green, blue = (image[:, :, channel] * weights.astype(np.float64)[channel] for channel in range(3))
    # Each sum rounds once to single precision, in this order: that is what fused multiply-adds do there.
    total = (green.astype(np.float32) + blue).astype(np.float32) + red
    rounded: NDArray[np.float64] = np.rint(total.astype(np.float32)).astype(np.float64)
    return rounded


def entropy(fused: Tensor) -> Tensor:
    """EN: entropy of the 256 gray levels, in bits."""
    shares = _histogram(_levels(fused), 256)
    return _x_log_x(shares).sum(dim=-1).abs() / math.log(2)


def standard_deviation(fused: Tensor) -> Tensor:
    """SD: standard deviation of all pixels, as of a whole population."""
    return fused.flatten(-2).std(dim=-1, correction=0)


def spatial_frequency(fused: Tensor) -> Tensor:
    """SF: root of the mean squared differences of neighbors, along rows plus along columns."""
    along_rows = (fused[..., :, 1:] - fused[..., :, :-1]).square().mean(dim=(-2, -1))
    along_columns = (fused[..., 1:, :] - fused[..., :-1, :]).square().mean(dim=(-2, -1))
    return torch.sqrt(along_rows + along_columns)


def average_gradient(fused: Tensor) -> Tensor:
    """AG: mean of sqrt((gx^2 + gy^2) / 2), central differences, one-sided at the borders."""
    gy, gx = torch.gradient(fused, dim=(-2, -1))
    return torch.sqrt((gx.square() + gy.square()) / 2).mean(dim=(-2, -1))


def mutual_information(fused: Tensor, visible: Tensor, infrared: Tensor, *, base: float = math.e) -> Tensor:
    """MI: mutual information of gray levels with one source plus that with the other.

    Args:
        fused: (..., H, W) in 0..255.
        visible: same shape and range.
        infrared: same shape and range.
        base: of the logarithm; the evaluator's is e, other programs take 2.
    """
    return (_information(fused, infrared) + _information(fused, visible)) / math.log(base)


def mean_squared_error(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """MSE: mean of the squared differences to both sources."""
    to_infrared = (infrared - fused).square().mean(dim=(-2, -1))
    return (to_infrared + (visible - fused).square().mean(dim=(-2, -1))) / 2


def peak_signal_to_noise(fused: Tensor, visible: Tensor, infrared: Tensor, *, peak: float | None = None) -> Tensor:
    """PSNR in dB over `mean_squared_error`.

    Args:
        fused: (..., H, W) in 0..255.
        visible: same shape and range.
        infrared: same shape and range.
        peak: None takes the brightest fused pixel, as the evaluator does; others take 255.
    """
    highest = fused.amax(dim=(-2, -1)) if peak is None else torch.as_tensor(peak, dtype=fused.dtype)
    return 10 * torch.log10(highest**2 / mean_squared_error(fused, visible, infrared))


def correlation(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """CC: mean of the correlations with both sources."""
    return (_pearson(infrared, fused) + _pearson(visible, fused)) / 2


def sum_of_correlations_of_differences(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """SCD: r(infrared, fused - visible) + r(visible, fused - infrared)."""
    return _pearson(infrared, fused - visible) + _pearson(visible, fused - infrared)


def _pearson(first: Tensor, second: Tensor) -> Tensor:
    """Correlation over all pixels; 0 where one picture is constant."""
    first = first - first.mean(dim=(-2, -1), keepdim=True)
    second = second - second.mean(dim=(-2, -1), keepdim=True)
    scale = torch.sqrt(first.square().sum(dim=(-2, -1)) * second.square().sum(dim=(-2, -1)))
    product = (first * second).sum(dim=(-2, -1))
    return torch.where(scale > 0, product / scale.clamp_min(torch.finfo(scale.dtype).tiny), 0.0)


def _information(first: Tensor, second: Tensor) -> Tensor:
    """Mutual information of the gray levels of two pictures, in nats."""
    first, second = _levels(first), _levels(second)
    joint = _x_log_x(_histogram(first * 256 + second, 256 * 256)).sum(dim=-1)
    alone = [_x_log_x(_histogram(levels, 256)).sum(dim=-1) for levels in (first, second)]
    return joint - alone[0] - alone[1]


def _levels(image: Tensor) -> Tensor:
    """Whole gray levels (..., H * W)."""
    return image.round().clamp(0, 255).long().flatten(-2)


def _histogram(levels: Tensor, bins: int) -> Tensor:
    """Share of each level (..., bins), float64 (float32 where the device has no float64)."""
    rows = levels.reshape(-1, levels.shape[-1])
    offset = torch.arange(len(rows), device=levels.device).unsqueeze(1) * bins
    counts = torch.bincount((rows + offset).flatten(), minlength=len(rows) * bins)
    precision = torch.float32 if levels.device.type == "mps" else torch.float64
    return counts.view(*levels.shape[:-1], bins).to(precision) / levels.shape[-1]


def _x_log_x(shares: Tensor) -> Tensor:
    """x ln x, with 0 for x = 0."""
    return torch.xlogy(shares, shares)
