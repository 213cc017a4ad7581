"""Convolution whose matrix is held at spectral norm 1 while it learns."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.vision.precision import full_precision

_SMALLEST = 1e-12


class SpectralConv(nn.Conv2d):
    """A convolution by its weights over their largest singular value, which is followed by power iteration.

    Every pass, in evaluation mode too, makes one iteration from the vectors `u` and `v` of the pass before, and
    stores what comes out: two passes of one picture differ until the vectors have settled. A gradient reaches the
    singular value as if the vectors were constant.

    Args:
        inside, outside: channels.
        side: of the kernel.
        stride, padding: as of `Conv2d`.

    Source:
        Spectral normalization (Miyato et al. 2018, arXiv 1802.05957), Algorithm 1. PyTorch's own makes no iteration
        in evaluation mode, so scores of the published discriminators would not be met.
    """

    u: Tensor
    v: Tensor

    def __init__(self, inside: int, outside: int, side: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inside, outside, side, stride, padding)
        self.register_buffer("u", _unit(torch.randn(outside)))
        self.register_buffer("v", _unit(torch.randn(inside * side * side)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H', W'); changes `u` and `v`."""
        with full_precision(x):
            matrix = self.weight.flatten(1)
            with torch.no_grad():
                v = _unit(matrix.T @ self.u)
                u = _unit(matrix @ v)
                self.u.copy_(u)
                self.v.copy_(v)
            weight = self.weight / (u @ (matrix @ v))
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x)
    return x / (length + _SMALLEST)
