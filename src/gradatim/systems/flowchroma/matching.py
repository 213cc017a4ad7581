"""Colors for a gray picture out of a reference, by its backbone and its matching network."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradatim.systems.flowchroma.color import gray_picture
from gradatim.systems.flowchroma.parts.warpnet import Match, WarpNet, unit_features


def warp_color(
    swin: Callable[[Tensor], Sequence[Tensor]],
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
    with torch.no_grad():
        features = [unit_features(x) for x in swin(gray_picture(lightness))]
    reference = [unit_features(x) for x in reference_features]
    match: Match = warpnet(features, reference, reference_lab, temperature=temperature)
    return match
