"""Losses by the names that plans call them: `dense` is the paper's L_D, `cosine` L_E, and `arcface` L_A."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradatim.systems.ifvit.dense import MIDDLE, Average, no_match_loss, points_loss
from gradatim.systems.ifvit.metric_losses import arcface_loss, cosine_embedding_loss
from gradatim.task import itemized


def dense(
    probability: Tensor,
    features1: Tensor,
    image1: Tensor,
    points: Tensor,
    points_mask: Tensor | None = None,
    *,
    cell: float | None = None,
    average: Average = "sample",
) -> Tensor:
    """How improbable the cells are that are known to match; see `dense.points_loss` for the options."""
    grid, size = (features1.shape[2], features1.shape[3]), (image1.shape[2], image1.shape[3])
    return points_loss(
        probability, points + MIDDLE, points_mask, grid=grid, image_size=size, cell=cell, average=average
    )


def no_match(probability: Tensor, label: Tensor) -> Tensor:
    """How probable the best matches of two fingers' prints are."""
    return no_match_loss(probability, label > 0)


@itemized("whole", "region")
def cosine(
    embedding1: Tensor,
    embedding2: Tensor,
    roi_embedding1: Tensor,
    roi_embedding2: Tensor,
    label: Tensor,
    *,
    margin: float = 0.4,
) -> Tensor:
    """Prints of one finger apart, and of two fingers closer than `margin`; half of whole prints, half of regions."""
    whole = cosine_embedding_loss(embedding1, embedding2, label, margin=margin)
    region = cosine_embedding_loss(roi_embedding1, roi_embedding2, label, margin=margin)
    return torch.stack([whole, region]) / 2


def arcface(
    embedding1: Tensor,
    embedding2: Tensor,
    roi_embedding1: Tensor,
    roi_embedding2: Tensor,
    directions: Tensor,
    finger1: Tensor,
    finger2: Tensor,
    *,
    margin: float = 0.4,
    scale: float = 64.0,
) -> Tensor:
    """Which finger each of the four embeddings is of; see `metric_losses.arcface_loss`."""
    embeddings = torch.cat([embedding1, embedding2, roi_embedding1, roi_embedding2])
    return arcface_loss(
        embeddings, directions, torch.cat([finger1, finger2, finger1, finger2]), margin=margin, scale=scale
    )


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "dense": dense,
    "no_match": no_match,
    "cosine": cosine,
    "arcface": arcface,
}
