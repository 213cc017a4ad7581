"""Discriminator of colored pictures, against which a generator of colors can learn."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.flowchroma.parts.spectral import SpectralConv

LEAST = 192
"""Least side of a picture in pixels."""
_SLOPE = 0.2


class SelfAttention(nn.Module):
    """Every place takes in what is alike elsewhere, as much as a learned factor says.

    Args:
        width: channels.

    Source:
        Self-attention GAN (Zhang et al. 2019, arXiv 1805.08318); scores are not divided by the root of the width.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = SpectralConv(width, width, 1)
        self.key = SpectralConv(width, width, 1)
        self.value = SpectralConv(width, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same."""
        queries, keys, values = (layer(x).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        # Heads of their own axis, of which there is one: fused kernels ask for it.
        mixed = F.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], scale=1.0)[:, 0]
        return self.gamma * mixed.transpose(1, 2).reshape(x.shape) + x


class Discriminator(nn.Module):
    """Scores of pictures: the higher, the more they look real.

    Args:
        inside: channels that come in: 3 for one picture's LAB, 6 for two frames' as in the original SwinTExCo.
        width: channels of the first map; 64 but for tests.

    Source:
        SwinTExCo (Expert Systems with Applications 260, 2025, 125437). Its weights take L in [0, 100] beside a and b
        in [-1, 1].
    """

    def __init__(self, inside: int = 3, *, width: int = 64) -> None:
        super().__init__()
        widths = (inside, width, width, 2 * width, 4 * width, 8 * width, 16 * width)
        self.convs = nn.ModuleList(SpectralConv(i, o, 4, stride=2, padding=1) for i, o in pairwise(widths))
        self.attention = SelfAttention(width)
        self.last = SpectralConv(widths[-1], 1, 3)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and what was seen on the way; each pass makes one power iteration (`SpectralConv`).

        Args:
            picture: (B, inside, H, W), both sides at least 192.

        Returns:
            Scores (B, 1), and the fourth layer's features (B, 256, H / 16, W / 16).

        Raises:
            DataError: the picture is smaller.
        """
        if min(picture.shape[2:]) < LEAST:
            height, width = picture.shape[2:]
            raise DataError(f"picture is {height} x {width}, the discriminator needs at least {LEAST} x {LEAST}.")
        x, seen = F.leaky_relu(self.convs[0](picture), _SLOPE), []
        for number, conv in enumerate(self.convs[1:]):
            x = F.leaky_relu(F.instance_norm(conv(x)), _SLOPE)
            if number == 0:
                x = self.attention(x)
            seen.append(x)
        return self.last(x).mean(dim=(2, 3)), seen[2]
