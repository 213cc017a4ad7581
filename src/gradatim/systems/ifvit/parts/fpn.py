"""LoFTR's backbone as far as its coarse features: a ResNet at an eighth of the size.

The published network goes on to features at half the size, which only its fine stage reads; they are not computed.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.systems.ifvit.parts.backbone import start_convolutions


class Block(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of its own where the size changes.

    Args:
        inside, outside: channels.
        stride: of the first convolution.
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + y)


class LoFTRBackbone(nn.Module):
    """ResNet-FPN of LoFTR (Sun et al. 2021), coarse output only; He-normal weights to begin with.

    Args:
        widths: channels at a half, a quarter and an eighth of the size.
    """

    stride = 8

    def __init__(self, widths: Sequence[int] = (128, 196, 256)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, widths[0], 7, 2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        inside = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(
            *(
                nn.Sequential(Block(before, width, 1 if stage == 0 else 2), Block(width, width, 1))
                for stage, (before, width) in enumerate(zip(inside, widths, strict=True))
            )
        )
        self.out = nn.Conv2d(widths[-1], widths[-1], 1, bias=False)
        start_convolutions(self)

    def forward(self, image: Tensor) -> Tensor:
        """Features of grey images, (B, 1, H, W) in [0, 1] -> (B, C, ceil(H / 8), ceil(W / 8))."""
        features: Tensor = self.out(self.stages(F.relu(self.norm(self.conv(image)))))
        return features
