"""Darknet-53: features at three scales of an image."""

from collections.abc import Sequence

from torch import Tensor, nn

from gradatim.systems.multigriddet.parts.layers import ConvNormAct

SCALES = ("coarse", "middle", "fine")
"""Scales in the order of the heads, at strides 32, 16 and 8."""
STRIDES = (32, 16, 8)


class Residual(nn.Module):
    """x + 3x3(1x1(x)), nothing after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = ConvNormAct(width, width // 2, 1)
        self.expand = ConvNormAct(width // 2, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        expanded: Tensor = self.expand(self.reduce(x))
        return x + expanded


class DarknetStage(nn.Module):
    """Half the size, then residual blocks.

    Args:
        inside, outside: channels.
        blocks: how many.
    """

    def __init__(self, inside: int, outside: int, blocks: int) -> None:
        super().__init__()
        self.down = ConvNormAct(inside, outside, 3, stride=2)
        self.blocks = nn.Sequential(*(Residual(outside) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / 2, W / 2)."""
        y: Tensor = self.blocks(self.down(x))
        return y


class Darknet(nn.Module):
    """Darknet (Redmon and Farhadi, 2018), without its classifier.

    Args:
        widths: channels after the stem and after each of the five stages.
        blocks: residual blocks of each stage.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, widths[0], 3)
        self.stages = nn.ModuleList(
            DarknetStage(inside, outside, count)
            for inside, outside, count in zip(widths[:-1], widths[1:], blocks, strict=True)
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features by scale, (B, 3, H, W) in [0, 1] -> (B, C_s, H / s, W / s) each."""
        x = self.stem(image)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return dict(zip(SCALES, reversed(found[-3:]), strict=True))
