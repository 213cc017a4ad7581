"""MaeFuse's sizes, and a builder for each of its parts."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationInfo, field_validator, model_validator
from torch import nn

from gradatim.errors import WeightsError
from gradatim.systems.maefuse.parts.decoder import Decoder
from gradatim.systems.maefuse.parts.encoder import Encoder
from gradatim.systems.maefuse.parts.fusion import AttentionAxis, ComparativeFusion, MergingFusion
from gradatim.systems.maefuse.parts.masking import MaskToken

Size = Literal["large", "large4", "large8", "base", "huge"]

_LARGE8 = {"image_size": 224, "patch_size": 16, "width": 1024, "depth": 24, "heads": 16, "decoder_depth": 8}
_LARGE4 = {**_LARGE8, "image_size": 640, "decoder_depth": 4}

SIZES: Mapping[str, Mapping[str, int]] = {
    "large": _LARGE4,
    "large4": _LARGE4,
    "large8": _LARGE8,
    "base": {**_LARGE8, "width": 768, "depth": 12, "heads": 12},
    "huge": {**_LARGE8, "patch_size": 14, "width": 1280, "depth": 32},
}
"""What each named size decides: the published model (`large`, also `large4`), and the public masked autoencoders."""


class MaeFuseSettings(BaseModel):
    """Sizes of the model. A named size gives the defaults; every other field that is given overrides it.

    Args:
        size: `large` is MaeFuse as published: 640 × 640, 4 decoder blocks. `base`, `large8` and `huge` are the public
            masked autoencoders: 224 × 224, 8 decoder blocks.
        patch_size: side of a patch, in pixels.
        image_size: (height, width), multiples of `patch_size`; one number means a square.
        width: size of the encoder's tokens.
        depth: the encoder's blocks.
        heads: attention heads of an encoder block.
        decoder_width: size of the tokens inside the decoder.
        decoder_depth: the decoder's blocks.
        decoder_heads: attention heads of a decoder block.
        mlp_ratio: hidden size of the feed-forward networks in encoder and decoder, as a multiple of their width.
        fusion_heads: attention heads of both fusion parts.
        attention_axis: `tokens` for new training; `sample` for the authors' published weights; `batch` to train as
            they did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size = "large"
    patch_size: PositiveInt = 16
    image_size: tuple[PositiveInt, PositiveInt] = (640, 640)
    width: PositiveInt = 1024
    depth: PositiveInt = 24
    heads: PositiveInt = 16
    decoder_width: PositiveInt = 512
    decoder_depth: PositiveInt = 4
    decoder_heads: PositiveInt = 16
    mlp_ratio: float = Field(default=4.0, gt=0)
    fusion_heads: PositiveInt = 16
    attention_axis: AttentionAxis = "tokens"

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_size(cls, data: Any) -> Any:
        """Put the named size under what was given, and every default, so that each field below is checked."""
        if not isinstance(data, Mapping):
            return data
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        named = data.get("size", defaults["size"])
        return {**defaults, **(SIZES.get(named, {}) if isinstance(named, str) else {}), **data}

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        return (value, value) if isinstance(value, int) else value

    @field_validator("image_size")
    @classmethod
    def _whole_patches(cls, value: tuple[int, int], info: ValidationInfo) -> tuple[int, int]:
        patch = info.data.get("patch_size")
        if patch and any(side % patch for side in value):
            near = tuple(max(1, round(side / patch)) * patch for side in value)
            raise ValueError(f"{list(value)} is no multiple of the patch size, {patch}; the nearest is {list(near)}.")
        return value

    @field_validator("width", "decoder_width")
    @classmethod
    def _four_waves(cls, value: int) -> int:
        if value % 4:
            raise ValueError(f"{value} is no multiple of 4, which the sine-cosine positions need.")
        return value

    @field_validator("heads", "decoder_heads", "fusion_heads")
    @classmethod
    def _whole_heads(cls, value: int, info: ValidationInfo) -> int:
        name = "decoder_width" if info.field_name == "decoder_heads" else "width"
        width = info.data.get(name)
        if width and width % value:
            raise ValueError(f"`{name}` is {width}, no multiple of {value} heads.")
        return value

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size


def build_encoder(settings: MaeFuseSettings) -> Encoder:
    """Images to tokens, fresh weights."""
    return Encoder(
        settings.grid,
        settings.patch_size,
        width=settings.width,
        depth=settings.depth,
        heads=settings.heads,
        mlp_ratio=settings.mlp_ratio,
    )


def build_decoder(settings: MaeFuseSettings) -> Decoder:
    """Tokens to pixels, fresh weights."""
    return Decoder(
        settings.grid,
        settings.patch_size,
        token_width=settings.width,
        width=settings.decoder_width,
        depth=settings.decoder_depth,
        heads=settings.decoder_heads,
        mlp_ratio=settings.mlp_ratio,
    )


def build_cfm(settings: MaeFuseSettings) -> ComparativeFusion:
    """Comparative fusion module, fresh weights."""
    return ComparativeFusion(
        settings.grid, settings.width, heads=settings.fusion_heads, attention_axis=settings.attention_axis
    )


def build_mfm(settings: MaeFuseSettings) -> MergingFusion:
    """Merging fusion module, fresh weights."""
    return MergingFusion(
        settings.grid, settings.width, heads=settings.fusion_heads, attention_axis=settings.attention_axis
    )


def build_mask_token(settings: MaeFuseSettings) -> MaskToken:
    """Stand-in for hidden patches, fresh weights."""
    return MaskToken(settings.width)


PARTS: Mapping[str, Callable[[MaeFuseSettings], nn.Module]] = {
    "encoder": build_encoder,
    "decoder": build_decoder,
    "cfm": build_cfm,
    "mfm": build_mfm,
    "mask_token": build_mask_token,
}


_HEADS = {1024: 16, 768: 12, 1280: 16, 512: 16}


def sizes_of(shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model that arrays of these shapes belong to.

    Args:
        shapes: by our names; parts may be absent.
        given: settings that are known; they win.

    Raises:
        WeightsError: the number of heads, which no shape tells, is neither given nor that of a published width.
    """
    found: dict[str, Any] = {}
    if "encoder.patch_embed.weight" in shapes:
        found["width"], _, found["patch_size"], _ = shapes["encoder.patch_embed.weight"]
        found |= _depth(shapes, "encoder", "depth") | {"heads": _HEADS.get(found["width"])}
        found["mlp_ratio"] = shapes["encoder.blocks.0.mlp.fc1.weight"][0] / found["width"]
    if "decoder.embed.weight" in shapes:
        found["decoder_width"], found["width"] = shapes["decoder.embed.weight"]
        found |= _depth(shapes, "decoder", "decoder_depth") | {"decoder_heads": _HEADS.get(found["decoder_width"])}
        found["patch_size"] = math.isqrt(shapes["decoder.head.weight"][0] // 3)
    for part in ("cfm", "mfm"):
        if f"{part}.attn.proj.weight" in shapes:
            found["width"] = shapes[f"{part}.attn.proj.weight"][0]
    tables = [shape for name, shape in shapes.items() if name.endswith("pos_embed")]
    if tables:
        side = math.isqrt(tables[0][1])
        found["image_size"] = side * int(given.get("patch_size", found.get("patch_size", 16)))
    untold = [name for name, value in found.items() if value is None and name not in given]
    if untold:
        names = ", ".join(f"`{name}`" for name in untold)
        raise WeightsError(f"the file's shapes do not tell {names}; give the numbers that it was trained with")
    return {name: value for name, value in found.items() if value is not None}


def _depth(shapes: Mapping[str, tuple[int, ...]], part: str, setting: str) -> dict[str, int]:
    blocks = {name.split(".")[2] for name in shapes if name.startswith(f"{part}.blocks.")}
    return {setting: len(blocks)}
