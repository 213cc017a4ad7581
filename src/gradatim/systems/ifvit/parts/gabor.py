"""Gabor filters along the ridges: each cell of 8 x 8 pixels is filtered in its own direction.

There are 90 directions, 2 degrees apart. A cell needs one or a few of them, so their kernels are mixed first and each
cell is convolved once, in place of 90 responses for every pixel.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIRECTIONS = 90
CELL = 8
_DEGREES = 2
_SIDE = 25
_MARGIN = _SIDE // 2
_SIGMAS = (4.5, 9.0)
_WAVELENGTH = 8.0
_SPREAD = 3.0
_NEAR = 0.999
_EPSILON = 1e-7


def gabor_pairs() -> tuple[Tensor, Tensor]:
    """Even and odd filters, (90, 1, 25, 25) each: a Gaussian times a cosine, or a sine, of a wave 8 pixels long.

    Filter n is for ridges at 2 n - 90 degrees.

    Source:
        FingerNet (Tang et al. 2017). As in the published program, x is the first axis of a filter, and the Gaussian has
        a deviation of 4.5 pixels across the ridges and 9 along them.
    """
    steps = torch.arange(-_MARGIN, _MARGIN + 1, dtype=torch.float64)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    theta = -torch.deg2rad(_DEGREES * torch.arange(DIRECTIONS, dtype=torch.float64) - 90)[:, None, None]
    across = x * theta.cos() + y * theta.sin()
    along = -x * theta.sin() + y * theta.cos()
    envelope = torch.exp(-0.5 * ((across / _SIGMAS[0]) ** 2 + (along / _SIGMAS[1]) ** 2))
    wave = 2 * math.pi * across / _WAVELENGTH
    even, odd = envelope * wave.cos(), envelope * wave.sin()
    return even[:, None].float(), odd[:, None].float()


def neighbors() -> Tensor:
    """How much each direction counts for each other one: (90, 90), Gaussian around the circle of 180 degrees.

    Source:
        FingerNet. The deviation is 3 degrees, and a Gaussian at all whole degrees sums to 1, as in the Flax port;
        Keras has 1 at its peak. The factor has no effect: what is weighted is divided by its own maximum.
    """
    degrees = _DEGREES * torch.arange(DIRECTIONS, dtype=torch.float64)
    apart = (degrees[:, None] - degrees).abs()
    apart = torch.minimum(apart, 180 - apart)
    whole = torch.arange(-90, 91, dtype=torch.float64)
    return (_gaussian(apart) / _gaussian(whole).sum()).float()


def _gaussian(degrees: Tensor) -> Tensor:
    return torch.exp(-0.5 * (degrees / _SPREAD) ** 2)


class GaborBank(nn.Module):
    """Filters of 90 directions, which are computed; a file that holds them may put others in their place."""

    real: Tensor
    imaginary: Tensor
    real_bias: Tensor
    imaginary_bias: Tensor
    near: Tensor

    def __init__(self) -> None:
        super().__init__()
        real, imaginary = gabor_pairs()
        self.register_buffer("real", real)
        self.register_buffer("imaginary", imaginary)
        self.register_buffer("real_bias", torch.zeros(DIRECTIONS))
        self.register_buffer("imaginary_bias", torch.zeros(DIRECTIONS))
        self.register_buffer("near", neighbors(), persistent=False)

    def peak(self, orientation: Tensor) -> Tensor:
        """The likeliest direction of each cell, (B, 90, h, w) -> the same, above 0 there alone and of sum 1.

        Directions within a thousandth of the best share the weight.
        """
        smooth = torch.einsum("bnhw,nm->bmhw", orientation, self.near)
        smooth = smooth / (smooth.amax(1, keepdim=True) + _EPSILON)
        best = torch.where(smooth > _NEAR, smooth, 0.0)
        return best / (best.sum(1, keepdim=True) + _EPSILON)

    def forward(self, image: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Responses of the even and of the odd filters, (B, 1, H, W) each.

        Args:
            image: (B, 1, H, W); beyond its border there are zeros.
            direction: weight of each filter, (B, 90, H / 8, W / 8).
        """
        batch, _, down, across = direction.shape
        cells = batch * down * across
        bank = torch.cat([self.real, self.imaginary], dim=1)
        kernels = torch.einsum("bnhw,ncij->bhwcij", direction, bank).reshape(2 * cells, 1, _SIDE, _SIDE)
        biases = torch.stack([self.real_bias, self.imaginary_bias], dim=1)
        bias = torch.einsum("bnhw,nc->bhwc", direction, biases).reshape(2 * cells)
        around = F.pad(image, (_MARGIN,) * 4)
        window = CELL + 2 * _MARGIN
        patches = around.unfold(2, window, CELL).unfold(3, window, CELL).reshape(1, cells, window, window)
        found = F.conv2d(patches, kernels, bias, groups=cells).view(batch, down, across, 2, CELL, CELL)
        real, imaginary = found.permute(3, 0, 1, 4, 2, 5).reshape(2, batch, 1, down * CELL, across * CELL)
        return real, imaginary
