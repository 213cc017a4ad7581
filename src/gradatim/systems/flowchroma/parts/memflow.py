"""MemFlow: optical flow between two frames, improved step by step with a memory of the pairs before.

Letters: B batch, C channels, H W pixels, h w cells of 8 × 8 pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gradatim.errors import DataError
from gradatim.systems.flowchroma.parts.correlation import correlation_pyramid, look_up
from gradatim.systems.flowchroma.parts.encoders import Encoder
from gradatim.systems.flowchroma.parts.memory import KeysOfMemory, Memory, gather
from gradatim.systems.flowchroma.parts.update import UpdateBlock, peakedness, upsampled
from gradatim.systems.flowchroma.warping import pixel_grid


@dataclass(frozen=True)
class Context:
    """What a frame shows, all (..., C, h, w).

    Args:
        hidden: state that the steps begin with, in [-1, 1].
        inputs: what every step is told, at least 0.
        query, key: of the attention.
    """

    hidden: Tensor
    inputs: Tensor
    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class FlowEstimate:
    """Flow between two frames.

    Args:
        flows: (B, 2, H, W) in pixels, x then y, of every step or of the last alone.
        coarse: flow of the last step before it was upsampled, (B, 2, h, w) in cells.
        mask: logits of the last upsampling, (B, 9 * 64, h, w).
        key, value: what a memory takes of this pair, (B, C, h, w).
    """

    flows: tuple[Tensor, ...]
    coarse: Tensor
    mask: Tensor
    key: Tensor
    value: Tensor

    @property
    def flow(self) -> Tensor:
        """The last one, (B, 2, H, W) in pixels."""
        return self.flows[-1]

    @property
    def confidence(self) -> Tensor:
        """How sharply the last flow is upsampled, (B, 1, H, W) in [0, 1]; see `peakedness`."""
        return peakedness(self.mask)


class MemFlow(nn.Module):
    """MemFlow with the encoders of RAFT, the blocks of SKFlow and the attention of GMA.

    Args:
        width: channels of state, context and motion; even.
        features: channels of the features that are compared.
        widths: channels inside the encoders, at a half, a quarter and an eighth of the size.
        levels: scales of the correlation.
        radius: of the window that is looked up at each scale.
        iterations: steps of a forward pass.
        train_tokens: keys that the weights were trained with, on average; see `gather`. FlowChroma's 224 × 224
            pixels with one or two pairs have 784 * 4 / 2.
        memory_keys: `own` is MemFlow's. `values` is for checkpoints that were trained with FlowChroma's first
            version, which compares queries with remembered values in place of their keys.

    Source:
        MemFlow (Dong and Fu 2024, arXiv 2404.04808), in the variant that takes its blocks from SKFlow. What the paper
        leaves open is as the released weights need it.
    """

    stride = Encoder.stride

    def __init__(
        self,
        *,
        width: int = 128,
        features: int = 256,
        widths: Sequence[int] = (64, 96, 128),
        levels: int = 4,
        radius: int = 4,
        iterations: int = 9,
        train_tokens: float = 1568.0,
        memory_keys: KeysOfMemory = "own",
    ) -> None:
        super().__init__()
        self.levels = levels
        self.radius = radius
        self.iterations = iterations
        self.train_tokens = train_tokens
        self.memory_keys = memory_keys
        self.context = Encoder(2 * width, norm="batch", widths=widths)
        self.features = Encoder(features, norm="instance", widths=widths)
        self.query_key = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.update = UpdateBlock(levels * (2 * radius + 1) ** 2, width, stride=self.stride)

    @property
    def least(self) -> int:
        """Shortest side of a frame in pixels: two cells at the coarsest scale."""
        least: int = self.stride * 2**self.levels
        return least

    def forward(
        self, frame: Tensor, next_frame: Tensor, memory: Memory | None = None, *, initial: Tensor | None = None
    ) -> FlowEstimate:
        """Flow from a frame to the next.

        Args:
            frame, next_frame: (B, 3, H, W). FlowChroma's are LAB: L / 50 - 1, a / 127 and b / 127; released weights
                of optical flow take RGB in [-1, 1]. Both sides are multiples of 8 and at least `least`.
            memory: of the pairs before.
            initial: flow to begin with, (B, 2, h, w) in cells; by default 0.

        Raises:
            DataError: a side is not as it must be.
        """
        features = self.encode_features(torch.stack([frame, next_frame], dim=1))
        return self.estimate(self.encode_context(frame), features[:, 0], features[:, 1], memory, initial=initial)

    def encode_context(self, frames: Tensor) -> Context:
        """What frames show, (..., 3, H, W) -> each (..., C, h, w); in train mode all share one normalization.

        Raises:
            DataError: a side is not as it must be.
        """
        hidden, inputs = self._encoded(self.context, frames).chunk(2, dim=-3)
        hidden, inputs = hidden.tanh(), inputs.relu()
        query, key = _apart(self.query_key, inputs).chunk(2, dim=-3)
        return Context(hidden, inputs, query, key)

    def encode_features(self, frames: Tensor) -> Tensor:
        """What is compared between frames, (..., 3, H, W) -> (..., C, h, w).

        Raises:
            DataError: a side is not as it must be.
        """
        return self._encoded(self.features, frames)

    def estimate(
        self,
        context: Context,
        first: Tensor,
        second: Tensor,
        memory: Memory | None = None,
        *,
        initial: Tensor | None = None,
        iterations: int | None = None,
        flows: Literal["all", "last"] = "all",
    ) -> FlowEstimate:
        """Flow between two frames that were encoded.

        Args:
            context: of the first frame.
            first, second: features, (B, C, h, w).
            memory, initial: see `forward`.
            iterations: steps; by default the network's.
            flows: which steps' are upsampled; losses need all, anything else the last.
        """
        pyramid = correlation_pyramid(first, second, self.levels)
        # Places want more than 16 bits, whatever autocast left of the features.
        grid = pixel_grid((first.shape[2], first.shape[3]), first.device).to(pyramid[0].dtype)
        flow = torch.zeros_like(grid).expand(len(first), -1, -1, -1) if initial is None else initial
        hidden, keys = context.hidden, self._keys(context.key, memory)
        fine, iterations = [], iterations or self.iterations
        for step in range(1, iterations + 1):
            # Through the state alone: gradients through places are unstable over many steps.
            flow = flow.detach()
            motion = self.update.encoder(flow, look_up(pyramid, grid + flow, self.radius))
            value = self.update.value(motion)
            values = value[:, None] if memory is None else torch.cat([memory.values, value[:, None]], dim=1)
            gathered = gather(context.query, keys, values, train_tokens=self.train_tokens)
            update = self.update(hidden, context.inputs, motion, gathered)
            hidden, flow = update.hidden, flow + update.delta
            if flows == "all" or step == iterations:
                mask = self.update.mask(hidden)
                fine.append(upsampled(flow, mask))
        return FlowEstimate(tuple(fine), flow, mask, context.key, value)

    def _keys(self, key: Tensor, memory: Memory | None) -> Tensor:
        """Keys of the memory and of this pair, (B, T + 1, C, h, w)."""
        if memory is None:
            return key[:, None]
        past = memory.keys if self.memory_keys == "own" else memory.values
        return torch.cat([past, key[:, None]], dim=1)

    def _encoded(self, encoder: nn.Module, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        if height % self.stride or width % self.stride or min(height, width) < self.least:
            raise DataError(
                f"frames of {height} x {width} pixels: MemFlow needs sides that are multiples of {self.stride} and at "
                f"least {self.least}; `padded` makes them so"
            )
        return _apart(encoder, frames)


def _apart(module: nn.Module, images: Tensor) -> Tensor:
    """A module that takes (B, C, H, W), applied to (..., C, H, W)."""
    made: Tensor = module(images.flatten(0, -4))
    return made.reshape(*images.shape[:-3], *made.shape[1:])
