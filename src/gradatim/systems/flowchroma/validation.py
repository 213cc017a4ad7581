"""Figures of merit that validation takes from colored sequences.

LAB is normalized (`color`). Letters: B sequences, T frames, P = T - 1 pairs, I steps of the network of flows.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradatim.systems.flowchroma.color import restored, rgb_of_lab

_LEAST_ERROR = 1e-10


def flow_error(flowed: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference of the colors that last flows (B, P, I, 2, H, W) brought, (B,) in levels of a and b."""
    return _ab_error(flowed[:, :, -1], frames[:, 1:])


def match_error(matched: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference of the references' colors (B, T, 2, H, W), (B,) in levels of a and b."""
    return _ab_error(matched, frames)


def color_error(fused: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference of colored frames (B, T, 3, H, W), (B,) in levels of a and b."""
    return _ab_error(fused[:, :, 1:], frames)


def psnr(fused: Tensor, frames: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of colored frames as sRGB, (B,) in dB; at most 100."""
    ours, true = (rgb_of_lab(restored(lab.flatten(0, 1))) for lab in (fused, frames))
    errors = (ours - true).square().flatten(1).mean(1).reshape(fused.shape[:2]).mean(1)
    return -10 * torch.log10(errors.clamp_min(_LEAST_ERROR))


def flicker(fused: Tensor, frames: Tensor) -> Tensor:
    """How much more the colors change from frame to frame than they should, (B,) in levels of a and b."""
    ours, true = (lab[:, 1:, 1:] - lab[:, :-1, 1:] for lab in (fused, frames))
    return 127 * (ours - true).abs().flatten(1).mean(1)


def _ab_error(ab: Tensor, frames: Tensor) -> Tensor:
    return 127 * (ab - frames[:, :, 1:]).abs().flatten(1).mean(1)


METRICS: Mapping[str, Callable[..., Tensor]] = {
    "flow_error": flow_error,
    "match_error": match_error,
    "color_error": color_error,
    "psnr": psnr,
    "flicker": flicker,
}
HIGHER_IS_BETTER = {"psnr"}
