"""What reads features out: the embedding of an image, and the centers of the classes."""

import torch
from torch import Tensor, nn

from gradatim.vision.precision import full_precision, widened

_FLOOR = 1e-8
_CENTERS_STD = 0.01


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """x / (|x| + 1e-8) along an axis, same shape."""
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / (length + _FLOOR)


class Embedding(nn.Module):
    """One unit vector for an image: the mean over its cells, a linear layer; Xavier-uniform, bias 0 to begin with.

    Args:
        width: channels of the features.
        size: of the embedding.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, size)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D), of length 1, in full precision."""
        with full_precision(features):
            return unit(self.linear(widened(features).mean(dim=(2, 3))))


class Centers(nn.Module):
    """One direction for each class, N(0, 0.01) to begin with.

    Args:
        classes: how many.
        size: of an embedding.
    """

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, size))
        nn.init.normal_(self.weight, std=_CENTERS_STD)

    def forward(self) -> Tensor:
        """(classes, D), rows of length 1."""
        return unit(self.weight)
