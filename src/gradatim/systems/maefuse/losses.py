"""MaeFuse's losses: plain functions of the values that its steps make.

Images come in [0, 1]; the losses on pixels work in levels 0..255, as the authors' do, so published weights of
loss terms keep their meaning. Nothing is clipped: a prediction that leaves the range is not excused. The filters run
in float32 even under autocast, since differences of neighbouring levels vanish in 16 bits.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.vision.normalization import to_imagenet
from gradatim.vision.patches import patch_side, patchify
from gradatim.vision.precision import full_precision, widened

Padding = Literal["zero", "reflect"]

_SOBEL = (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), ((1, 2, 1), (0, 0, 0), (-1, -2, -1)))
_LAPLACIAN = (((1, 1, 1), (1, -8, 1), (1, 1, 1)),)
_SSIM_WINDOW = 7


def pattern_mean(pattern: Tensor, visible_tokens: Tensor, infrared_tokens: Tensor) -> Tensor:
    """Squared distance of CFM's pattern to the mean of both images' tokens.

    Args:
        pattern: (B, N, D).
        visible_tokens: same shape; no gradient goes into it.
        infrared_tokens: same shape; likewise.

    Returns:
        Scalar.

    Source:
        MaeFuse (arXiv 2404.11016), alignment of the fusion head with the encoder's space. The authors encode the
        images a second time for this target; the result is the same.
    """
    return _distance_to_mean(pattern, visible_tokens, infrared_tokens)


def fused_mean(fused_tokens: Tensor, visible_tokens: Tensor, infrared_tokens: Tensor) -> Tensor:
    """Squared distance of the fused tokens to the mean of both images' tokens; as `pattern_mean`, for MFM."""
    return _distance_to_mean(fused_tokens, visible_tokens, infrared_tokens)


def _distance_to_mean(tokens: Tensor, visible_tokens: Tensor, infrared_tokens: Tensor) -> Tensor:
    target = (widened(visible_tokens.detach()) + widened(infrared_tokens.detach())) / 2
    return (widened(tokens) - target).square().mean()


def gradient(fused: Tensor, visible: Tensor, infrared: Tensor, *, padding: Padding = "zero") -> Tensor:
    """Mean distance of the fused image's edges to the stronger source's, pixel by pixel.

    Args:
        fused: (B, 3, H, W) in [0, 1], unbounded.
        visible: same shape, in [0, 1].
        infrared: same shape, in [0, 1].
        padding: what lies beyond the border. `zero`, the authors', sees a strong edge there; `reflect` sees none.

    Returns:
        Scalar, in levels per pixel.

    Source:
        The authors' `Fusionloss`, whose total is this + 2 * `laplacian`.
    """
    target = torch.maximum(edges(gray_levels(visible), padding), edges(gray_levels(infrared), padding))
    return (target - edges(gray_levels(fused), padding)).abs().mean()


def laplacian(
    fused: Tensor,
    visible: Tensor,
    infrared: Tensor,
    *,
    padding: Padding = "zero",
    select: Literal["signed", "absolute"] = "signed",
) -> Tensor:
    """Mean distance of the fused image's Laplacian to a source's, pixel by pixel.

    Args:
        fused: (B, 3, H, W) in [0, 1], unbounded.
        visible: same shape, in [0, 1].
        infrared: same shape, in [0, 1].
        padding: as in `gradient`.
        select: which source is asked for. `signed`, the authors': the greater response, so a thin bright detail,
            whose response is negative, loses against a flat region. `absolute`: the response further from zero.

    Returns:
        Scalar, in levels per pixel.

    Source:
        The authors' `Fusionloss`, where it counts twice.
    """
    visible_response = laplacian_response(gray_levels(visible), padding)
    infrared_response = laplacian_response(gray_levels(infrared), padding)
    if select == "signed":
        target = torch.maximum(visible_response, infrared_response)
    else:
        stronger = visible_response.abs() >= infrared_response.abs()
        target = torch.where(stronger, visible_response, infrared_response)
    return (target - laplacian_response(gray_levels(fused), padding)).abs().mean()


def intensity(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """Mean distance of the fused image to the brighter source, in gray levels.

    The authors' total has no such term: only the border, seen against zeros, holds their brightness.

    Args:
        fused: (B, 3, H, W) in [0, 1], unbounded.
        visible: same shape, in [0, 1].
        infrared: same shape, in [0, 1].
    """
    target = torch.maximum(gray_levels(visible), gray_levels(infrared))
    return (gray_levels(fused) - target).abs().mean()


def structure(fused: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
    """One minus the mean structural similarity of the fused image to both sources, on gray levels.

    Args:
        fused: (B, 3, H, W) in [0, 1], unbounded; H and W are at least 7.
        visible: same shape, in [0, 1].
        infrared: same shape, in [0, 1].

    Returns:
        Scalar in [0, 2]; 0 if all three are equal.

    Source:
        Wang et al. 2004, with a uniform window of 7 pixels, sample covariance, K1 0.01, K2 0.03, range 255.
    """
    gray = gray_levels(fused)
    return 1 - (_similarity(gray, gray_levels(visible)) + _similarity(gray, gray_levels(infrared))) / 2


def reconstruction(image_patches: Tensor, image: Tensor, *, normalize_patches: bool = False) -> Tensor:
    """Mean squared error of all predicted patches.

    Args:
        image_patches: prediction, (B, N, p² * 3), in ImageNet units.
        image: (B, 3, H, W) in [0, 1].
        normalize_patches: the target of each patch has mean 0 and deviation 1. Off here, unlike in most published
            masked autoencoders: this decoder has to produce pixels.

    Source:
        He et al. 2022; over all patches as in MaeFuse, since none is hidden.
    """
    return _patch_errors(image_patches, image, normalize_patches).mean()


def masked_reconstruction(
    image_patches: Tensor, image: Tensor, hidden: Tensor, *, normalize_patches: bool = False
) -> Tensor:
    """Mean squared error of the hidden patches; the visible ones do not count.

    Args:
        image_patches: prediction, (B, N, p² * 3), in ImageNet units, or those of `normalize_patches`.
        image: (B, 3, H, W) in [0, 1].
        hidden: (B, N) bool, at least one is true.
        normalize_patches: the target of each patch has mean 0 and deviation 1.

    Source:
        He et al. 2022, section 3.
    """
    errors = _patch_errors(image_patches, image, normalize_patches)
    return (errors * hidden).sum() / hidden.sum()


def _patch_errors(image_patches: Tensor, image: Tensor, normalize_patches: bool) -> Tensor:
    """Mean squared error of each patch, (B, N)."""
    target = patchify(to_imagenet(widened(image)), patch_side(image_patches))
    if normalize_patches:
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    return (widened(image_patches) - target).square().mean(dim=-1)


def gray_levels(image: Tensor) -> Tensor:
    """Gray in levels 0..255; RGB (B, 3, H, W) in [0, 1] -> (B, 1, H, W). White is 254.97: the weights sum to 0.9999."""
    levels = widened(image) * 255
    return 0.2989 * levels[:, 0:1] + 0.5870 * levels[:, 1:2] + 0.1140 * levels[:, 2:3]


def edges(gray: Tensor, padding: Padding = "zero") -> Tensor:
    """Sobel's |horizontal| + |vertical|, (B, 1, H, W) -> same shape."""
    return _filtered(gray, _SOBEL, padding).abs().sum(dim=1, keepdim=True)


def laplacian_response(gray: Tensor, padding: Padding = "zero") -> Tensor:
    """Sum of the eight neighbours minus eight times the pixel, same shape; negative on bright details."""
    return _filtered(gray, _LAPLACIAN, padding)


def _filtered(gray: Tensor, kernels: tuple[tuple[tuple[int, ...], ...], ...], padding: Padding) -> Tensor:
    """Cross-correlate with 3 × 3 kernels, (B, 1, H, W) -> (B, kernels, H, W)."""
    padded = F.pad(gray, (1, 1, 1, 1), mode="constant" if padding == "zero" else "reflect")
    with full_precision(gray):
        return F.conv2d(padded, torch.tensor(kernels, dtype=gray.dtype, device=gray.device).unsqueeze(1))


def _similarity(first: Tensor, second: Tensor) -> Tensor:
    """Mean structural similarity of gray levels (B, 1, H, W), over the windows that lie inside the image."""
    count = _SSIM_WINDOW**2
    products = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    mean1, mean2, square1, square2, product = F.avg_pool2d(products, _SSIM_WINDOW, stride=1).unbind(dim=1)
    sample = count / (count - 1)
    variances = sample * (square1 - mean1 * mean1 + square2 - mean2 * mean2)
    covariance = sample * (product - mean1 * mean2)
    small1, small2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean1 * mean2 + small1) / (mean1 * mean1 + mean2 * mean2 + small1)
    return (luminance * (2 * covariance + small2) / (variances + small2)).mean()


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "pattern_mean": pattern_mean,
    "fused_mean": fused_mean,
    "gradient": gradient,
    "laplacian": laplacian,
    "intensity": intensity,
    "structure": structure,
    "reconstruction": reconstruction,
    "masked_reconstruction": masked_reconstruction,
}
