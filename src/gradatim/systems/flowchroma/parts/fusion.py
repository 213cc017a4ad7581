"""Networks that make one proposal of colors out of two: carried on from the frame before, and taken from a reference.

All take the same four tensors and return a and b, so that a plan can exchange them:

    carried      LAB by flow, (B, 3, H, W): L / 50 - 1, a / 127, b / 127
    confidence   of the flow, (B, 1, H, W) in [0, 1]
    matched      LAB by matching: the frame's own lightness, and the reference's colors; units and shape of `carried`
    similarity   of the match, (B, 1, H, W) in [-1, 1]
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.flowchroma.parts.carrying import Carrying
from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet

_EPSILON = 1e-6


def seven_channels(carried: Tensor, confidence: Tensor, matched: Tensor, similarity: Tensor) -> Tensor:
    """Both proposals' colors, how sure they are, and the frame's lightness: (B, 7, H, W)."""
    return torch.cat([carried[:, 1:], matched[:, 1:], confidence, similarity, matched[:, :1]], dim=1)


class FusionNetwork(nn.Module):
    """A network that mixes both proposals, and how the colors that it mixes are carried on."""

    carrying = Carrying()


class PlaceholderFusion(FusionNetwork):
    """Mean of both proposals, weighed by confidence and similarity; there is nothing to learn."""

    def forward(self, carried: Tensor, confidence: Tensor, matched: Tensor, similarity: Tensor) -> Tensor:
        """(B, 2, H, W). A similarity below 0 pushes away from the reference, and near -confidence without bound."""
        total = confidence + similarity + _EPSILON
        return confidence / total * carried[:, 1:] + similarity / total * matched[:, 1:]


class SimpleFusionNet(FusionNetwork):
    """Four convolutions that correct the colors carried on.

    Args:
        widths: channels after the first three convolutions.
    """

    def __init__(self, *, widths: tuple[int, int, int] = (32, 32, 16)) -> None:
        super().__init__()
        before = (7, *widths[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(before, widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.out = nn.Conv2d(widths[-1], 2, 1)

    def forward(self, carried: Tensor, confidence: Tensor, matched: Tensor, similarity: Tensor) -> Tensor:
        """(B, 2, H, W), not bounded."""
        x = seven_channels(carried, confidence, matched, similarity)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        corrected: Tensor = carried[:, 1:] + self.out(x)
        return corrected


class UNetFusionNet(FusionNetwork):
    """An encoder and decoder of three scales that corrects the colors carried on.

    Args:
        width: channels of the finest scale; each coarser one has twice that of the one before.

    Source:
        FlowChroma's `UNetFusionNet`, which makes the convolutions behind each skip anew in every pass, so that its
        results are random and these layers in none of its files. Here they are layers like the others, `merge`.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(4)]
        before = (7, *widths[:-1])
        self.encoder = nn.ModuleList(TwoConvs(i, o) for i, o in zip(before, widths, strict=True))
        falling = widths[:0:-1]
        self.rise = nn.ModuleList(nn.ConvTranspose2d(wide, wide // 2, 2, 2) for wide in falling)
        self.norms = nn.ModuleList(nn.BatchNorm2d(wide // 2) for wide in falling)
        self.merge = nn.ModuleList(TwoConvs(wide, wide // 2) for wide in falling)
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, carried: Tensor, confidence: Tensor, matched: Tensor, similarity: Tensor) -> Tensor:
        """(B, 2, H, W), not bounded; H and W are multiples of 8.

        Raises:
            DataError: the frame has another size.
        """
        height, width = carried.shape[2:]
        if height % 8 or width % 8:
            raise DataError(f"frame is {height} x {width}, both sides must be multiples of 8.")
        x = seven_channels(carried, confidence, matched, similarity)
        seen: list[Tensor] = []
        for level in self.encoder:
            x = level(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        for rise, norm, merge, skipped in zip(self.rise, self.norms, self.merge, seen[-2::-1], strict=True):
            x = merge(torch.cat([F.relu(norm(rise(x))), skipped], dim=1))
        corrected: Tensor = carried[:, 1:] + self.out(x)
        return corrected


class TwoConvs(nn.Module):
    """Two convolutions, each normalized over the batch and cut at 0.

    Args:
        inside, outside: channels.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, outside, h, w)."""
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class FusionNetV1(FusionNetwork):
    """A `ColorVidNet` that corrects the colors carried on by at most 1; what FlowChroma trains and uses.

    Args:
        width: of the network's first map.
    """

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        self.network = ColorVidNet(8, width=width)

    def forward(self, carried: Tensor, confidence: Tensor, matched: Tensor, similarity: Tensor) -> Tensor:
        """(B, 2, H, W) in [-2, 2] where `carried` is in [-1, 1]; H and W are multiples of 8.

        Raises:
            DataError: the frame has another size.
        """
        corrected: Tensor = carried[:, 1:] + self.network(torch.cat([carried, confidence, matched, similarity], dim=1))
        return corrected
