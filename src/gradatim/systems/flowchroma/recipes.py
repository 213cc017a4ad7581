"""Plans of FlowChroma: as published, and one for two processor cores."""

from collections.abc import Callable, Mapping
from typing import Any

from gradatim.plan import Plan, Stage

_VIDEOS = {"root": "frames"}
_WITH_REFERENCES = {
    **_VIDEOS, "references": "references", "length": 3, "real_reference_probability": 0.1,
}  # fmt: skip
_FLOW = {"checkpoint": "memflow_colorization.pth", "layout": "memflow"}
_VGG = {"checkpoint": "vgg16-397923af.pth", "layout": "vgg16"}
_SWIN = {"hub": "timm/swinv2_cr_tiny_ns_224.sw_in1k", "revision": "main", "layout": "swin"}
_LOSSES: Mapping[str, float] = {"colors": 1.0, "perceptual": 0.05, "contextual": 0.015, "temporal": 0.5}
"""Of the fusion networks, as published."""


def _flow_stage() -> Stage:
    """The published network of flows learns to carry colors."""
    return Stage(
        name="flow",
        task="flow",
        init={"memflow": {"checkpoint": "MemFlowNet_sintel.pth", "layout": "memflow"}},
        train=("memflow",),
        losses={"flow_colors": 1.0},
        lr=1.75e-4,
        weight_decay=1e-4,
        optimizer={"adamw": {"eps": 1e-7}},
        schedule={"one_cycle": {"rise": 0.05, "anneal": "linear"}},
        clip=10.0,
        steps=80_000,
        batch_size=8,
        precision="bf16-mixed",
        data={**_VIDEOS, "samples": "flow"},
        validation={"metric": "flow_error"},
    )


def _fuse_stage(init: Mapping[str, Any], *, warpnet_lr: float) -> Stage:
    """Matching and fusion learn from sequences; flows, backbone and VGG stay as they are."""
    return Stage(
        name="fuse",
        task="fuse",
        init={"fusion": "fresh", "vgg": _VGG, **init},
        train={"warpnet": {"lr": warpnet_lr}, "fusion": {}},
        losses=_LOSSES,
        lr=1e-4,
        weight_decay=1e-4,
        schedule={"cosine": {"every": "epoch", "least": 1e-6}},
        clip=1.0,
        epochs=50,
        batch_size=1,
        accumulate=8,
        precision="bf16-mixed",
        data=_WITH_REFERENCES,
        validation={"metric": "psnr"},
    )


def flow() -> Plan:
    """The color training of the network of flows alone."""
    return Plan(system="flowchroma", stages=(_flow_stage(),))


def pretrained() -> Plan:
    """Fusion with SwinTExCo's trained networks, whose matching is fine-tuned."""
    init = {
        "memflow": _FLOW,
        "swin": {"checkpoint": "swintexco/embed_net.pth", "layout": "swin"},
        "warpnet": {"checkpoint": "swintexco/nonlocal_net.pth", "layout": "warpnet"},
    }
    return Plan(system="flowchroma", stages=(_fuse_stage(init, warpnet_lr=1e-5),))


def scratch() -> Plan:
    """Fusion without SwinTExCo's networks: the backbone is ImageNet's, and matching learns from nothing."""
    init = {"memflow": _FLOW, "swin": _SWIN, "warpnet": "fresh"}
    return Plan(system="flowchroma", stages=(_fuse_stage(init, warpnet_lr=1e-4),))


def paper() -> Plan:
    """All in a row, from public weights alone: flows learn to carry colors, then fusion as in `scratch`."""
    init = {"swin": _SWIN, "warpnet": "fresh"}
    return Plan(system="flowchroma", stages=(_flow_stage(), _fuse_stage(init, warpnet_lr=1e-4)))


_SMALL = {
    "flow": {"width": 32, "features": 32, "widths": [16, 24, 32], "levels": 2, "radius": 3, "iterations": 3},
    "swin": {"width": 24, "depths": [1, 1, 2, 1], "heads": [2, 4, 8, 8], "window": 2, "hidden": 32},
    "match_width": 24, "fusion": "simple", "train_tokens": 100.0, "size": [64, 64], "match_size": 64,
}  # fmt: skip
_DRAWN = {"drawn": {"count": 160, "frames": 8}, "holdout": 0.1}


def small() -> Plan:
    """From nothing, on videos drawn on the spot: all stages in minutes on two cores."""
    return Plan(
        system="flowchroma",
        model=_SMALL,
        stages=(
            Stage(
                name="flow",
                task="flow",
                init={"memflow": "fresh"},
                train=("memflow",),
                losses={"flow_colors": 1.0},
                lr=1e-3,
                schedule={"one_cycle": {}},
                clip=1.0,
                epochs=2,
                batch_size=4,
                data={"samples": "flow", **_DRAWN},
                validation={"metric": "flow_error", "every": 2},
            ),
            Stage(
                name="match",
                task="match",
                init={"swin": "fresh", "warpnet": "fresh"},
                train=("swin", "warpnet"),
                losses={"matched_colors": 1.0},
                lr=1e-3,
                schedule={"one_cycle": {}},
                clip=1.0,
                epochs=3,
                batch_size=4,
                data=_DRAWN,
                validation={"metric": "match_error", "every": 3},
            ),
            Stage(
                name="fuse",
                task="fuse_alone",
                init={"fusion": "fresh"},
                train={"warpnet": {"lr": 1e-4}, "fusion": {}},
                losses={"colors": 1.0, "temporal": 0.5},
                lr=2e-3,
                schedule={"one_cycle": {}},
                clip=1.0,
                epochs=1,
                batch_size=4,
                data=_DRAWN,
                validation={"metric": "psnr"},
            ),
        ),
    )


RECIPES: Mapping[str, Callable[[], Plan]] = {
    "flow": flow, "pretrained": pretrained, "scratch": scratch, "paper": paper, "small": small,
}  # fmt: skip
