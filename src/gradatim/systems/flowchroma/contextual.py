"""Contextual loss: whether features of one picture are found in another, wherever they lie.

Each place of a picture is compared with each of the other; that is done for some of the places at a time, and again
for the gradient, so that memory does not grow with the square of the places. The values are those of all at once.

N counts the picture's places, M those of the other, K those of the picture at a time.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gradatim.vision.precision import full_precision, widened

Best = Literal["there", "here"]
_LENGTH = 1e-10
_SUM = 1e-8
_EXPONENT = 20.0
_FARTHEST = 50.0
_LEAST = 1e-6


def contextual(
    features: Tensor,
    reference: Tensor,
    *,
    best: Best = "there",
    bandwidth: float = 0.1,
    smallest: float = 1e-5,
    chunk: int = 1024,
) -> Tensor:
    """Contextual loss of features to those of a reference.

    Args:
        features: (B, C, H, W).
        reference: (B, C, H', W'), whose mean is taken as the middle of both.
        best: "there" takes the best place of the reference for each of the picture's, "here" the reverse.
        bandwidth: of the weights; the smaller, the less the second best place counts.
        smallest: added to the distance of the nearest place, by which a place's distances are divided. SwinTExCo was
            trained with 1e-5, FlowChroma's fusion with 1e-3.
        chunk: places at a time.

    Returns:
        Scalar, 0 where each place is found.

    Source:
        Contextual loss (Mechrez et al. 2018, arXiv 1803.02077), Eq. 2 to 5. What is taken to the exponential and to
        the logarithm is held in a range, as FlowChroma's authors do.
    """
    with full_precision(features):
        features, reference = widened(features), widened(reference)
        middle = reference.mean(dim=(2, 3), keepdim=True)
        ours_BNC = _unit(features - middle).flatten(2).transpose(1, 2)
        theirs_BCM = _unit(reference - middle).flatten(2)
        found = [
            _found(part_BKC, theirs_BCM, best, bandwidth, smallest)
            # One part needs no second computation.
            if ours_BNC.shape[1] <= chunk
            else checkpoint(_found, part_BKC, theirs_BCM, best, bandwidth, smallest, use_reentrant=False)
            for part_BKC in torch.split(ours_BNC, chunk, dim=1)
        ]
        shares = torch.cat(found, dim=1) if best == "there" else torch.stack(found, dim=1).max(dim=1).values
        return -shares.mean(dim=1).clamp(_LEAST, 1).log().mean()


def _found(ours: Tensor, theirs: Tensor, best: Best, bandwidth: float, smallest: float) -> Tensor:
    """How clearly the best place stands out.

    Args:
        ours, theirs: features of length 1, (B, K, C) and (B, C, M).
        best, bandwidth, smallest: as of `contextual`.

    Returns:
        (B, K) for each of ours, or (B, M) for each of theirs.
    """
    distances_BKM = (1 - ours @ theirs).clamp(0, 2)
    relative = distances_BKM / (distances_BKM.min(dim=2, keepdim=True).values + smallest)
    relative = relative.clamp(0, 1 + _FARTHEST * bandwidth)
    weights = ((1 - relative) / bandwidth).clamp(-_EXPONENT, _EXPONENT).exp()
    shares = weights / (weights.sum(dim=2, keepdim=True) + _SUM)
    return shares.max(dim=2 if best == "there" else 1).values


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (length + _LENGTH)
