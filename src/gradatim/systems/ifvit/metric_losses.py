"""Losses of embeddings, and the scores that decide whether two prints match.

Letters: B pairs of images, E embeddings, D their size. All embeddings have length 1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.vision.precision import full_precision, widened

WHOLE, REGION = 0.6, 0.4
"""Weights of whole prints and of regions in a score."""
_NEAR_ONE = 1 - 1e-7


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of two unit vectors, (B, D), (B, D) -> (B,) in [-1, 1]."""
    return (first * second).sum(dim=-1)


def fused_score(whole: Tensor, local: Tensor, *, whole_weight: float = WHOLE, local_weight: float = REGION) -> Tensor:
    """Weighted mean of the scores of whole images and of regions, (B,), (B,) -> (B,)."""
    return (whole_weight * whole + local_weight * local) / (whole_weight + local_weight)


def cosine_embedding_loss(first: Tensor, second: Tensor, matches: Tensor, *, margin: float = 0.4) -> Tensor:
    """Mean of 1 - cosine for pairs that match, and of what the cosine exceeds a margin by for others; scalar.

    Args:
        first, second: (B, D), of length 1.
        matches: (B,), above 0 where both are of one finger.
        margin: cosine that a pair which does not match may have.

    Source:
        IFViT, L_E of one pair of images; the authors' function has 0.2 by default and is called with 0.4.
    """
    score = cosine(first, second)
    return torch.where(matches > 0, 1 - score, (score - margin).clamp_min(0)).mean()


def arcface_loss(
    embeddings: Tensor, centers: Tensor, labels: Tensor, *, margin: float = 0.4, scale: float = 64.0
) -> Tensor:
    """Cross-entropy over the classes after a margin was added to the angle to the right center; scalar.

    Args:
        embeddings: (E, D), of length 1.
        centers: (classes, D), of length 1.
        labels: (E,) int64, in [0, classes).
        margin: in radians.
        scale: of the cosines.

    Raises:
        DataError: a label stands for no center.

    Source:
        Deng et al. 2019, Eq. 3, without its guard for angles that the margin carries beyond 180 degrees; IFViT, L_A.
    """
    outside = (labels < 0) | (labels >= len(centers))
    # Tensors without values, on which memory is estimated, have no labels to look at.
    if not labels.is_meta and outside.any():
        raise DataError(f"label {int(labels[outside][0])} stands for none of the {len(centers)} classes")
    with full_precision(embeddings):
        cosines = widened(embeddings) @ widened(centers).T
        right = cosines.gather(1, labels[:, None])
        harder = (right.clamp(-_NEAR_ONE, _NEAR_ONE).acos() + margin).cos()
        return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], harder), labels)
