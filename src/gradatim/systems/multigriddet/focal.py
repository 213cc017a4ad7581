"""Focal losses and losses of boxes, value by value; B boxes, C classes."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.systems.multigriddet.geometry import area, corners

_EPSILON = 1e-7


def sigmoid_focal(truth: Tensor, logits: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., 2017) of independent classes, elementwise; `inverse` is `alpha` = 1 - alpha."""
    p = torch.sigmoid(logits)
    right = truth * p + (1 - truth) * (1 - p)
    weight = truth * alpha + (1 - truth) * (1 - alpha)
    return (1 - right) ** gamma * weight * functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def inverse_focal(truth: Tensor, logits: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """As `sigmoid_focal`, with alpha on what is absent and 1 - alpha on what is there."""
    return sigmoid_focal(truth, logits, alpha=1 - alpha, gamma=gamma)


def softmax_focal(truth: Tensor, logits: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal loss of classes that exclude each other, (..., C) one-hot -> (...)."""
    log_p = functional.log_softmax(logits, -1)
    right = (truth * log_p.exp()).sum(-1)
    return (1 - right) ** gamma * -(truth * log_p).sum(-1)


def overlap_focal(truth: Tensor, logits: Tensor, overlap: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """As `sigmoid_focal`, where `overlap` in [0, 1] says how well a present one is placed."""
    p = torch.sigmoid(logits)
    right = overlap * p + (1 - truth) * (1 - p)
    weight = overlap * (1 - alpha) + (1 - truth) * alpha
    return (1 - right) ** gamma * weight * functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def box_loss(kind: str, truth: Tensor, found: Tensor) -> Tensor:
    """1 minus a generalized overlap, (B, 4) centers and sizes each -> (B,).

    Args:
        kind: `giou` (Rezatofighi et al., 2019), `diou` or `ciou` (Zheng et al., 2020).
        truth, found: cx, cy, w, h.
    """
    a, b = corners(truth), corners(found)
    # Where edges are equal the gradient goes to the truth's, as in the original.
    inside = (_smaller(a[..., 2:], b[..., 2:]) - _larger(a[..., :2], b[..., :2])).clamp_min(0)
    shared = inside[..., 0] * inside[..., 1]
    union = area(a) + area(b) - shared
    overlap = shared / (union + _EPSILON)
    size = _larger(a[..., 2:], b[..., 2:]) - _smaller(a[..., :2], b[..., :2])
    if kind == "giou":
        around = size[..., 0] * size[..., 1]
        return 1 - (overlap - (around - union) / (around + _EPSILON))
    distance = (truth[..., :2] - found[..., :2]).square().sum(-1)
    value = overlap - distance / (size.square().sum(-1) + _EPSILON)
    if kind == "ciou":
        angle = torch.atan2(truth[..., 2], truth[..., 3]) - torch.atan2(found[..., 2], found[..., 3])
        shape = 4 / math.pi**2 * angle.square()
        value = value - shape / (1 - overlap + shape + _EPSILON) * shape
    return 1 - value


def _larger(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a >= b, a, b)


def _smaller(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a <= b, a, b)
