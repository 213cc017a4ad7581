"""MaeFuse's steps, and the tasks they make up.

Two images: encode -> compare -> merge -> decode. One image: encode_image -> decode_image, to teach the decoder pixels;
or with most patches hidden: mask -> encode_visible_patches -> restore -> decode_image, to pretrain encoder and decoder.
Images are RGB in [0, 1]; the networks see ImageNet units. Letters: B batch, N tokens, K tokens that are kept, D width,
p side of a patch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradatim.errors import PlanError
from gradatim.systems.maefuse.parts.decoder import Decoder
from gradatim.systems.maefuse.parts.encoder import Encoder
from gradatim.systems.maefuse.parts.fusion import ComparativeFusion, MergingFusion
from gradatim.systems.maefuse.parts.masking import MaskToken
from gradatim.task import makes
from gradatim.vision.normalization import from_imagenet, to_imagenet
from gradatim.vision.patches import unpatchify


@makes("visible_tokens", "infrared_tokens")
def encode(encoder: Encoder, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of both images, (B, 3, H, W) in [0, 1] -> (B, N, D) each; one pass over both."""
    visible_tokens, infrared_tokens = encoder(to_imagenet(torch.cat([visible, infrared]))).chunk(2)
    return visible_tokens, infrared_tokens


@makes("pattern")
def compare(cfm: ComparativeFusion, visible_tokens: Tensor, infrared_tokens: Tensor) -> Tensor:
    """What the images have in common and apart, (B, N, D) each -> (B, N, D)."""
    pattern: Tensor = cfm(visible_tokens, infrared_tokens)
    return pattern


@makes("fused_tokens")
def merge(mfm: MergingFusion, pattern: Tensor, visible_tokens: Tensor, infrared_tokens: Tensor) -> Tensor:
    """Tokens of the fused image, (B, N, D) each -> (B, N, D)."""
    fused_tokens: Tensor = mfm(pattern, visible_tokens, infrared_tokens)
    return fused_tokens


@makes("fused_patches", "fused")
def decode(decoder: Decoder, fused_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Fused image: patches (B, N, p² * 3) in ImageNet units, and (B, 3, H, W) in [0, 1], unbounded."""
    return _pixels(decoder, fused_tokens)


@makes("fused_patches", "fused")
def decode_pattern(decoder: Decoder, pattern: Tensor) -> tuple[Tensor, Tensor]:
    """As `decode`, from CFM's pattern alone: teaches CFM on images before there is an MFM."""
    return _pixels(decoder, pattern)


@makes("image_tokens")
def encode_image(encoder: Encoder, image: Tensor) -> Tensor:
    """Tokens of one image, (B, 3, H, W) in [0, 1] -> (B, N, D)."""
    image_tokens: Tensor = encoder(to_imagenet(image))
    return image_tokens


@makes("image_patches", "reconstructed")
def decode_image(decoder: Decoder, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Image from its own tokens: patches (B, N, p² * 3) in ImageNet units, and (B, 3, H, W) in [0, 1], unbounded."""
    return _pixels(decoder, image_tokens)


@makes("keep", "hidden")
def mask(encoder: Encoder, image: Tensor, generator: torch.Generator, *, ratio: float = 0.75) -> tuple[Tensor, Tensor]:
    """Choose the patches to hide, for each image on its own.

    Args:
        encoder: says how many patches there are.
        image: (B, 3, H, W).
        generator: draws the choice.
        ratio: part of the patches that is hidden; at least one is kept and one hidden.

    Returns:
        Kept tokens, (B, K) int64, and (B, N) bool, true where hidden.

    Source:
        He et al. 2022, section 3; K is rounded down as in the authors' code.
    """
    count = encoder.grid[0] * encoder.grid[1]
    kept = int(count * (1 - ratio))
    if not 0 < kept < count:
        raise PlanError(
            f"mask.ratio: {ratio} keeps {kept} of {count} patches; at least one must be kept and one hidden: "
            f"choose it between {1 / count:.3g} and {1 - 1 / count:.3g}."
        )
    noise = torch.rand(len(image), count, generator=generator, device=generator.device).to(image.device)
    keep = noise.argsort(dim=1)[:, :kept]
    hidden = torch.ones(len(image), count, dtype=torch.bool, device=image.device).scatter(1, keep, False)
    return keep, hidden


@makes("kept_tokens")
def encode_visible_patches(encoder: Encoder, image: Tensor, keep: Tensor) -> Tensor:
    """Tokens of the kept patches, which know nothing of the hidden ones; (B, 3, H, W) in [0, 1] -> (B, K, D)."""
    kept_tokens: Tensor = encoder(to_imagenet(image), keep)
    return kept_tokens


@makes("image_tokens")
def restore(mask_token: MaskToken, kept_tokens: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
    """Kept tokens at their places and the learned token at the others, (B, K, D) -> (B, N, D)."""
    image_tokens: Tensor = mask_token(kept_tokens, keep, hidden.shape[1])
    return image_tokens


def _pixels(decoder: Decoder, tokens: Tensor) -> tuple[Tensor, Tensor]:
    patches = decoder(tokens)
    return patches, from_imagenet(unpatchify(patches, decoder.grid))


TASKS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "align_pattern": (encode, compare),
    "align_fused": (encode, compare, merge),
    "fuse_pattern": (encode, compare, decode_pattern),
    "fuse": (encode, compare, merge, decode),
    "reconstruct": (encode_image, decode_image),
    "pretrain": (mask, encode_visible_patches, restore, decode_image),
}
