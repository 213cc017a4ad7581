"""Coloring of sequences, frame by frame: a flow carries the last output on, and fusion mixes that with what matched.

LAB is normalized (`color`). Letters: B sequences, T frames.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradatim.errors import DataError
from gradatim.systems.flowchroma.matching import Matches
from gradatim.systems.flowchroma.parts.carrying import Carrying, TargetColors
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.memory import Memory, remembered
from gradatim.systems.flowchroma.warping import cropped, padded, warp_color_by_flow

Fusion = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""One of `parts.fusion`: carried LAB, confidence, matched LAB, similarity -> a and b."""
_MULTIPLE = 8
_LEAST = 16


@dataclass(frozen=True)
class Carried:
    """What the frame before gives the next.

    Args:
        lab: (B, 3, H, W); a frame to which no flow leads has 0 in all three channels.
        confidence: of the flow, (B, 1, H, W) in [0, 1].
        memory: of all pairs up to this one; None where no flow led.
    """

    lab: Tensor
    confidence: Tensor
    memory: Memory | None = None


@dataclass(frozen=True)
class Colored:
    """Sequences that were colored.

    Args:
        outputs: LAB with the frames' own lightness, (B, T, 3, H, W).
        carried: LAB, (B, T, 3, H, W), without gradient; 0 for first frames.
        confidences: of the flows, (B, T, 1, H, W) in [0, 1]; 0 for first frames.
        memory: after the last frame, from which further frames can go on.
    """

    outputs: Tensor
    carried: Tensor
    confidences: Tensor
    memory: Memory | None


def color_sequences(
    memflow: MemFlow, fusion: Fusion, frames: Tensor, *, matches: Matches, carrying: Carrying
) -> Colored:
    """Color all frames of sequences, the first by its match alone.

    Args:
        memflow: flow network; no gradient reaches it, nor through it the frames before.
        fusion: fusion network.
        frames: (B, T, 3, H, W) of any size. Their colors are looked at only if `carrying` says so.
        matches: for these frames.
        carrying: how.

    Raises:
        DataError: there is no frame.
    """
    if not frames.shape[1]:
        raise DataError("a sequence without frames")
    steps: list[Carried] = []
    outputs: list[Tensor] = []
    for n, frame in enumerate(frames.unbind(1)):
        if n == 0:
            step = nothing_carried(frame)
        else:
            step = carry(memflow, outputs[-1], frame, steps[-1].memory, carrying=carrying)
        steps.append(step)
        outputs.append(fuse(fusion, step, frame[:, :1], matches.colors[:, n], matches.similarity[:, n]))
    return Colored(
        torch.stack(outputs, dim=1),
        torch.stack([step.lab for step in steps], dim=1),
        torch.stack([step.confidence for step in steps], dim=1),
        steps[-1].memory,
    )


def nothing_carried(frame: Tensor) -> Carried:
    """What a first frame is given, for one of (B, 3, H, W)."""
    return Carried(torch.zeros_like(frame), torch.zeros_like(frame[:, :1]))


@torch.no_grad()
def carry(memflow: MemFlow, before: Tensor, frame: Tensor, memory: Memory | None, *, carrying: Carrying) -> Carried:
    """Carry the colors of a frame on to the next.

    Args:
        memflow: flow network.
        before: the frame before as it was colored, (B, 3, H, W).
        frame: the next, (B, 3, H, W).
        memory: of the pairs before; None at a sequence's first pair.
        carrying: how.

    Returns:
        With the lightness of the next frame; its memory holds this pair too.
    """
    pair, padding = padded(
        torch.stack([before, _as_seen(frame, before, carrying.target_ab)], dim=1),
        multiple=memflow.stride,
        least=memflow.least,
    )
    features = memflow.encode_features(pair)
    context = memflow.encode_context(pair[:, 0])
    estimate = memflow.estimate(context, features[:, 0], features[:, 1], memory, flows="last")
    colors = warp_color_by_flow(before[:, 1:], carrying.flow_scale * cropped(estimate.flow, padding))
    return Carried(
        torch.cat([frame[:, :1], colors], dim=1),
        cropped(estimate.confidence, padding),
        remembered(memory, estimate.key, estimate.value, limit=carrying.max_history),
    )


def fuse(fusion: Fusion, carried: Carried, lightness: Tensor, colors: Tensor, similarity: Tensor) -> Tensor:
    """Mix both proposals for a frame.

    Args:
        fusion: fusion network.
        carried: from the frame before.
        lightness: of the frame, (B, 1, H, W).
        colors, similarity: of its match, (B, 2, H, W) and (B, 1, H, W).

    Returns:
        LAB with that lightness, (B, 3, H, W).
    """
    given = torch.cat([carried.lab, carried.confidence, lightness, colors, similarity], dim=1)
    # Some of the networks halve a frame three times.
    whole, padding = padded(given, multiple=_MULTIPLE, least=_LEAST)
    fused = fusion(whole[:, :3], whole[:, 3:4], whole[:, 4:7], whole[:, 7:])
    return torch.cat([lightness, cropped(fused, padding)], dim=1)


def _as_seen(frame: Tensor, before: Tensor, target: TargetColors) -> Tensor:
    if target == "ground_truth":
        return frame
    colors = before[:, 1:] if target == "previous" else torch.zeros_like(frame[:, 1:])
    return torch.cat([frame[:, :1], colors], dim=1)
