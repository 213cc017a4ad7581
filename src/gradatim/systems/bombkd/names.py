"""Names of the public video backbones, with the sizes of their networks; nothing here needs their library.

Two tables of names exist: that of the authors' guide, and that of their latest code. They agree but for
`timesformer`, which here is the guide's; the latest code's is `timesformer-k600`. (In the latest code the guide's
`vjepa2` and `videomae` mean nothing and became random layers without a word.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gradatim.errors import PlanError, unknown

Order = Literal["thw", "hwt"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all backbones of one architecture share.

    Args:
        config: class of the library's configuration.
        model: class of the library's network.
        argument: name of the network's input.
        class_token: whether the first token stands for the whole clip; it is left out.
        order: of the tokens, "thw" for time first or "hwt" for place first.
        size: name of the configuration's image size.
        fixed_frames: whether the network takes the number of frames that it was built for and no other.
        mean, std: of the channels.
        signed: whether pixels are brought to [-1, 1] before `mean` and `std` apply.
        border: whether the published preparation resizes to more than it crops, by 256/224.
        older: names that fields of the configuration had in older versions of the library.
    """

    config: str
    model: str
    argument: str = "pixel_values"
    class_token: bool = False
    order: Order = "thw"
    size: str = "image_size"
    fixed_frames: bool = True
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    signed: bool = False
    border: bool = False
    older: Mapping[str, str] = field(default_factory=dict)


FAMILIES: Mapping[str, Family] = {
    "vjepa2": Family(
        config="VJEPA2Config",
        model="VJEPA2Model",
        argument="pixel_values_videos",
        size="crop_size",
        fixed_frames=False,
        border=True,
        older={"image_size": "crop_size"},
    ),
    "videomae": Family(config="VideoMAEConfig", model="VideoMAEModel", older={"qkv_bias": "qv_bias"}),
    "timesformer": Family(
        config="TimesformerConfig",
        model="TimesformerModel",
        class_token=True,
        order="hwt",
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    ),
    "vivit": Family(
        config="VivitConfig",
        model="VivitModel",
        class_token=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        signed=True,
        border=True,
    ),
}
"""Architectures, by the library's name of the model's type."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A public backbone.

    Args:
        hub: its repository.
        family: its architecture.
        config: fields of the library's configuration.
        frames: that it is given, where its network takes any number.
        names: all names that stand for it, lower case, beside `hub`.
    """

    hub: str
    family: str
    config: Mapping[str, Any]
    names: tuple[str, ...]
    frames: int | None = field(default=None)


_GIANT = {
    "hidden_size": 1408,
    "num_hidden_layers": 40,
    "num_attention_heads": 22,
    "mlp_ratio": 48 / 11,
    "patch_size": 16,
    "tubelet_size": 2,
    "crop_size": 384,
}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_MAE = {**_BASE, "patch_size": 16, "tubelet_size": 2, "image_size": 224, "num_frames": 16}
_TIMESFORMER = {**_BASE, "patch_size": 16, "image_size": 448, "num_frames": 16}

PUBLISHED: tuple[Published, ...] = (
    Published(
        hub="facebook/vjepa2-vitl-fpc64-256",
        family="vjepa2",
        config={
            **_GIANT,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "mlp_ratio": 4.0,
            "crop_size": 256,
            "frames_per_clip": 64,
        },
        names=("vjepa2",),
        frames=64,
    ),
    Published(
        hub="facebook/vjepa2-vitg-fpc64-384",
        family="vjepa2",
        config={**_GIANT, "frames_per_clip": 64},
        names=("vjepa2g", "vjepa2-64"),
        frames=64,
    ),
    Published(
        hub="facebook/vjepa2-vitg-fpc64-384-ssv2",
        family="vjepa2",
        config={**_GIANT, "frames_per_clip": 64},
        names=("vjepa2ssv2", "vjepa2-64-ssv2"),
        frames=64,
    ),
    Published(
        hub="facebook/vjepa2-vitg-fpc32-384-diving48",
        family="vjepa2",
        config={**_GIANT, "frames_per_clip": 32},
        names=("vjepa2div", "vjepa2-32-div"),
        frames=32,
    ),
    Published(
        hub="MCG-NJU/videomae-base-finetuned-kinetics",
        family="videomae",
        config={**_MAE, "use_mean_pooling": True},
        names=("videomae",),
    ),
    Published(
        hub="MCG-NJU/videomae-huge-finetuned-kinetics",
        family="videomae",
        config={
            **_MAE,
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "intermediate_size": 5120,
            "use_mean_pooling": True,
        },
        names=("videomaeg", "videomae-g", "videomae-kinetics"),
    ),
    Published(
        hub="MCG-NJU/videomae-base-ssv2",
        family="videomae",
        config={**_MAE, "use_mean_pooling": False},
        names=("videomaessv2", "videomae-ssv2"),
    ),
    Published(
        hub="facebook/timesformer-base-finetuned-ssv2",
        family="timesformer",
        config={**_TIMESFORMER, "image_size": 224, "num_frames": 8},
        names=("timesformer",),
    ),
    Published(
        hub="facebook/timesformer-hr-finetuned-k600",
        family="timesformer",
        config=_TIMESFORMER,
        names=("timesformerg", "timesformer-k600"),
    ),
    Published(
        hub="facebook/timesformer-hr-finetuned-ssv2",
        family="timesformer",
        config=_TIMESFORMER,
        names=("timesformerssv2", "timesformer-ssv2"),
    ),
    Published(
        hub="google/vivit-b-16x2-kinetics400",
        family="vivit",
        config={**_BASE, "tubelet_size": [2, 16, 16], "image_size": 224, "num_frames": 32},
        names=("vivit",),
    ),
)

IDENTITY = "identity"
"""Name of the stand-in for tests: a linear layer on a clip's mean color."""

BACKBONES: Mapping[str, Published] = {
    name.lower(): published for published in PUBLISHED for name in (*published.names, published.hub)
}
"""Public backbones by each of their names."""


def find_backbone(name: str) -> Published:
    """The public backbone of a name, in any case of letters.

    Raises:
        PlanError: no such backbone.
    """
    if name.lower() not in BACKBONES:
        raise PlanError(unknown("backbone", name, [*BACKBONES, IDENTITY]))
    return BACKBONES[name.lower()]
