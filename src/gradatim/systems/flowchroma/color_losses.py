"""Losses of colors that networks propose for a frame.

Colors are a and b of LAB divided by 127, (B, 2, H, W); LAB is normalized (`color`). All is computed at least in
float32. Weights are up to the caller, but for those inside of one term.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.systems.flowchroma.color import restored, rgb_of_lab
from gradatim.systems.flowchroma.contextual import contextual
from gradatim.systems.flowchroma.parts.smoothing import averaged_by_features, averaged_nearby
from gradatim.systems.flowchroma.warping import warped
from gradatim.vision.precision import widened

Features = Callable[[Tensor], Sequence[Tensor]]
FUSION_SMALLEST = 1e-3
_UNLIKE = 1e5 * 0.2
_FAR_SCALE = 0.25


@dataclass(frozen=True)
class Proposal:
    """Colors of a frame and where they could have come from.

    Args:
        colors: that were predicted.
        flowed: that a flow carried over from the frame before.
        confidence: of the flow, (B, 1, H, W) in [0, 1].
    """

    colors: Tensor
    flowed: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Steadiness:
    """Loss of a frame and the one before.

    Args:
        align: mean distance of predictions to what a flow carried, by its confidence.
        smooth: mean distance of predictions to each other.
        total: their weighted sum.
    """

    align: Tensor
    smooth: Tensor
    total: Tensor


def absolute(colors: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (widened(colors) - target).abs().mean()


def perceptual(vgg: Features, colors: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features, averaged over layers.

    Args:
        vgg: what features come from, such as `Vgg16`; a gradient reaches the colors through it.
        colors, target: are shown to it as green and blue from 0 to 1 beside a red of 0.5 throughout, which is not
            normalized by ImageNet's mean: FlowChroma was trained so.
    """
    ours = vgg(shown(colors))
    with torch.no_grad():
        theirs = vgg(shown(target))
    return torch.stack([F.mse_loss(widened(x), widened(y)) for x, y in zip(ours, theirs, strict=True)]).mean()


def perceptual_features(features: Tensor, target: Tensor, *, unlike: bool = False) -> Tensor:
    """Mean squared difference of a backbone's deepest features, as SwinTExCo is trained with.

    Args:
        features, target: (B, C, h, w); no gradient reaches the target.
        unlike: whether pictures come from unlike sources: each channel's mean and spread are then left aside, and
            the loss is multiplied by 20,000.
    """
    features, target = widened(features), widened(target.detach())
    if not unlike:
        return F.mse_loss(features, target)
    return _UNLIKE * F.mse_loss(F.instance_norm(features), F.instance_norm(target))


def contextual_pyramid(features: Sequence[Tensor], reference: Sequence[Tensor], *, smallest: float = 1e-5) -> Tensor:
    """Contextual losses of a backbone's features, summed up; each further stage weighs twice that of the one before.

    Args:
        features, reference: (B, C, h, w) of each stage, the finest first.
        smallest: as of `contextual`.
    """
    terms = [contextual(x, y, smallest=smallest) for x, y in zip(features, reference, strict=True)]
    return torch.stack([2**stage * term for stage, term in enumerate(terms)]).sum()


def contextual_reference(swin: Features, lab: Tensor, reference: Tensor, *, uncenter_ab: bool = True) -> Tensor:
    """Contextual loss of a predicted picture to the reference of its colors, as fusion networks are trained with.

    Args:
        swin: the backbone, which takes RGB in [0, 1]; a gradient reaches the prediction through it.
        lab: prediction, normalized (B, 3, H, W).
        reference: normalized (B, 3, H', W').
        uncenter_ab: False shows both pictures almost gray, as FlowChroma's published training does by mistake.
    """
    ours = swin(rgb_of_lab(restored(lab, ab=uncenter_ab)))
    with torch.no_grad():
        theirs = swin(rgb_of_lab(restored(reference, ab=uncenter_ab)))
    return contextual_pyramid(ours, theirs, smallest=FUSION_SMALLEST)


def adaptive_temporal(now: Proposal, before: Proposal, *, smooth: float = 0.3) -> Steadiness:
    """Hold a frame to its flow where that is sure of itself, and near to the frame before; a gradient reaches both.

    What moves is not followed, so that its change counts as unsteady.

    Args:
        now: of the frame.
        before: of the frame before; of a first frame, to which no flow leads, with flow and confidence 0.
        smooth: weight of the predictions' distance.
    """
    align = (_misaligned(before) + _misaligned(now)) / 2
    distance = absolute(now.colors, before.colors)
    return Steadiness(align, distance, align + smooth * distance)


def flow_temporal(colors: Tensor, following: Tensor, flow: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of a frame to the following one, seen through a flow.

    Args:
        colors: of the frame.
        following: of the frame after it.
        flow: (B, 2, H, W) in pixels, from the frame's grid into the following one.
        mask: weight of each pixel, (B, 1, H, W); 1 if absent.
    """
    difference = (widened(colors) - warped(following, flow)).abs()
    return (difference if mask is None else difference * mask).mean()


def smoothness(
    colors: Tensor, lab: Tensor, features: Tensor | None = None, *, near: float = 1.0, far: float = 0.0
) -> Tensor:
    """Squared distance of colors to averages of those which belong to alike places.

    Args:
        colors: that were predicted.
        lab: true, normalized (B, 3, H, W): pixels next to each other are alike by L and by the true colors divided by
            127, which weigh little beside L.
        features: of the picture, (B, D, h, w), by which places far from each other are alike; for `far` alone.
        near, far: weights.
    """
    colors = widened(colors)
    near_by = averaged_nearby(colors, restored(lab, ab=False), temperature=10.0)
    loss = near * (colors - near_by).square().mean()
    if features is None:
        return loss
    small = F.interpolate(colors, scale_factor=_FAR_SCALE)
    return loss + far * (small - averaged_by_features(colors, features, scale=_FAR_SCALE)).square().mean()


def _misaligned(proposal: Proposal) -> Tensor:
    return ((widened(proposal.colors) - proposal.flowed).abs() * proposal.confidence).mean()


def shown(colors: Tensor) -> Tensor:
    """Colors (B, 2, H, W) as VGG is shown them: green and blue from 0 to 1 beside a red of 0.5, (B, 3, H, W)."""
    return (F.pad(colors, (0, 0, 0, 0, 1, 0)) + 1) / 2
