"""Sizes of MultiGridDet, and its parts built from them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from torch import nn

from gradatim.systems.multigriddet.parts.backbone import STRIDES, Darknet
from gradatim.systems.multigriddet.parts.heads import Neck, Predict, PrePredict

Anchor = tuple[PositiveFloat, PositiveFloat]
ScaleAnchors = Annotated[tuple[Anchor, ...], Field(min_length=1)]

COCO_ANCHORS = (
    ((112.0, 74.0), (149.0, 190.0), (370.0, 328.0)),
    ((28.0, 17.0), (56.0, 112.0), (57.0, 35.0)),
    ((9.0, 10.0), (13.0, 28.0), (28.0, 55.0)),
)
"""Anchors of the published model at 608 x 608, for strides 32, 16 and 8."""
_WIDTHS = (32, 64, 128, 256, 512, 1024)
_BLOCKS = (1, 2, 8, 8, 4)
_HEADS = (512, 256, 128)
_FACTORS = (8, 4, 2)


def _square(value: Any) -> Any:
    """Read one number as the side of a square."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


class MultiGridDetSettings(BaseModel):
    """Sizes of the model.

    Args:
        classes: how many, or their names in order.
        anchors: (width, height) in pixels of the network's input for strides 32, 16 and 8, large ones first.
        image_size: (height, width) of the network's input, multiples of 32; one number means a square.
        width: factor of all channels; 1 is the published model.
        depth: factor of the residual blocks of each stage.
        widths: channels of the stem and the five stages, instead of `width`.
        blocks: residual blocks of the five stages, instead of `depth`.
        head_widths: C of the three scales of the neck, instead of `width`.
        pooling: spatial pyramid pooling at the coarsest scale, which the published model has not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: PositiveInt | Annotated[tuple[str, ...], Field(min_length=1)] = 80
    anchors: tuple[ScaleAnchors, ScaleAnchors, ScaleAnchors] = COCO_ANCHORS
    image_size: Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_square)] = (608, 608)
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    depth: Annotated[float, Field(gt=0, le=4)] = 1.0
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None = None
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None = None
    head_widths: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    pooling: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "MultiGridDetSettings":
        if any(side % STRIDES[0] for side in self.image_size):
            near = [max(1, round(side / STRIDES[0])) * STRIDES[0] for side in self.image_size]
            raise ValueError(f"image_size {list(self.image_size)}: no multiples of {STRIDES[0]}; the nearest is {near}")
        areas = [max(w * h for w, h in one) for one in self.anchors]
        if areas != sorted(areas, reverse=True):
            raise ValueError("anchors: the largest belong to stride 32 and come first, the smallest to stride 8")
        odd = [f"widths.{i}" for i, width in enumerate(self.channels[1:], 1) if width % 2]
        odd += [f"head_widths.{i}" for i, width in enumerate(self.heads) if width % 2]
        if odd:
            raise ValueError(f"{', '.join(odd)}: must be even, since blocks halve them")
        return self

    @property
    def count(self) -> int:
        """Number of classes."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; their numbers where the plan has no names."""
        return tuple(map(str, range(self.classes))) if isinstance(self.classes, int) else self.classes

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the stem and the stages."""
        return self.widths or tuple(_even(width * self.width) for width in _WIDTHS)

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """Residual blocks of the stages."""
        return self.blocks or tuple(max(1, round(count * self.depth)) for count in _BLOCKS)

    @property
    def heads(self) -> tuple[int, ...]:
        """C of the scales."""
        return self.head_widths or tuple(_even(width * self.width) for width in _HEADS)

    @property
    def wide(self) -> tuple[int, ...]:
        """Channels before the predictions; they follow the first scale's number of anchors, at every scale."""
        return tuple(factor * (len(self.anchors[0]) + self.count + 5) for factor in _FACTORS)


def _even(width: float) -> int:
    return max(2, 2 * round(width / 2))


def build_backbone(settings: MultiGridDetSettings) -> Darknet:
    """Images to features at three scales, fresh weights."""
    return Darknet(settings.channels, settings.stage_blocks)


def build_neck(settings: MultiGridDetSettings) -> Neck:
    """Features to trunks, fresh weights."""
    return Neck(tuple(reversed(settings.channels[-3:])), settings.heads, pooling=settings.pooling)


def build_pre_predict(settings: MultiGridDetSettings) -> PrePredict:
    """Trunks to wide features, fresh weights."""
    return PrePredict([width // 2 for width in settings.heads], settings.wide)


def build_predict(settings: MultiGridDetSettings) -> Predict:
    """Wide features to predictions, fresh weights."""
    return Predict(settings.wide, settings.anchors, settings.count)


PARTS: Mapping[str, Callable[[MultiGridDetSettings], nn.Module]] = {
    "backbone": build_backbone,
    "neck": build_neck,
    "pre_predict": build_pre_predict,
    "predict": build_predict,
}


def sizes_of(shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model that arrays of these shapes belong to.

    Args:
        shapes: by our names; parts may be absent.
        given: settings that are known; they win.
    """
    found: dict[str, Any] = {}
    if "backbone.stem.conv.weight" in shapes:
        stages = sorted({int(name.split(".")[2]) for name in shapes if name.startswith("backbone.stages.")})
        downs = [shapes[f"backbone.stages.{stage}.down.conv.weight"][0] for stage in stages]
        found["widths"] = (shapes["backbone.stem.conv.weight"][0], *downs)
        found["blocks"] = tuple(
            len({name.split(".")[4] for name in shapes if name.startswith(f"backbone.stages.{stage}.blocks.")})
            for stage in stages
        )
    if "neck.trunks.0.1.conv.weight" in shapes:
        found["head_widths"] = tuple(shapes[f"neck.trunks.{scale}.1.conv.weight"][0] for scale in range(3))
        found["pooling"] = any(name.startswith("neck.pooling.") for name in shapes)
    if "predict.convs.0.weight" in shapes:
        anchors = given.get("anchors", COCO_ANCHORS)
        found["classes"] = shapes["predict.convs.0.weight"][0] - 5 - len(anchors[0])
    return {name: value for name, value in found.items() if name not in given}
