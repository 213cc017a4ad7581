"""Figures of merit: accuracy of classes, closeness of translated tokens, likeness of two feature spaces."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.system import Metric
from gradatim.systems.bombkd.losses import Tokens, pooled


def hits(logits: Tensor, label: Tensor, k: int) -> Tensor:
    """Whether the label is among the k highest scores.

    Args:
        logits: (B, classes); with fewer classes than k all of them count.
        label: (B,) int64.

    Returns:
        (B,) bool; False where the label is no class.
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == label.unsqueeze(1)).any(dim=1)


def accuracy(logits: Tensor, label: Tensor, k: int = 1) -> Tensor:
    """Share of the labeled clips whose label is among the k highest scores, in percent; nan if none is labeled."""
    known = (label >= 0) & (label < logits.shape[1])
    return 100 * hits(logits[known], label[known], k).double().mean()


def top1(logits: Tensor, label: Tensor) -> Tensor:
    """100 for a clip whose label has the highest score, 0 for others; (B,)."""
    return 100.0 * hits(logits, label, 1)


def top5(logits: Tensor, label: Tensor) -> Tensor:
    """100 for a clip whose label is among the five highest scores, 0 for others; (B,)."""
    return 100.0 * hits(logits, label, 5)


def cosine(
    translated: Tokens,
    teacher_tokens: Tokens,
    translated_mask: Tokens | None = None,
    teacher_tokens_mask: Tokens | None = None,
) -> Tensor:
    """Cosine of each clip's mean translated token to the teacher's, averaged over teachers; (B,)."""
    pairs = pooled(translated, teacher_tokens, translated_mask, teacher_tokens_mask)
    return torch.stack([F.cosine_similarity(x, y, dim=1) for x, y in pairs]).mean(dim=0)


def closeness(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """How near vectors (B, D) come to their targets.

    Returns:
        `cosine`, mean; `nmae`, mean absolute error over mean absolute target; `relative`, mean over all values of
        |error| / |target|.
    """
    error = (x - y).abs()
    return {
        "cosine": F.cosine_similarity(x, y, dim=1).mean(),
        "nmae": error.mean() / (y.abs().mean() + 1e-8),
        "relative": (error / (y.abs() + 1e-8)).mean(),
    }


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Likeness of two sets of features of the same clips, in [0, 1].

    Args:
        x: (B, D).
        y: (B, E).

    Source:
        Linear centered kernel alignment (Kornblith et al. 2019), from Gram matrices.
    """
    first, second = ((v - v.mean(dim=0)) @ (v - v.mean(dim=0)).T for v in (x, y))
    scale = (first.square().sum() * second.square().sum() + 1e-12).sqrt()
    return (first * second).sum() / scale


def procrustes(x: Tensor, y: Tensor) -> Tensor:
    """The rotation R that brings R x nearest to y; columns are samples, (D, B) each -> (D, D).

    Raises:
        DataError: the shapes differ.
    """
    if x.shape != y.shape:
        raise DataError(f"procrustes: {tuple(x.shape)} and {tuple(y.shape)} are not of one shape")
    left, _, right = torch.linalg.svd(y @ x.T)
    rotation: Tensor = left @ right
    return rotation


METRICS: Mapping[str, Metric] = {
    "top1": Metric(top1),
    "top5": Metric(top5),
    "cosine": Metric(cosine),
}
