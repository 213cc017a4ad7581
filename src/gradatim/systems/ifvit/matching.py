"""Dense matching: how probable it is that two cells show the same place. It has no weights.

Letters: B batch, C channels, h w cells of a grid, N cells of the first image, M of the second, row by row.
"""

from typing import Literal

import torch
from torch import Tensor

from gradatim.systems.ifvit.parts.heads import unit
from gradatim.systems.ifvit.parts.tokens import to_tokens
from gradatim.vision.precision import full_precision, widened

Dual = Literal["sqrt", "product"]
_SHOWN = 100


def probabilities(first: Tensor, second: Tensor, *, temperature: float = 0.1, dual: Dual = "sqrt") -> Tensor:
    """Probability that two cells match, (B, N, M) in [0, 1], in full precision.

    Args:
        first: features (B, C, h, w).
        second: features of the other image, of any size.
        temperature: divides the cosine of two cells' features.
        dual: see `dual_softmax`.
    """
    with full_precision(first):
        a_BNC, b_BMC = unit(to_tokens(widened(first))), unit(to_tokens(widened(second)))
        return dual_softmax(a_BNC @ b_BMC.transpose(1, 2) / temperature, dual)


def dual_softmax(scores: Tensor, dual: Dual = "sqrt") -> Tensor:
    """Softmax over the second image's cells and over the first's, together; (B, N, M) -> the same, in [0, 1].

    Args:
        scores: similarity of two cells.
        dual: `product` of the two, as in LoFTR (Sun et al. 2021, Eq. 2), or its root `sqrt`, as in IFViT's code.
    """
    # Logarithms, since the root of a product that underflows has no gradient.
    both = scores.log_softmax(dim=2) + scores.log_softmax(dim=1)
    return (both / 2 if dual == "sqrt" else both).exp()


def best_rows(probability: Tensor, count: int = _SHOWN) -> Tensor:
    """The surest cells of the first image with their best partners, surest first.

    Args:
        probability: (B, N, M).
        count: most rows; N where there are fewer.

    Returns:
        (B, min(count, N), 2) int64: cell of the first image, cell of the second. Equal ones stay in the grid's order.
    """
    best = probability.max(dim=2)
    rows = best.values.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.stack([rows, best.indices.gather(1, rows)], dim=2)


def mutual(probability: Tensor, threshold: float = 0.0) -> Tensor:
    """Cells that are each other's best partners, (B, N, M) bool.

    Args:
        probability: (B, N, M).
        threshold: their probability is greater than this.
    """
    of_row = probability == probability.amax(dim=2, keepdim=True)
    of_column = probability == probability.amax(dim=1, keepdim=True)
    return of_row & of_column & (probability > threshold)
