"""Fusion metrics that look at neighborhoods: SSIM, VIF and Qabf.

Arguments are gray pictures (..., H, W) in 0..255 of one size; results are (...,), computed in the
precision of the arguments. The formulas are those of the evaluator that most fusion papers use
(MMIF-CDDFuse), with its quirks, so that values can be set beside published ones.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.vision.similarity import slide, structural_similarity

_TINY = 1e-10
_VIF_NOISE = 2.0


def ssim(fused: Tensor, visible: Tensor, infrared: Tensor, *, data_range: float = 255) -> Tensor:
    """SSIM to one source plus SSIM to the other: at most 2.

    Args:
        fused: (..., H, W) in 0..255, at least 7 x 7.
        visible: same shape and range.
        infrared: same shape and range.
        data_range: 255 for this range. 2 gives the values that were published while scikit-image silently
            took 2 for floating point pictures.

    Source:
        `structural_similarity`. Some papers give half of this sum.
    """
    return structural_similarity(fused, visible, data_range=data_range) + structural_similarity(
        fused, infrared, data_range=data_range
    )


def vif(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Visual information fidelity of the fused picture to one source plus that to the other.

    Pictures need sides of 41 pixels or more; of smaller ones the coarse scales are left out.

    Source:
        Sheikh and Bovik 2006, in the pixel domain, four scales. A source without any variation has fidelity 1.
    """
    return _vif(torch.stack([infrared, visible]), fused.unsqueeze(0)).sum(dim=0)


def qabf(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """How much of the sources' edges the fused picture holds, in strength and direction: 0 to about 1.

    Source:
        Xydeas and Petrovic 2000. Where fused and source edges are equally strong the evaluator takes that
        strength itself instead of the ratio 1; kept, since published values have it. Two sources without
        edges give 0.
    """
    strength, angle = _edges(fused)
    kept: Tensor | float = 0.0
    total: Tensor | float = 0.0
    for source in (infrared, visible):
        weight, source_angle = _edges(source)
        kept = kept + (_preserved(strength, angle, weight, source_angle) * weight).sum(dim=(-2, -1))
        total = total + weight.sum(dim=(-2, -1))
    assert isinstance(kept, Tensor)
    assert isinstance(total, Tensor)
    return torch.where(total > 0, kept / total.clamp_min(_TINY), 0.0)


def _vif(reference: Tensor, distorted: Tensor) -> Tensor:
    """Pixel-domain visual information fidelity of `distorted` (1, ..., H, W) to each `reference` (S, ..., H, W)."""
    numerator = reference.new_zeros(reference.shape[:-2])
    denominator = torch.zeros_like(numerator)
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        if min(reference.shape[-2:]) < size:
            break
        if scale > 1:
            reference = _blur(reference, size)[..., ::2, ::2]
            distorted = _blur(distorted, size)[..., ::2, ::2]
        if min(reference.shape[-2:]) < size:
            break
        gain, noise, variance = _channel(reference, distorted, size)
        numerator += torch.log10(1 + gain**2 * variance / (noise + _VIF_NOISE)).sum(dim=(-2, -1))
        denominator += torch.log10(1 + variance / _VIF_NOISE).sum(dim=(-2, -1))
    return torch.where(denominator > 0, numerator / denominator.clamp_min(1e-300), 1.0)


def _channel(reference: Tensor, distorted: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Local gain and noise that turn the reference into the distorted picture, and the reference's variance."""
    mean_r, mean_d = _blur(reference, size), _blur(distorted, size)
    variance_r = (_blur(reference * reference, size) - mean_r * mean_r).clamp_min(0)
    variance_d = (_blur(distorted * distorted, size) - mean_d * mean_d).clamp_min(0)
    covariance = _blur(reference * distorted, size) - mean_r * mean_d
    gain = covariance / (variance_r + _TINY)
    noise = variance_d - gain * covariance
    # The order of these three repairs is the evaluator's; a later one sees what an earlier one did.
    flat = variance_r < _TINY
    gain, noise = gain.masked_fill(flat, 0), torch.where(flat, variance_d, noise)
    variance_r = variance_r.masked_fill(flat, 0)
    gone = variance_d < _TINY
    gain, noise = gain.masked_fill(gone, 0), noise.masked_fill(gone, 0)
    inverted = gain < 0
    noise, gain = torch.where(inverted, variance_d, noise), gain.masked_fill(inverted, 0)
    return gain, noise.clamp_min(_TINY), variance_r


def _blur(image: Tensor, size: int) -> Tensor:
    """Gaussian of sigma size / 5 over each window inside the picture."""
    weights = [math.exp(-((place - size // 2) ** 2) / (2 * (size / 5) ** 2)) for place in range(size)]
    return slide(image, [weight / sum(weights) for weight in weights])


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and direction (-pi/2 to pi/2) of the Sobel gradient, zero outside the picture."""
    padded = functional.pad(image, (1, 1, 1, 1))
    across = padded[..., :, 2:] - padded[..., :, :-2]
    down = padded[..., :-2, :] - padded[..., 2:, :]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    gy = down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]
    upright = gx == 0
    angle = torch.atan(gy / gx.masked_fill(upright, 1)).masked_fill(upright, math.pi / 2)
    return torch.sqrt(gx**2 + gy**2), angle


def _preserved(strength: Tensor, angle: Tensor, weight: Tensor, source_angle: Tensor) -> Tensor:
    """Share of a source's edge that is kept at each pixel, strength times direction."""
    ratio = torch.minimum(strength, weight) / torch.maximum(strength, weight).clamp_min(_TINY)
    ratio = torch.where(strength == weight, strength, ratio)
    direction = 1 - (source_angle - angle).abs() / (math.pi / 2)
    in_strength = 0.9994 / (1 + torch.exp(-15 * (ratio - 0.5)))
    in_direction = 0.9879 / (1 + torch.exp(-22 * (direction - 0.8)))
    return in_strength * in_direction
