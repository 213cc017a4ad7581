"""Sizes of FlowChroma, and its parts built from them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from torch import nn

from gradatim.systems.flowchroma.parts.carrying import Carrying, TargetColors
from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet
from gradatim.systems.flowchroma.parts.fusion import (
    FusionNetV1,
    FusionNetwork,
    PlaceholderFusion,
    SimpleFusionNet,
    UNetFusionNet,
)
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.memory import KeysOfMemory
from gradatim.systems.flowchroma.parts.swin import PATCH, SwinPyramid
from gradatim.systems.flowchroma.parts.vgg import Vgg16
from gradatim.systems.flowchroma.parts.warpnet import WarpNet

FusionKind = Literal["v1", "simple", "unet", "placeholder"]
_SIMPLE = (32, 32, 16)


class _Sizes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FlowSizes(_Sizes):
    """Sizes of the network of flows.

    Args:
        width: channels of its state, context and motion; even.
        features: channels of what is compared between frames.
        widths: channels inside its encoders.
        levels: scales of the correlation; frames need sides of at least 8 * 2 ** levels pixels.
        radius: of the window that is looked up at each scale.
        iterations: steps of a forward pass.
    """

    width: Annotated[PositiveInt, Field(multiple_of=2)] = 128
    features: PositiveInt = 256
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 96, 128)
    levels: PositiveInt = 4
    radius: PositiveInt = 4
    iterations: PositiveInt = 9


class SwinSizes(_Sizes):
    """Sizes of the backbone whose features are matched.

    Args:
        width: of the first stage's tokens, doubled from stage to stage.
        depths: blocks of each stage.
        heads: of each stage.
        window: side of a window in cells; pictures need sides that are multiples of 32 * window pixels.
        hidden: of the networks that tell the positions' biases.
    """

    width: PositiveInt = 96
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 6, 2)
    heads: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 6, 12, 24)
    window: PositiveInt = 7
    hidden: PositiveInt = 384

    @model_validator(mode="after")
    def _fits(self) -> "SwinSizes":
        wrong = [heads for width, heads in zip(self.widths, self.heads, strict=True) if width % heads]
        if wrong:
            raise ValueError(f"widths {self.widths} of the four stages are no multiples of heads {self.heads}")
        return self

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four stages."""
        return self.width, 2 * self.width, 4 * self.width, 8 * self.width

    @property
    def multiple(self) -> int:
        """What both sides of a picture are multiples of, in pixels."""
        return PATCH * self.window * 8


class FlowChromaSettings(_Sizes):
    """Sizes of the model, and how its networks are put together.

    Args:
        flow: of the network of flows.
        swin: of the backbone.
        match_width: channels that each scale of the backbone's features is brought to before they are compared.
        fusion: `v1`, a color network of 8 channels, as published; `simple`, four convolutions; `unet`; `placeholder`,
            a weighted mean with nothing to learn.
        fusion_width: channels of the fusion network's first layers; None: as published.
        color_width: channels of the color network's first layers.
        train_tokens: keys that the network of flows was trained with, on average.
        memory_keys: `own`, or `values` for networks of FlowChroma's first version.
        max_history: pairs of frames that are remembered; None: all.
        flow_scale: what flows are multiplied by before colors are carried along: 1, or 8 for published fusion
            networks, which were trained so.
        target_colors: colors of the frame that a flow leads to, which the network of flows looks at: those of the frame
            before, true ones (which no gray video has), or none.
        size: (height, width) of frames in pixels.
        match_size: of the squares in which frames and references are matched, in pixels.
    """

    flow: FlowSizes = FlowSizes()
    swin: SwinSizes = SwinSizes()
    match_width: PositiveInt = 128
    fusion: FusionKind = "v1"
    fusion_width: PositiveInt | None = None
    color_width: PositiveInt = 32
    train_tokens: PositiveFloat = 1568.0
    memory_keys: KeysOfMemory = "own"
    max_history: PositiveInt | None = 1
    flow_scale: PositiveFloat = 1.0
    target_colors: TargetColors = "previous"
    size: tuple[PositiveInt, PositiveInt] = (224, 224)
    match_size: PositiveInt = 224

    @model_validator(mode="after")
    def _fits(self) -> "FlowChromaSettings":
        if self.match_size % self.swin.multiple:
            raise ValueError(
                f"match_size {self.match_size} is no multiple of {self.swin.multiple}, which windows of "
                f"{self.swin.window} cells need to fill a picture at every scale"
            )
        return self


def build_memflow(settings: FlowChromaSettings) -> MemFlow:
    """The network of flows; He-normal weights."""
    sizes = settings.flow
    return MemFlow(
        width=sizes.width,
        features=sizes.features,
        widths=sizes.widths,
        levels=sizes.levels,
        radius=sizes.radius,
        iterations=sizes.iterations,
        train_tokens=settings.train_tokens,
        memory_keys=settings.memory_keys,
    )


def build_swin(settings: FlowChromaSettings) -> SwinPyramid:
    """The backbone; truncated normal weights, N(0, 0.02)."""
    sizes = settings.swin
    return SwinPyramid(
        width=sizes.width, depths=sizes.depths, heads=sizes.heads, window=sizes.window, hidden=sizes.hidden
    )


def build_warpnet(settings: FlowChromaSettings) -> WarpNet:
    """The matching network."""
    return WarpNet(widths=settings.swin.widths, width=settings.match_width)


def build_colornet(settings: FlowChromaSettings) -> ColorVidNet:
    """SwinTExCo's color network, which makes colors of what was matched in a single frame."""
    return ColorVidNet(4, width=settings.color_width)


def build_fusion(settings: FlowChromaSettings) -> FusionNetwork:
    """The fusion network, which knows how colors are carried on to it."""
    network = _fusion(settings.fusion, settings.fusion_width)
    network.carrying = Carrying(
        flow_scale=settings.flow_scale, max_history=settings.max_history, target_ab=settings.target_colors
    )
    return network


def _fusion(kind: FusionKind, width: int | None) -> FusionNetwork:
    if kind == "v1":
        return FusionNetV1() if width is None else FusionNetV1(width=width)
    if kind == "simple":
        return SimpleFusionNet(widths=_SIMPLE if width is None else (width, width, max(1, width // 2)))
    if kind == "unet":
        return UNetFusionNet() if width is None else UNetFusionNet(width=width)
    return PlaceholderFusion()


def build_vgg(settings: FlowChromaSettings) -> Vgg16:
    """The network in whose features colors are compared."""
    return Vgg16()


PARTS: Mapping[str, Callable[[Any], nn.Module]] = {
    "memflow": build_memflow,
    "swin": build_swin,
    "warpnet": build_warpnet,
    "colornet": build_colornet,
    "fusion": build_fusion,
    "vgg": build_vgg,
}
