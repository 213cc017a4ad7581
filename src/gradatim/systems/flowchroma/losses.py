"""Losses of flows and of the colors that they carry.

Values may come in 16 bits; all is computed at least in float32.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gradatim.systems.flowchroma.warping import warped
from gradatim.vision.precision import widened


def color_sequence(predictions: Sequence[Tensor], target: Tensor, *, gamma: float = 0.8) -> Tensor:
    """Mean absolute difference of colors, summed over the steps of a network; later steps weigh more.

    Args:
        predictions: one of (B, 2, H, W) for each step, a and b of LAB divided by 127.
        target: (B, 2, H, W).
        gamma: weight of a step as a share of the next one's; the last weighs 1.
    """
    differences = ((widened(prediction) - target).abs().mean() for prediction in predictions)
    return _later_more(differences, len(predictions), gamma)


def flow_sequence(
    predictions: Sequence[Tensor], target: Tensor, valid: Tensor, *, gamma: float = 0.85, longest: float = 400.0
) -> Tensor:
    """Mean absolute difference of flows, summed over the steps of a network; later steps weigh more.

    Args:
        predictions: one of (..., 2, H, W) in pixels for each step, for any number of pairs of frames.
        target: (..., 2, H, W) in pixels.
        valid: (..., H, W), at least 0.5 where the target is known.
        gamma: weight of a step as a share of the next one's; the last weighs 1.
        longest: pixels that move this far or farther do not count.

    Source:
        RAFT (Teed and Deng 2020), Eq. 7. As in the authors' code, pixels that do not count enter the mean as 0.
    """
    counts = ((valid >= 0.5) & (target.norm(dim=-3) < longest)).unsqueeze(-3)
    # By choice and not by a product: an unknown flow may be infinite.
    differences = (torch.where(counts, (widened(prediction) - target).abs(), 0.0).mean() for prediction in predictions)
    return _later_more(differences, len(predictions), gamma)


def temporal_consistency(prediction: Tensor, previous: Tensor, flow: Tensor) -> Tensor:
    """Mean squared difference of colors to those of the frame before, carried by a flow.

    Args:
        prediction, previous: (B, 2, H, W), a and b of LAB divided by 127.
        flow: (B, 2, H, W) in pixels, from the predicted frame's grid into the frame before.
    """
    return (widened(prediction) - warped(previous, flow)).square().mean()


def _later_more(values: Iterable[Tensor], count: int, gamma: float) -> Tensor:
    return torch.stack([gamma ** (count - 1 - step) * value for step, value in enumerate(values)]).sum()
