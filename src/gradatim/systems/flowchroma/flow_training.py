"""Training the network of flows on colors: a flow is right where it brings the colors of one frame to the next.

Letters: B batch, T frames, P = T - 1 pairs, I steps of the network. LAB is normalized (`color`).
"""

import torch
from torch import Tensor

from gradatim.systems.flowchroma.parts.memflow import Context, MemFlow
from gradatim.systems.flowchroma.parts.memory import Memory, drawn, remembered
from gradatim.systems.flowchroma.warping import warp_color_by_flow


def carry_along(memflow: MemFlow, frames: Tensor, generator: torch.Generator, *, pairs: int = 2) -> Tensor:
    """Colors of each frame, brought to the next by every flow that the network makes on its way.

    Both frames of a pair show their true colors. From the pair number `pairs` on, those that are remembered are drawn,
    so that the network learns with memories of any age.

    Args:
        memflow: the network; a gradient reaches all of it.
        frames: (B, T, 3, H, W), T at least 2.
        generator: of the pairs that are remembered.
        pairs: how many the network looks at, this one included.

    Returns:
        (B, P, I, 2, H, W) in [-1, 1]; P is what the colors of frames 1 to T - 1 are to be.
    """
    contexts, features = memflow.encode_context(frames[:, :-1]), memflow.encode_features(frames)
    memory: Memory | None = None
    carried = []
    for pair in range(frames.shape[1] - 1):
        past = memory if memory is None or pair < pairs else _drawn(memory, pairs - 1, generator)
        estimate = memflow.estimate(_of(contexts, pair), features[:, pair], features[:, pair + 1], past)
        colors = frames[:, pair, 1:]
        carried.append(torch.stack([warp_color_by_flow(colors, flow) for flow in estimate.flows], dim=1))
        memory = remembered(memory, estimate.key, estimate.value, limit=None)
    return torch.stack(carried, dim=1)


def _drawn(memory: Memory, count: int, generator: torch.Generator) -> Memory | None:
    return drawn(memory, count, generator) if count else None


def _of(contexts: Context, frame: int) -> Context:
    """What one of several frames shows."""
    return Context(*(x[:, frame] for x in (contexts.hidden, contexts.inputs, contexts.query, contexts.key)))
