"""The metrics as functions of a training task's values: a batch in, one number a sample out.

Pictures are (B, 3, H, W) in [0, 1]; the fused one is clipped to that range. They are compared by their
luminance in 0..255, not rounded, so values differ by less than a percent from those of written files.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gradatim.data.color import luminance
from gradatim.systems.maefuse import metrics, structure


def _gray(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to (B, H, W) in 0..255, in double precision where the device has it."""
    precision = torch.float32 if image.device.type == "mps" else torch.float64
    return luminance(image.detach().to(precision).clamp(0, 1)).squeeze(-3) * 255


def ssim(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """SSIM to both sources, summed: (B,), at most 2."""
    return structure.ssim(_gray(fused), _gray(visible), _gray(infrared))


def vif(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Visual information fidelity to both sources, summed: (B,)."""
    return structure.vif(_gray(fused), _gray(visible), _gray(infrared))


def qabf(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Share of the sources' edges that is kept: (B,), 0 to about 1."""
    return structure.qabf(_gray(fused), _gray(visible), _gray(infrared))


def mse(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Mean squared difference to the sources, on 0..255: (B,); lower is better."""
    return metrics.mean_squared_error(_gray(fused), _gray(visible), _gray(infrared))


def psnr(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Peak signal to noise ratio over `mse`, in dB: (B,)."""
    return metrics.peak_signal_to_noise(_gray(fused), _gray(visible), _gray(infrared))


def cc(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Mean correlation with the sources: (B,), -1 to 1."""
    return metrics.correlation(_gray(fused), _gray(visible), _gray(infrared))


def scd(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Sum of the correlations of differences: (B,), -2 to 2."""
    return metrics.sum_of_correlations_of_differences(_gray(fused), _gray(visible), _gray(infrared))


def mi(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Mutual information of gray levels with both sources, in nats: (B,)."""
    return metrics.mutual_information(_gray(fused), _gray(visible), _gray(infrared))


def en(fused: Tensor) -> Tensor:
    """Entropy of the gray levels, in bits: (B,)."""
    return metrics.entropy(_gray(fused))


def sd(fused: Tensor) -> Tensor:
    """Standard deviation, on 0..255: (B,)."""
    return metrics.standard_deviation(_gray(fused))


def sf(fused: Tensor) -> Tensor:
    """Spatial frequency, on 0..255: (B,)."""
    return metrics.spatial_frequency(_gray(fused))


def ag(fused: Tensor) -> Tensor:
    """Average gradient, on 0..255: (B,)."""
    return metrics.average_gradient(_gray(fused))


METRICS: dict[str, Callable[..., Tensor]] = {
    "ssim": ssim,
    "vif": vif,
    "qabf": qabf,
    "mse": mse,
    "psnr": psnr,
    "cc": cc,
    "scd": scd,
    "mi": mi,
    "en": en,
    "sd": sd,
    "sf": sf,
    "ag": ag,
}
LOWER_IS_BETTER = frozenset({"mse"})
