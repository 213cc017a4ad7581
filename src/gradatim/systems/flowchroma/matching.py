"""Colors for gray pictures out of references, by a backbone and a matching network.

Letters: B sequences, T frames, R references of a sequence, N pictures, M references, S side of what is matched.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.flowchroma.color import gray_picture, restored, rgb_of_lab
from gradatim.systems.flowchroma.parts.warpnet import Match, WarpNet, match, unit_features

Backbone = Callable[[Tensor], Sequence[Tensor]]
"""RGB in [0, 1], (N, 3, S, S) -> features at a half, a quarter, an eighth and a sixteenth of its size."""
_AT_ONCE = 8


@dataclass(frozen=True)
class References:
    """Pictures that colors are taken from, seen by the backbone.

    Args:
        lab: normalized, (M, 3, S, S).
        features: of each scale, (M, C, h, w), of length 1 at every place.
    """

    lab: Tensor
    features: tuple[Tensor, ...]


@dataclass(frozen=True)
class Matches:
    """What references give the frames of sequences.

    Args:
        colors: a and b divided by 127, (B, T, 2, H, W).
        similarity: cosine with the best match, (B, T, 1, H, W) in [-1, 1].
    """

    colors: Tensor
    similarity: Tensor


def warp_color(
    swin: Backbone,
    warpnet: WarpNet,
    lightness: Tensor,
    *,
    reference_lab: Tensor,
    reference_features: Sequence[Tensor],
    temperature: float,
) -> Match:
    """Colors of a reference for a gray picture.

    Args:
        swin: the backbone; no gradient reaches it.
        warpnet: what compares.
        lightness: L / 50 - 1 of the picture, (B, 1, H, W).
        reference_lab: (B, 3, H', W'), in the units that the colors shall have.
        reference_features: from the backbone, which can be kept while the reference stays the same.
        temperature: as of `WarpNet`.
    """
    reference = [unit_features(x) for x in reference_features]
    found: Match = warpnet(_features(swin, gray_picture(lightness)), reference, reference_lab, temperature=temperature)
    return found


def encode_references(swin: Backbone, lab: Tensor, *, uncenter_ab: bool = True) -> References:
    """References as the backbone sees them; they can be kept while backbone and pictures stay the same.

    Args:
        swin: the backbone; no gradient reaches it.
        lab: normalized, (M, 3, S, S).
        uncenter_ab: False shows the backbone pictures that are almost gray, as SwinTExCo's training in FlowChroma's
            variant does; fusion never did.
    """
    return References(lab, _features(swin, rgb_of_lab(restored(lab, ab=uncenter_ab))))


def match_pictures(
    swin: Backbone,
    warpnet: WarpNet,
    lightness: Tensor,
    *,
    references: References,
    which: Tensor,
    temperature: float,
) -> Match:
    """Colors of references for gray pictures, several of which may share a reference.

    Args:
        swin: the backbone; no gradient reaches it.
        warpnet: what compares.
        lightness: L / 50 - 1, (N, 1, S, S).
        references: M of them, each of which is described once.
        which: reference of each picture, (N,) in [0, M).
        temperature: as of `WarpNet`.

    Returns:
        For pictures of S × S pixels.
    """
    pieces = (_features(swin, gray_picture(part)) for part in torch.split(lightness, _AT_ONCE))
    return _matched(warpnet, pieces, references, which, temperature)


def match_seen(
    warpnet: WarpNet, features: Sequence[Tensor], references: References, which: Tensor, *, temperature: float
) -> Match:
    """As `match_pictures`, of what the backbone saw in the pictures, of length 1 at every place."""
    pieces = zip(*(torch.split(x, _AT_ONCE) for x in features), strict=True)
    return _matched(warpnet, pieces, references, which, temperature)


def _matched(
    warpnet: WarpNet, pieces: Iterable[Sequence[Tensor]], references: References, which: Tensor, temperature: float
) -> Match:
    """In pieces: each picture has a table of cosines as large as the number of cells squared."""
    keys = warpnet.keys(references.features)
    found = [
        match(warpnet.queries(part), keys[chosen], references.lab[chosen], temperature=temperature)
        for part, chosen in zip(pieces, torch.split(which, _AT_ONCE), strict=True)
    ]
    return Match(torch.cat([each.lab for each in found]), torch.cat([each.similarity for each in found]))


def match_sequences(
    swin: Backbone,
    warpnet: WarpNet,
    lightness: Tensor,
    references: Tensor,
    *,
    size: tuple[int, int],
    temperature: float,
    uncenter_ab: bool = True,
) -> Matches:
    """Colors of references for all frames of sequences at once.

    Args:
        swin: the backbone; no gradient reaches it.
        warpnet: what compares.
        lightness: L / 50 - 1 of the frames, (B, T, 1, S, S), with a side that the backbone takes.
        references: normalized LAB, (B, R, 3, S, S): one for a whole sequence, or one for each of its frames.
        size: (H, W) of the frames.
        temperature: as of `WarpNet`.
        uncenter_ab: as of `encode_references`.

    Raises:
        DataError: numbers of sequences or of references do not suit.
    """
    (batch, count), (others, several) = lightness.shape[:2], references.shape[:2]
    if others != batch or several not in (1, count):
        raise DataError(
            f"{others} x {several} references for {batch} x {count} frames: each sequence needs one reference, or one "
            "for each frame."
        )
    encoded = encode_references(swin, references.flatten(0, 1), uncenter_ab=uncenter_ab)
    which = torch.arange(batch * several, device=references.device).repeat_interleave(count // several)
    found = match_pictures(
        swin, warpnet, lightness.flatten(0, 1), references=encoded, which=which, temperature=temperature
    )
    colors, similarity = (x.reshape(batch, count, *x.shape[1:]) for x in colors_at(found, size))
    return Matches(colors, similarity)


def colors_at(found: Match, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Colors (N, 2, H, W) and similarity (N, 1, H, W) of a match, bilinear where frames have another size."""
    both = torch.cat([found.lab[:, 1:], found.similarity], dim=1)
    if both.shape[2:] != size:
        both = F.interpolate(both, size, mode="bilinear")
    return both[:, :2], both[:, 2:]


@torch.no_grad()
def _features(swin: Backbone, rgb: Tensor) -> tuple[Tensor, ...]:
    return tuple(unit_features(x) for x in swin(rgb))
