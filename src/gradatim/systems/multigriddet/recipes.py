"""Published plans of MultiGridDet, and plans for two processor cores."""

from collections.abc import Callable, Mapping
from typing import Any

from gradatim.plan import Plan, Stage, StageDefaults
from gradatim.systems.multigriddet.losses import SCALES_OF_LOSSES

PARTS = ("backbone", "neck", "pre_predict", "predict")
"""Freeze level 0 trains all of them, level 1 all but the backbone, level 2 the last alone."""
_MODERATE = {"mosaic": 0.3, "mixup": 0.1}
_BAND = {"band": 0.2, "terms": ("objectness", "classification"), "reference": "validation", "epochs": 1}
_SHAPES = ("circle", "triangle", "ring", "cross")


def _guards(drift: float, *parts: str, band: bool = True) -> dict[str, Any]:
    """What a stage that fine-tunes promises; with a fresh head there is nothing yet that losses could stay near."""
    held = {"patience": 10, "spike": 2.0, "drift": dict.fromkeys(parts, drift)}
    return {**held, "loss_band": _BAND} if band else held


def _published(sources: Mapping[str, Any], *stages: Stage) -> Plan:
    """Stages at 608 x 608 with batches of 48, in as few pieces as the memory allows."""
    return Plan(
        system="multigriddet",
        model={"classes": 80, "image_size": 608},
        sources=sources,
        defaults=StageDefaults(
            losses=dict(SCALES_OF_LOSSES),
            data={"root": "data"},
            optimizer={"adam": {"eps": 1e-7}},
            batch_size=48,
            accumulate="auto",
            validation={"metric": "loss"},
        ),
        stages=stages,
    )


def finetune() -> Plan:
    """Three stages from a full model: the last convolutions, neck and heads, everything; ever slower."""
    model = {"source": "model"}
    return _published(
        {"model": {"checkpoint": "model5.h5", "layout": "keras"}},
        Stage(
            name="heads",
            task="detect",
            init=dict.fromkeys(PARTS, model),
            train=PARTS[3:],
            lr=1e-4,
            epochs=5,
            guards=_guards(0.3, *PARTS[3:]),
        ),
        Stage(
            name="neck",
            task="detect",
            train=PARTS[1:],
            lr=5e-5,
            epochs=5,
            data={"augment": _MODERATE},
            guards=_guards(0.3, *PARTS[1:]),
        ),
        Stage(
            name="all",
            task="detect",
            train=PARTS,
            lr=3e-5,
            epochs=90,
            schedule={"epoch_cosine": {"warmup": 0}},
            data={"augment": _MODERATE},
            guards=_guards(0.5, *PARTS),
        ),
    )


def from_backbone() -> Plan:
    """Two stages from a backbone: a fresh neck and heads, then everything, briefly faster."""
    return _published(
        {"backbone": {"checkpoint": "darknet53.h5", "layout": "keras"}},
        Stage(
            name="heads",
            task="detect",
            init={"backbone": {"source": "backbone"}, **dict.fromkeys(PARTS[1:], "fresh")},
            train=PARTS[1:],
            lr=1e-4,
            epochs=10,
            data={"augment": _MODERATE},
            guards=_guards(0.5, band=False),
        ),
        Stage(
            name="all",
            task="detect",
            train=PARTS,
            lr=2e-4,
            epochs=90,
            schedule={"epoch_cosine": {"warmup": 0}},
            data={"augment": _MODERATE},
            guards=_guards(0.5, "backbone", band=False),
        ),
    )


_SHAPES_MODEL = {
    "classes": _SHAPES,
    "image_size": 96,
    "width": 0.25,
    "depth": 0.25,
    "anchors": [[[56, 56], [48, 48], [41, 41]], [[35, 35], [30, 30], [26, 26]], [[23, 23], [20, 20], [17, 17]]],
}
_SHAPES_DATA = {
    "root": "shapes",
    "shapes": {
        "count": 3072, "validate_count": 128, "size": 96, "objects": 3, "smallest": 0.2, "largest": 0.6,
        "classes": _SHAPES,
    },
    "augment": {"flip": 0.5, "vertical_flip": 0.5},
}  # fmt: skip


def shapes() -> Plan:
    """From nothing: a narrow detector learns shapes drawn on the spot, in minutes on two cores."""
    return Plan(
        system="multigriddet",
        model=_SHAPES_MODEL,
        defaults=StageDefaults(data=_SHAPES_DATA, batch_size=16),
        stages=(
            Stage(
                name="all",
                task="detect",
                init=dict.fromkeys(PARTS, "fresh"),
                train=PARTS,
                losses=dict(SCALES_OF_LOSSES),
                lr=3e-3,
                schedule={"one_cycle": {}},
                epochs=9,
                clip=10.0,
                validation={"metric": "map50", "every": 9, "keep": "last"},
            ),
        ),
    )


_COCO_SMALL = {
    "classes": 80,
    "image_size": 256,
    "width": 0.25,
    "depth": 0.25,
    "anchors": [
        [[200, 160], [110, 170], [120, 80]],
        [[55, 80], [70, 40], [36, 45]],
        [[24, 24], [14, 18], [8, 10]],
    ],
}


def coco128_small() -> Plan:
    """All levels on a few photographs: a narrow detector from nothing, then opened again from the heads down.

    128 pictures are learned, not understood: what is found in others tells how far that is from detection.
    """
    return Plan(
        system="multigriddet",
        model=_COCO_SMALL,
        defaults=StageDefaults(
            data={"root": "coco128"},
            losses=dict(SCALES_OF_LOSSES),
            batch_size=8,
            validation={"metric": "map50", "every": 50, "keep": "last"},
        ),
        stages=(
            Stage(
                name="learn",
                task="detect",
                init=dict.fromkeys(PARTS, "fresh"),
                train=PARTS,
                lr=3e-3,
                schedule={"one_cycle": {}},
                epochs=100,
                clip=10.0,
            ),
            Stage(name="heads", task="detect", train=PARTS[3:], lr=1e-4, epochs=4, guards=_guards(0.3, *PARTS[3:])),
            Stage(name="neck", task="detect", train=PARTS[1:], lr=5e-5, epochs=4, guards=_guards(0.3, *PARTS[1:])),
            Stage(name="all", task="detect", train=PARTS, lr=3e-5, epochs=4, guards=_guards(0.5, *PARTS)),
        ),
    )


RECIPES: Mapping[str, Callable[[], Plan]] = {
    "finetune": finetune,
    "from_backbone": from_backbone,
    "shapes": shapes,
    "coco128-small": coco128_small,
}
