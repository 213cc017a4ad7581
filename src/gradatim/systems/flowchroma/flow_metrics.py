"""How far flows, and the colors that they carry, are from what is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Errors:
    """Distances of predictions to targets.

    Args:
        mean: mean distance.
        below: share of the pixels nearer than a bound, by the bound.
    """

    mean: float
    below: dict[float, float]


@torch.no_grad()
def flow_errors(prediction: Tensor, target: Tensor, valid: Tensor, bounds: Sequence[float] = (1, 3, 5)) -> Errors:
    """End-point errors in pixels, over the pixels whose flow is known.

    Args:
        prediction, target: (..., 2, H, W) in pixels.
        valid: (..., H, W), at least 0.5 where the target is known; nan comes of no such pixel.
        bounds: in pixels.
    """
    distances = (prediction - target).norm(dim=-3)[valid >= 0.5]
    return Errors(float(distances.mean()), _below(distances, bounds))


@torch.no_grad()
def color_errors(prediction: Tensor, target: Tensor, bounds: Sequence[float] = (0.01, 0.02, 0.04)) -> Errors:
    """Mean absolute difference of a and b, and shares of the pixels by their distance in the plane of a and b.

    Args:
        prediction, target: (..., 2, H, W), a and b of LAB divided by 127.
        bounds: in the same unit.
    """
    difference = prediction - target
    return Errors(float(difference.abs().mean()), _below(difference.norm(dim=-3), bounds))


def _below(distances: Tensor, bounds: Sequence[float]) -> dict[float, float]:
    return {bound: float((distances < bound).float().mean()) for bound in bounds}
