"""Averages of colors over places that look alike, which a smoothness loss compares colors with."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.systems.flowchroma.parts.warpnet import unit_features
from gradatim.vision.precision import full_precision, widened


def averaged_nearby(colors: Tensor, guide: Tensor, *, temperature: float, patch: int = 3) -> Tensor:
    """Mean of the colors around every pixel; those count most where the guide is near to that at the pixel.

    Args:
        colors: (B, C, H, W).
        guide: (B, G, H, W). SwinTExCo looks at the lightness in [-1, 1], or at L in [0, 100] with the true colors.
        temperature: squared distance of the guide at which a weight falls to 1 / e; 1 for lightness in [-1, 1], 10 for
            L and colors.
        patch: side of the neighborhood, odd.

    Returns:
        (B, C, H, W), at least float32. Beyond the border color and guide count as 0.
    """
    with full_precision(colors):
        colors, guide = widened(colors), widened(guide)
        distance = (_around(guide, patch) - guide[:, :, None]).square().sum(dim=1, keepdim=True)
        weights = (-distance / temperature).softmax(dim=2)
        return (weights * _around(colors, patch)).sum(dim=2)


def averaged_by_features(
    colors: Tensor, features: Tensor, *, temperature: float = 0.5, scale: float = 0.5, patch: int = 3
) -> Tensor:
    """Mean of the colors of a whole picture for every place of it, those of similar features first.

    Args:
        colors: (B, C, H, W).
        features: (B, D, h, w) of any length.
        temperature: of the softmax over all places.
        scale: by which the picture is made smaller first, by nearest neighbors.
        patch: side of the neighborhoods whose cosines are summed up, odd.

    Returns:
        (B, C, scale * H, scale * W), at least float32.
    """
    with full_precision(colors):
        small = F.interpolate(widened(colors), scale_factor=scale)
        seen = F.interpolate(unit_features(widened(features)), size=small.shape[2:])
        patches_BDN = F.unfold(seen, patch, padding=patch // 2)
        weights_BNN = (patches_BDN.transpose(1, 2) @ patches_BDN / temperature).softmax(dim=2)
        return torch.einsum("bnm,bcm->bcn", weights_BNN, small.flatten(2)).view_as(small)


def _around(x: Tensor, patch: int) -> Tensor:
    """Every pixel's neighborhood, (B, C, H, W) -> (B, C, patch², H, W)."""
    batch, channels, height, width = x.shape
    return F.unfold(x, patch, padding=patch // 2).view(batch, channels, patch * patch, height, width)
