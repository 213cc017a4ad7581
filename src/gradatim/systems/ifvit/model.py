"""Sizes of IFViT, and its parts built from them."""

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from torch import nn

from gradatim.errors import PlanError, WeightsError
from gradatim.systems.ifvit.parts.backbone import ResNet18
from gradatim.systems.ifvit.parts.fpn import LoFTRBackbone
from gradatim.systems.ifvit.parts.heads import Centers, Embedding
from gradatim.systems.ifvit.parts.loftr import LegacyTransformer, LoFTRTransformer
from gradatim.systems.ifvit.parts.siamese import SiameseTransformer
from gradatim.systems.ifvit.parts.tokens import AttentionKind, LoFTRPositions
from gradatim.systems.ifvit.parts.transformer import Transformer, TransformerKind

BackboneKind = Literal["resnet18", "loftr_fpn"]
_WIDTHS: Mapping[str, tuple[int, int, int]] = {"resnet18": (64, 128, 256), "loftr_fpn": (128, 196, 256)}
_ATTENTION: Mapping[str, tuple[AttentionKind, ...]] = {
    "loftr": ("linear",),
    "legacy": ("linear", "full"),
    "generic": ("full",),
}
_WIDTH = 256
_TABLE = {"loftr": 4, "legacy": 2, "generic": 1}


class IFViTSettings(BaseModel):
    """Sizes of the model.

    Args:
        backbone: `resnet18`, features at a sixteenth of the size, or `loftr_fpn`, LoFTR's at an eighth.
        widths: channels of the backbone's three stages; None: as published.
        transformer: `loftr`, the true one; `legacy`, that of IFViT's published code; `generic`, with learned positions.
        attention: `linear` or `full`, which only `legacy` may choose; where it is not said, `full` for `generic` and
            `linear` for the others.
        positions: of `loftr` alone: `outdoor` as the released weights need it, also where it is not said, or `fixed`.
        layers: of the transformer.
        heads: of its attention.
        width: of its tokens; the backbone's last channels, or any where the transformer is `generic`.
        mlp_width: between the linear layers of a `generic` transformer's blocks; the others have twice `width`.
        dropout: of the `generic` transformer; the others have none.
        grid: cells (down, across) of the `generic` transformer's learned tables.
        embedding: size of an image's embedding.
        classes: number of fingers that the centers stand for; None: there are no centers.
        dense_size: side of the squares that prints are registered in, in pixels.
        match_size: side of the squares that aligned prints are compared in.
        roi_size: side of the regions around the middle of what both show.
        period: distance of ridges in pixels that prints are scaled to before they are compared, whatever the size of
            their squares is then; None: they are fitted into squares of those sizes.
        enhance: whether whole prints are compared with their ridges made clear.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneKind = "resnet18"
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    transformer: TransformerKind = "loftr"
    attention: AttentionKind | None = None
    positions: LoFTRPositions | None = None
    layers: PositiveInt = 4
    heads: PositiveInt = 8
    width: PositiveInt = _WIDTH
    mlp_width: PositiveInt = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    grid: tuple[PositiveInt, PositiveInt] = (8, 8)
    embedding: PositiveInt = 256
    classes: PositiveInt | None = None
    dense_size: PositiveInt = 128
    match_size: PositiveInt = 224
    roi_size: PositiveInt = 90
    period: PositiveFloat | None = None
    enhance: bool = False

    @model_validator(mode="before")
    @classmethod
    def _settled(cls, data: Any) -> Any:
        """Put in what follows from the transformer, so that equal models have equal settings."""
        if not isinstance(data, Mapping):
            return data
        kind = data.get("transformer", "loftr")
        follows = {"attention": "full" if kind == "generic" else "linear"}
        if kind == "loftr":
            follows["positions"] = "outdoor"
        return {**data, **{name: value for name, value in follows.items() if data.get(name) is None}}

    @model_validator(mode="after")
    def _fits(self) -> "IFViTSettings":
        kind, offered = self.transformer, _ATTENTION[self.transformer]
        if self.attention not in offered:
            raise ValueError(
                f"attention {self.attention!r} and transformer {kind!r} do not go together: {kind!r} has "
                f"{' or '.join(map(repr, offered))} attention"
            )
        if self.positions is not None and kind != "loftr":
            raise ValueError(
                f"positions {self.positions!r} and transformer {kind!r} do not go together: they are of 'loftr' alone"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.width % _TABLE[kind]:
            raise ValueError(f"width {self.width}: transformer {kind!r} needs a multiple of {_TABLE[kind]}")
        if kind != "generic" and self.channels[-1] != self.width:
            raise ValueError(
                f"width {self.width} and the backbone's last channels {self.channels[-1]} differ, and transformer "
                f"{kind!r} has no projection: make `width` and `widths` agree, or take 'generic'"
            )
        return self

    @property
    def channels(self) -> tuple[int, int, int]:
        """Channels of the backbone's stages."""
        return self.widths or _WIDTHS[self.backbone]


def build_backbone(settings: IFViTSettings) -> ResNet18 | LoFTRBackbone:
    """Grey images to features; convolutions He-normal, norms 1 and 0."""
    return (ResNet18 if settings.backbone == "resnet18" else LoFTRBackbone)(settings.channels)


def build_transformer(settings: IFViTSettings) -> Transformer:
    """Features of two images to features that know each other; Xavier-uniform, biases 0, positions N(0, 0.02)."""
    layers, width, heads = settings.layers, settings.width, settings.heads
    if settings.transformer == "loftr":
        return LoFTRTransformer(layers, width, heads, positions=settings.positions or "outdoor")
    if settings.transformer == "legacy":
        return LegacyTransformer(layers, width, heads, attention=settings.attention or "linear")
    return SiameseTransformer(
        layers,
        width,
        heads,
        hidden=settings.mlp_width,
        grid=settings.grid,
        channels=settings.channels[-1],
        dropout=settings.dropout,
    )


def build_embedding(settings: IFViTSettings) -> Embedding:
    """Features to a unit vector; Xavier-uniform, bias 0."""
    return Embedding(settings.width, settings.embedding)


def build_centers(settings: IFViTSettings) -> Centers:
    """A direction for each class; N(0, 0.01).

    Raises:
        PlanError: the number of classes is not said.
    """
    if settings.classes is None:
        raise PlanError("centers need the number of classes: say `classes` in the plan's `model`")
    return Centers(settings.classes, settings.embedding)


PARTS: Mapping[str, Callable[[IFViTSettings], nn.Module]] = {
    "backbone": build_backbone,
    "transformer": build_transformer,
    "local_transformer": build_transformer,
    "embedding": build_embedding,
    "centers": build_centers,
}


def sizes_of(shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model that arrays of these shapes belong to.

    Args:
        shapes: by our names; parts may be absent.
        given: settings that are known; they win.

    Raises:
        WeightsError: learned positions are no square, and `grid` is not given.
    """
    found = {**_backbone_sizes(shapes), **_transformer_sizes(shapes)}
    if "widths" not in found and found.get("width", _WIDTH) != _WIDTH and found.get("transformer") != "generic":
        # Without a backbone in the file, one that fits its transformer.
        found["widths"] = (found["width"], found["width"], found["width"])
    if "transformer.positions_first" in shapes and "grid" not in given:
        found["grid"] = _square(shapes["transformer.positions_first"][1])
    if "embedding.linear.weight" in shapes:
        found["embedding"], found["width"] = shapes["embedding.linear.weight"]
    if "centers.weight" in shapes:
        found["classes"], found["embedding"] = shapes["centers.weight"]
    return {name: value for name, value in found.items() if name not in given}


def _backbone_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    blocks = [f"backbone.blocks.{block}.second.conv.weight" for block in (1, 3, 5)]
    stages = [f"backbone.stages.{stage}.1.conv2.weight" for stage in range(3)]
    for kind, names in (("resnet18", blocks), ("loftr_fpn", stages)):
        if all(name in shapes for name in names):
            return {"backbone": kind, "widths": tuple(shapes[name][0] for name in names)}
    return {}


def _transformer_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    root = "transformer.layers."
    layers = {name.removeprefix(root).partition(".")[0] for name in shapes if name.startswith(root)}
    found: dict[str, Any] = {"layers": len(layers)} if layers else {}
    queries = {"loftr": "query", "legacy": "first.query", "generic": "self_first.query"}
    for kind, query in queries.items():
        if (name := f"{root}0.{query}.weight") in shapes:
            found |= {"transformer": kind, "width": shapes[name][0]}
    if (name := f"{root}0.self_first.fc1.weight") in shapes:
        found["mlp_width"] = shapes[name][0]
    return found


def _square(cells: int) -> tuple[int, int]:
    side = isqrt(cells)
    if side * side != cells:
        raise WeightsError(f"{cells} learned positions are no square; say which `grid` they are, (down, across)")
    return side, side
