"""From features to predictions: the neck, the wide convolutions before the predictions, and the predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradatim.systems.multigriddet.parts.backbone import SCALES
from gradatim.systems.multigriddet.parts.layers import ConvNormAct


class SpatialPyramidPooling(nn.Module):
    """Maxima over windows of 5, 9 and 13 cells beside the features themselves (He et al., 2015), narrowed again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = ConvNormAct(4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        pooled = [functional.max_pool2d(x, window, 1, window // 2) for window in (5, 9, 13)]
        y: Tensor = self.narrow(torch.cat([x, *pooled], 1))
        return y


class Neck(nn.Module):
    """Three convolutions a scale, top-down: what the coarser scale knows stands beside the finer features.

    Args:
        inside: channels of the backbone's features, coarse first.
        widths: C of each scale; the trunk has C / 2 channels.
        pooling: spatial pyramid pooling at the coarsest scale.
    """

    def __init__(self, inside: Sequence[int], widths: Sequence[int], *, pooling: bool = False) -> None:
        super().__init__()
        laterals, trunks = [], []
        above = 0
        for features, width in zip(inside, widths, strict=True):
            half = width // 2
            if above:
                laterals.append(ConvNormAct(above, half, 1))
            entering = features + (half if above else 0)
            trunks.append(
                nn.Sequential(ConvNormAct(entering, half, 1), ConvNormAct(half, width, 3), ConvNormAct(width, half, 1))
            )
            above = half
        self.trunks, self.laterals = nn.ModuleList(trunks), nn.ModuleList(laterals)
        self.pooling = SpatialPyramidPooling(widths[0] // 2) if pooling else nn.Identity()

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features by scale -> trunks by scale, (B, C / 2, h, w) each."""
        x = self.pooling(self.trunks[0](features[SCALES[0]]))
        found = {SCALES[0]: x}
        for scale, trunk, lateral in zip(SCALES[1:], self.trunks[1:], self.laterals, strict=True):
            raised = functional.interpolate(lateral(x), scale_factor=2.0, mode="nearest")
            x = trunk(torch.cat([raised, features[scale]], 1))
            found[scale] = x
        return found


class PrePredict(nn.Module):
    """One wide 3x3 convolution a scale.

    Args:
        inside, outside: channels by scale.
    """

    def __init__(self, inside: Sequence[int], outside: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvNormAct(i, o, 3) for i, o in zip(inside, outside, strict=True))

    def forward(self, trunks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Trunks by scale -> (B, P, h, w) each."""
        return {scale: conv(trunks[scale]) for scale, conv in zip(SCALES, self.convs, strict=True)}


class Predict(nn.Module):
    """One linear 1x1 convolution a scale; also knows what its channels mean.

    Args:
        inside: channels by scale.
        anchors: (width, height) in pixels of the network's input, by scale.
        classes: how many.
    """

    def __init__(self, inside: Sequence[int], anchors: Sequence[Sequence[tuple[float, float]]], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.counts = tuple(len(one) for one in anchors)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, 5 + count + classes, 1) for i, count in zip(inside, self.counts, strict=True)
        )
        for number, (conv, one) in enumerate(zip(self.convs, anchors, strict=True)):
            kernel: Any = conv.weight
            nn.init.xavier_uniform_(kernel)
            bias: Any = conv.bias
            nn.init.zeros_(bias)
            self.register_buffer(f"anchors_{number}", torch.tensor(one, dtype=torch.float32), persistent=False)

    @property
    def anchors(self) -> tuple[Tensor, ...]:
        """(A, 2) by scale: width and height in pixels."""
        return tuple(self.get_buffer(f"anchors_{number}") for number in range(len(self.counts)))

    def forward(self, narrowed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Wide features by scale -> (B, h, w, 5 + A + classes): x, y, w, h, objectness, anchors, classes."""
        return {
            scale: conv(narrowed[scale]).permute(0, 2, 3, 1) for scale, conv in zip(SCALES, self.convs, strict=True)
        }
