"""FlowChroma's steps, and the tasks they make up.

carry: colors of each frame, brought to the next, which the network of flows learns by. see -> match: what a backbone
sees in references and gray frames, and the references' colors for the frames. fuse: sequences, frame by frame, from
both proposals. perceive, see_first: features of what came out, which losses compare.

LAB is normalized (`color`). Letters: B sequences, T frames, R references (1 or T), P = T - 1 pairs, I steps of the
network of flows, S side of what is matched.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.systems.flowchroma.color import gray_picture, restored, rgb_of_lab
from gradatim.systems.flowchroma.color_losses import shown
from gradatim.systems.flowchroma.flow_training import carry_along
from gradatim.systems.flowchroma.matching import Matches, References, colors_at, match_seen
from gradatim.systems.flowchroma.parts.fusion import FusionNetwork
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.vgg import Vgg16
from gradatim.systems.flowchroma.parts.warpnet import SHARP_TEMPERATURE, TRAIN_TEMPERATURE, WarpNet, unit_features
from gradatim.systems.flowchroma.recurrence import color_sequences
from gradatim.task import makes

Features = Mapping[str, Tensor]
_SCALES = ("half", "quarter", "eighth", "sixteenth")


@makes("flowed")
def carry(memflow: MemFlow, frames: Tensor, generator: torch.Generator, *, pairs: int = 2) -> Tensor:
    """Colors of each frame brought to the next by every flow, (B, P, I, 2, H, W); see `flow_training.carry_along`."""
    return carry_along(memflow, frames, generator, pairs=pairs)


@makes("reference_features")
def see_references(swin: SwinPyramid, references: Tensor, *, uncenter_ab: bool = True) -> Features:
    """Features of references in their colors, (B, R, 3, S, S) -> each (B, R, C, h, w); see `matching`."""
    return _seen(swin, rgb_of_lab(restored(references.flatten(0, 1), ab=uncenter_ab)), references)


@makes("frame_features")
def see_frames(swin: SwinPyramid, lightness: Tensor) -> Features:
    """Features of gray frames, (B, T, 1, S, S) -> each (B, T, C, h, w)."""
    return _seen(swin, gray_picture(lightness.flatten(0, 1)), lightness)


@makes("matched", "similarity")
def match(
    warpnet: WarpNet,
    frame_features: Features,
    reference_features: Features,
    references: Tensor,
    frames: Tensor,
    *,
    temperature: float = TRAIN_TEMPERATURE,
    sharp: float = SHARP_TEMPERATURE,
) -> tuple[Tensor, Tensor]:
    """Colors of references for frames, (B, T, 2, H, W), and how alike they are, (B, T, 1, H, W).

    Args:
        warpnet: what compares; `temperature` holds while it is trained, so that colors have a gradient, else `sharp`,
            which takes those of the best cell alone.
        frame_features, reference_features: from the backbone.
        references: (B, R, 3, S, S).
        frames: of which the size is looked at.
    """
    count, several = next(iter(frame_features.values())).shape[1], references.shape[1]
    found = match_seen(
        warpnet,
        _units(frame_features),
        References(references.flatten(0, 1), _units(reference_features)),
        torch.arange(len(references) * several, device=references.device).repeat_interleave(count // several),
        temperature=temperature if warpnet.training else sharp,
    )
    size = (frames.shape[3], frames.shape[4])
    colors, similarity = (x.reshape(*frames.shape[:2], *x.shape[1:]) for x in colors_at(found, size))
    return colors, similarity


@makes("fused", "carried", "confidence")
def fuse(
    memflow: MemFlow, fusion: FusionNetwork, frames: Tensor, matched: Tensor, similarity: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences frame by frame: LAB (B, T, 3, H, W), the colors that flows brought, (B, T, 2, H, W), and their
    confidence, (B, T, 1, H, W)."""
    found = color_sequences(memflow, fusion, frames, matches=Matches(matched, similarity), carrying=fusion.carrying)
    return found.outputs, found.carried[:, :, 1:], found.confidences


@makes("perceived", "perceived_true")
def perceive(vgg: Vgg16, fused: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """What VGG sees of colors, predicted and true, (B * T, C, h, w) each."""
    ours, true = (vgg(shown(lab.flatten(0, 1)[:, 1:]))[0] for lab in (fused, frames))
    return ours, true


@makes("first_features")
def see_first(swin: SwinPyramid, fused: Tensor, *, uncenter_ab: bool = True) -> Features:
    """Features of first frames as they were colored, each (B, C, h, w); a gradient reaches the colors."""
    first = rgb_of_lab(restored(fused[:, 0], ab=uncenter_ab))
    side = swin.multiple * max(1, round(min(first.shape[2:]) / swin.multiple))
    if first.shape[2:] != (side, side):
        first = nn.functional.interpolate(first, (side, side), mode="bilinear", antialias=True)
    return dict(zip(_SCALES, swin(first), strict=True))


def _seen(swin: SwinPyramid, rgb: Tensor, like: Tensor) -> Features:
    features: Sequence[Tensor] = swin(rgb)
    return {name: x.reshape(*like.shape[:2], *x.shape[1:]) for name, x in zip(_SCALES, features, strict=True)}


def _units(features: Features) -> tuple[Tensor, ...]:
    return tuple(unit_features(x.flatten(0, 1)) for x in features.values())


_MATCH = (see_references, see_frames, match)

TASKS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "flow": (carry,),
    "match": _MATCH,
    "fuse": (*_MATCH, fuse, perceive, see_first),
    "fuse_alone": (*_MATCH, fuse, see_first),
}
"""`fuse_alone` needs no VGG, and has no perceptual loss."""
