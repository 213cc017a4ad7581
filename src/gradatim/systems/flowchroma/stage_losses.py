"""Losses of FlowChroma's stages.

LAB is normalized (`color`). Letters: B sequences, T frames, R references (1 or T), P = T - 1 pairs, I steps of the
network of flows.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.systems.flowchroma.color_losses import FUSION_SMALLEST, Proposal, absolute, adaptive_temporal
from gradatim.systems.flowchroma.color_losses import contextual_pyramid as pyramid
from gradatim.systems.flowchroma.losses import color_sequence
from gradatim.vision.precision import widened


def flow_colors(flowed: Tensor, frames: Tensor, *, gamma: float = 0.8) -> Tensor:
    """Distance of what flows brought to the true colors; see `losses.color_sequence`.

    Args:
        flowed: (B, P, I, 2, H, W).
        frames: (B, T, 3, H, W).
        gamma: weight of a step as a share of the next one's.
    """
    return color_sequence(flowed.unbind(2), frames[:, 1:, 1:], gamma=gamma)


def matched_colors(matched: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference of what references gave, (B, T, 2, H, W), to the true colors."""
    return absolute(matched, frames[:, :, 1:])


def colors(fused: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference of a and b, both (B, T, 3, H, W)."""
    return absolute(fused[:, :, 1:], frames[:, :, 1:])


def perceptual(perceived: Tensor, perceived_true: Tensor) -> Tensor:
    """Mean squared difference of what VGG sees of predicted and of true colors."""
    return F.mse_loss(widened(perceived), widened(perceived_true))


def contextual(first_features: Mapping[str, Tensor], reference_features: Mapping[str, Tensor], fused: Tensor) -> Tensor:
    """Contextual loss of first frames to their references, as a share of all frames of a sequence.

    Args:
        first_features: (B, C, h, w) at each scale.
        reference_features: (B, R, C, h', w').
        fused: (B, T, 3, H, W), of which the number of frames is looked at.
    """
    found = pyramid(
        list(first_features.values()), [x[:, 0] for x in reference_features.values()], smallest=FUSION_SMALLEST
    )
    return found / fused.shape[1]


def temporal(fused: Tensor, carried: Tensor, confidence: Tensor, *, smooth: float = 0.3) -> Tensor:
    """Unsteadiness of all frames but the first, as a share of all; see `color_losses.adaptive_temporal`.

    Args:
        fused: (B, T, 3, H, W).
        carried: (B, T, 2, H, W).
        confidence: (B, T, 1, H, W) in [0, 1].
        smooth: weight of the distance to the frame before.
    """
    frames = [Proposal(fused[:, n, 1:], carried[:, n], confidence[:, n]) for n in range(fused.shape[1])]
    pairs = zip(frames[1:], frames[:-1], strict=True)
    terms = [adaptive_temporal(now, before, smooth=smooth).total for now, before in pairs]
    return torch.stack(terms).sum() / len(frames) if terms else fused.sum() * 0


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "flow_colors": flow_colors,
    "matched_colors": matched_colors,
    "colors": colors,
    "perceptual": perceptual,
    "contextual": contextual,
    "temporal": temporal,
}
