"""Residual encoder of frames: features at an eighth of the size.

MemFlow has two of these: one normalizes over the batch and tells what a frame shows, one normalizes each frame for
itself and is compared between frames.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "instance"]


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of its own where the size changes.

    Args:
        inside, outside: channels.
        stride: of the first convolution.
        norm: after each convolution.
    """

    def __init__(self, inside: int, outside: int, stride: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1)
        self.norm1 = _normalization(norm, outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.norm2 = _normalization(norm, outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride), _normalization(norm, outside))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        y = F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
        return F.relu(self.shortcut(x) + y)


class Encoder(nn.Module):
    """Three stages of two residual blocks; He-normal weights to begin with.

    Args:
        width: channels of the output.
        norm: `batch`, with running statistics; `instance`, without any array.
        widths: channels at a half, a quarter and an eighth of the size.

    Source:
        RAFT (Teed and Deng 2020, arXiv 2003.12039), its basic encoder. Unlike in ResNet, the branch ends in a ReLU
        before it is added.
    """

    stride = 8

    def __init__(self, width: int, *, norm: Norm, widths: Sequence[int] = (64, 96, 128)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, widths[0], 7, 2, padding=3)
        self.norm = _normalization(norm, widths[0])
        before = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    ResidualBlock(inside, outside, 1 if stage == 0 else 2, norm=norm),
                    ResidualBlock(outside, outside, 1, norm=norm),
                )
                for stage, (inside, outside) in enumerate(zip(before, widths, strict=True))
            )
        )
        self.out = nn.Conv2d(widths[-1], width, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H / 8, W / 8); H and W are multiples of 8."""
        features: Tensor = self.out(self.stages(F.relu(self.norm(self.conv(frame)))))
        return features


def _normalization(kind: Norm, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if kind == "batch" else nn.InstanceNorm2d(width)
