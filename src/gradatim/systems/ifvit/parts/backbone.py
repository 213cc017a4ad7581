"""ResNet-18 without its last stage, as Flax computes it: features at a sixteenth of the size.

Flax pads a strided convolution at the end before it pads at the start, and lets the running variance follow the
biased variance of a batch. Weights that were trained with either are wrong without.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.vision.batch_norm import BatchNorm

EPSILON = 1e-5
_BLOCKS = 6


def same_padding(size: tuple[int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom) after which a layer makes ceil(side / stride) of a side.

    What cannot be halved goes to the right and to the bottom.
    """
    sides = []
    for side in reversed(size):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        sides += [total // 2, total - total // 2]
    left, right, top, bottom = sides
    return left, right, top, bottom


class ConvNorm(nn.Module):
    """Convolution without bias, padded to ceil(side / stride), then batch normalization.

    Args:
        inside, outside: channels.
        kernel: side of the kernel.
        stride: step of the kernel.
    """

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, bias=False)
        self.norm = BatchNorm(outside, epsilon=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, ceil(H / stride), ceil(W / stride))."""
        padding = same_padding((x.shape[2], x.shape[3]), self.conv.kernel_size[0], self.conv.stride[0])
        y: Tensor = self.norm(self.conv(F.pad(x, padding)))
        return y


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of its own where size or channels change.

    Args:
        inside, outside: channels.
        stride: of the first convolution.
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inside, outside, 3, stride)
        self.second = ConvNorm(outside, outside, 3)
        self.shortcut = ConvNorm(inside, outside, 1, stride) if stride > 1 or inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, ceil(H / stride), ceil(W / stride))."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """Three of ResNet-18's stages (He et al. 2016) on one grey channel; He-normal weights to begin with.

    Args:
        widths: channels of the stages; the stem has those of the first.
    """

    stride = 16

    def __init__(self, widths: Sequence[int] = (64, 128, 256)) -> None:
        super().__init__()
        self.stem = ConvNorm(1, widths[0], 7, 2)
        channels = [widths[0], *(width for width in widths for _ in range(2))]
        steps = [2 if block in (2, 4) else 1 for block in range(_BLOCKS)]
        self.blocks = nn.Sequential(
            *(ResidualBlock(a, b, step) for a, b, step in zip(channels[:-1], channels[1:], steps, strict=True))
        )
        start_convolutions(self)

    def forward(self, image: Tensor) -> Tensor:
        """Features of grey images, (B, 1, H, W) in [0, 1] -> (B, C, ceil(H / 16), ceil(W / 16))."""
        x = F.relu(self.stem(image))
        padding = same_padding((x.shape[2], x.shape[3]), 3, 2)
        features: Tensor = self.blocks(F.max_pool2d(F.pad(x, padding, value=-torch.inf), 3, 2))
        return features


def start_convolutions(module: nn.Module) -> None:
    """Start all convolutions in `module` He-normal by their outputs; changes `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
