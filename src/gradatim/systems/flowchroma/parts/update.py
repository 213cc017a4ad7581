"""What improves a flow step by step: large-kernel blocks, the motion's encoder, and the update that they make up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.vision.precision import widened

MASK = 9
"""Coarse cells that a fine pixel's flow is mixed from: its own and the eight around it."""


class FeedForward(nn.Module):
    """Two 1 × 1 convolutions with an exact (erf) GELU between them, each cell on its own.

    Args:
        inside, outside: channels.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        hidden = int(1.5 * inside)
        self.conv1 = nn.Conv2d(inside, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, outside, h, w)."""
        changed: Tensor = self.conv2(F.gelu(self.conv1(x)))
        return changed


class Depthwise(nn.Conv2d):
    """A convolution of each channel with a kernel of its own, which keeps the size.

    Args:
        width: channels.
        side: of the kernels, odd.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__(width, width, side, padding=side // 2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same."""
        if self.kernel_size != (1, 1) or self.bias is None:
            return super().forward(x)
        # On a CPU torch would call a slow convolution for every channel: a quarter of the time of a flow.
        scale, shift = self.weight.view(-1, 1, 1), self.bias.view(-1, 1, 1)
        return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))


class LargeKernelBlock(nn.Module):
    """Feed-forward networks around depth-wise convolutions, one of which sees far.

    Args:
        inside, outside: channels.
        kernels: odd sides of the depth-wise kernels, in order.

    Source:
        SKFlow (Sun et al. 2022, arXiv 2205.14623), its block with super kernels.
    """

    def __init__(self, inside: int, outside: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.before = FeedForward(inside, inside)
        self.depthwise = nn.ModuleList(Depthwise(inside, side) for side in kernels)
        self.pointwise = nn.Conv2d(inside, inside, 1)
        self.after = FeedForward(inside, outside)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, outside, h, w)."""
        for layer in (self.before, *self.depthwise, self.pointwise):
            x = F.gelu(x + layer(x))
        changed: Tensor = self.after(x)
        return changed


class MotionEncoder(nn.Module):
    """Features of a motion: of a flow, and of the correlations around the places that it leads to.

    Args:
        correlations: channels of the correlations.
        width: channels of the motion; even.
    """

    def __init__(self, correlations: int, width: int) -> None:
        super().__init__()
        kernels = (1, 15)
        self.correlation1 = LargeKernelBlock(correlations, 2 * width, kernels)
        self.correlation2 = LargeKernelBlock(2 * width, 3 * width // 2, kernels)
        self.flow1 = nn.Conv2d(2, width, 1)
        self.flow2 = LargeKernelBlock(width, width // 2, kernels)
        self.merge = LargeKernelBlock(2 * width, width - 2, kernels)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        """Features of a motion.

        Args:
            flow: (B, 2, h, w) in cells.
            correlation: (B, correlations, h, w).

        Returns:
            (B, width, h, w), the flow itself in the last two channels.
        """
        seen = self.correlation2(F.gelu(self.correlation1(correlation)))
        moved = self.flow2(self.flow1(flow))
        return torch.cat([self.merge(torch.cat([seen, moved], dim=1)), flow], dim=1)


@dataclass(frozen=True)
class Update:
    """One step.

    Args:
        hidden: state for the next step, (B, C, h, w).
        delta: to be added to the flow, (B, 2, h, w) in cells.
    """

    hidden: Tensor
    delta: Tensor


class UpdateBlock(nn.Module):
    """What makes a step: motion features, what other cells know of it, a new state, and the change of the flow.

    Args:
        correlations: channels of the correlations.
        width: channels of state, context and motion; even.
        stride: pixels of a cell's side.

    Source:
        SKFlow; a motion looks at those of other cells as in GMA (Jiang et al. 2021, arXiv 2104.02409). There is no
        gating: the state is replaced.
    """

    def __init__(self, correlations: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.encoder = MotionEncoder(correlations, width)
        self.value = nn.Conv2d(width, width, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.state = LargeKernelBlock(4 * width, width, (1, 7))
        self.flow_head = LargeKernelBlock(width, 2, (1, 15))
        self.mask1 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.mask2 = nn.Conv2d(2 * width, MASK * stride**2, 1)

    def forward(self, hidden: Tensor, context: Tensor, motion: Tensor, gathered: Tensor) -> Update:
        """One step; all (B, C, h, w).

        Args:
            hidden: state.
            context: what the frame shows.
            motion: from `encoder`.
            gathered: what attention brought of the motions' values.
        """
        hidden = self.state(torch.cat([hidden, context, motion, motion + self.gamma * gathered], dim=1))
        return Update(hidden, self.flow_head(hidden))

    def mask(self, hidden: Tensor) -> Tensor:
        """Logits of `upsampled`'s weights; (B, C, h, w) -> (B, 9 * stride², h, w)."""
        # A quarter, as in RAFT, balances this head's gradients with the others'.
        logits: Tensor = 0.25 * self.mask2(F.relu(self.mask1(hidden)))
        return logits


def upsampled(flow: Tensor, mask: Tensor) -> Tensor:
    """A flow at full size: every fine pixel's is a convex mixture of the nine coarse cells' around it.

    Args:
        flow: (B, 2, h, w) in cells.
        mask: logits, (B, 9 * s², h, w): channels count the nine cells first, then the fine pixels' rows and columns.

    Returns:
        (B, 2, s * h, s * w) in pixels; beyond the border the flow counts as 0.

    Source:
        RAFT, section 3.3.
    """
    weights, stride = _weights(mask)
    batch, _, height, width = flow.shape
    around = F.unfold(stride * flow, 3, padding=1).view(batch, 2, MASK, 1, 1, height, width)
    fine = (weights[:, None] * around).sum(dim=2)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, stride * height, stride * width)


def peakedness(mask: Tensor) -> Tensor:
    """How much one coarse cell outweighs its neighbors, as FlowChroma's measure of confidence.

    Args:
        mask: logits as in `upsampled`.

    Returns:
        (B, 1, s * h, s * w) in [0, 1]: 1 less the weights' entropy over its largest value, averaged over a cell's
        pixels, and enlarged bilinearly. It says how sharply a flow is upsampled, not whether it is right.
    """
    weights, stride = _weights(mask)
    entropy = -(weights * (weights + 1e-10).log()).sum(dim=1).mean(dim=(1, 2))
    height, width = mask.shape[2:]
    certain = 1 - entropy[:, None] / math.log(MASK)
    return F.interpolate(certain, size=(stride * height, stride * width), mode="bilinear", align_corners=True)


def _weights(mask: Tensor) -> tuple[Tensor, int]:
    """Weights (B, 9, s, s, h, w) of logits, and s."""
    batch, channels, height, width = mask.shape
    stride = math.isqrt(channels // MASK)
    return widened(mask).view(batch, MASK, stride, stride, height, width).softmax(dim=1), stride
