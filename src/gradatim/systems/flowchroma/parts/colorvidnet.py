"""ColorVidNet: an encoder and decoder that paints a picture after a proposal."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError

MULTIPLE = 8
"""Of which both sides of a picture must be multiples."""


class Level(nn.Module):
    """Convolutions at one size, each with a slope of its own behind it.

    Args:
        inside, outside: channels.
        count: convolutions.
        dilation: distance of a kernel's neighbors.
        normalized: whether each channel of each picture is normalized at the end.
    """

    def __init__(self, inside: int, outside: int, count: int, *, dilation: int = 1, normalized: bool = True) -> None:
        super().__init__()
        self.normalized = normalized
        widths = (inside, *count * (outside,))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=dilation, dilation=dilation) for i, o in pairwise(widths))
        self.prelus = nn.ModuleList(nn.PReLU() for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, outside, h, w)."""
        for conv, prelu in zip(self.convs, self.prelus, strict=True):
            x = prelu(conv(x))
        return F.instance_norm(x) if self.normalized else x


class Halve(nn.Module):
    """Every second row and column, each channel times a weight of its own.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # Of a kernel's shape, as a depth-wise convolution of one pixel would hold it.
        self.weight = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, width, h / 2, w / 2)."""
        return x[:, :, ::2, ::2] * self.weight.view(-1, 1, 1)


class Rise(nn.Module):
    """A map of twice the size, with what the encoder saw there.

    Args:
        inside, skipped, outside: channels of what comes from below, of the encoder, and that come out.
    """

    def __init__(self, inside: int, skipped: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, padding=1)
        self.skip = nn.Conv2d(skipped, outside, 3, padding=1)
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, inside, h, w) and (B, skipped, 2 h, 2 w) -> (B, outside, 2 h, 2 w)."""
        risen: Tensor = self.prelu(self.conv(F.interpolate(x, scale_factor=2.0)) + self.skip(seen))
        return risen


class ColorVidNet(nn.Module):
    """Colors of a picture out of its lightness and proposals for its colors.

    Args:
        inside: channels that come in: 4 for FlowChroma's (lightness, proposed a and b, similarity), 7 for the
            original SwinTExCo's (further the LAB of the frame before).
        bound: largest value that comes out; 1 where a and b are divided by 127, 128 where they are not.
        width: channels of the first map; 32 but for tests.

    Source:
        SwinTExCo (Expert Systems with Applications 260, 2025, 125437), after Deep exemplar-based video
        colorization (Zhang et al. 2019, arXiv 1906.09909): instance norm, and nearest neighbors where the map grows.
    """

    def __init__(self, inside: int = 4, *, bound: float = 1.0, width: int = 32) -> None:
        super().__init__()
        self.bound = bound
        one, two, four, eight, sixteen = (width * 2**n for n in range(5))
        self.stem = nn.Conv2d(inside, one, 3, padding=1)
        self.encoder = nn.ModuleList((Level(one, two, 2), Level(two, four, 2), Level(four, eight, 3)))
        self.halve = nn.ModuleList(Halve(size) for size in (two, four, eight))
        self.middle = nn.Sequential(
            Level(eight, sixteen, 3),
            Level(sixteen, sixteen, 3, dilation=2),
            Level(sixteen, sixteen, 3, dilation=2),
            Level(sixteen, sixteen, 3),
        )
        self.rise = nn.ModuleList((Rise(sixteen, eight, eight), Rise(eight, four, four), Rise(four, two, four)))
        self.decoder = nn.ModuleList((Level(eight, eight, 2), Level(four, four, 1)))
        self.last = nn.Conv2d(four, four, 3, padding=1)
        self.out = nn.Conv2d(four, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Colors.

        Args:
            x: (B, inside, H, W); H and W are multiples of 8, one of them at least 16.

        Returns:
            a and b, (B, 2, H, W) in [-bound, bound].

        Raises:
            DataError: the picture has another size.
        """
        height, width = x.shape[2:]
        if height % MULTIPLE or width % MULTIPLE or height * width <= MULTIPLE**2:
            raise DataError(
                f"picture is {height} x {width}, both sides must be multiples of {MULTIPLE}, and one of them larger."
            )
        x = F.relu(self.stem(x))
        seen = []
        for level, halve in zip(self.encoder, self.halve, strict=True):
            seen.append(level(x))
            x = halve(seen[-1])
        x = self.middle(x)
        eighth, fourth, half = self.rise
        x = self.decoder[0](eighth(x, seen[2]))
        x = self.decoder[1](fourth(x, seen[1]))
        x = F.leaky_relu(self.last(half(x, seen[0])), 0.2)
        colors: Tensor = self.bound * torch.tanh(self.out(x))
        return colors
