"""Published plans of IFViT, and a plan for two processor cores."""

from collections.abc import Callable, Mapping
from typing import Any

from gradatim.plan import Plan, Stage

_LOFTR = {"checkpoint": "outdoor_ds.ckpt", "layout": "loftr"}
_LOSSES: Mapping[str, float] = {"dense": 0.5, "cosine": 0.1, "arcface": 1.0}
"""Of the matcher, as published."""
_ADAMW = {"weight_decay": 2e-4, "clip": 1.0}
_MODEL = {"classes": 100, "enhance": True}


def _dense_stage() -> Stage:
    """Module 1: LoFTR's transformer learns which places of two prints are the same."""
    return Stage(
        name="dense",
        task="dense",
        init={"backbone": "fresh", "transformer": _LOFTR},
        train=("backbone", "transformer"),
        losses={"dense": 1.0},
        lr=1e-3,
        schedule={"cosine": {"warmup": 1000, "final": 0.01}},
        epochs=100,
        batch_size=128,
        data={"root": "prints", "layout": "fvc2002", "samples": "dense", "points": 1000},
        validation={"metric": "dense_error"},
        **_ADAMW,
    )


def _matcher_stage(dense: Mapping[str, Any]) -> Stage:
    """Module 2: the trained transformer learns whose prints they are; the rest starts fresh.

    Args:
        dense: the stage of registration, which gives the transformer and lays prints on one another.
    """
    return Stage(
        name="matcher",
        task="match",
        init={"backbone": "fresh", "transformer": dense, "embedding": "fresh", "centers": "fresh"},
        train=("backbone", "transformer", "embedding", "centers"),
        losses=_LOSSES,
        lr=1e-4,
        schedule={"cosine": {"warmup": 5000, "final": 0.01}},
        epochs=70,
        batch_size=128,
        data={"root": "prints", "layout": "fvc2002", "samples": "matcher", "alignments": dense},
        validation={"metric": "eer"},
        **_ADAMW,
    )


def dense() -> Plan:
    """Dense registration from LoFTR's published weights."""
    return Plan(system="ifvit", model=_MODEL, stages=(_dense_stage(),))


def matcher() -> Plan:
    """The matcher from a run of `ifvit/dense`."""
    return Plan(system="ifvit", model=_MODEL, stages=(_matcher_stage({"run": "runs/ifvit-1", "stage": "dense"}),))


def paper() -> Plan:
    """Both in a row: LoFTR, dense registration, matcher."""
    return Plan(system="ifvit", model=_MODEL, stages=(_dense_stage(), _matcher_stage({"stage": "dense"})))


_FINGERS = 480
_SMALL = {
    "classes": _FINGERS, "widths": [16, 32, 64], "width": 64, "heads": 4, "layers": 2, "embedding": 64,
    "dense_size": 128, "match_size": 128, "roi_size": 90, "period": 6.7,
}  # fmt: skip
_DRAWN = {"fingers": _FINGERS, "validate_fingers": 40, "impressions": 4}


def small() -> Plan:
    """From nothing, on fingers drawn on the spot: both stages in minutes on two cores."""
    return Plan(
        system="ifvit",
        model=_SMALL,
        stages=(
            Stage(
                name="dense",
                task="dense",
                init={"backbone": "fresh", "transformer": "fresh"},
                train=("backbone", "transformer"),
                losses={"dense": 1.0},
                lr=2e-3,
                schedule={"one_cycle": {}},
                epochs=5,
                batch_size=16,
                data={"samples": "dense", "points": 256, "imposters": 0.0, "drawn": _DRAWN},
                validation={"metric": "dense_error", "every": 5, "keep": "last"},
                **_ADAMW,
            ),
            Stage(
                name="matcher",
                task="match",
                init={"embedding": "fresh", "centers": "fresh"},
                train=("backbone", "transformer", "embedding", "centers"),
                losses=_LOSSES,
                lr=1e-3,
                schedule={"one_cycle": {}},
                epochs=4,
                batch_size=16,
                data={"samples": "matcher", "points": 64, "imposters": 0.5, "misplaced": 0.01, "drawn": _DRAWN},
                validation={"metric": "eer", "every": 4, "keep": "last"},
                **_ADAMW,
            ),
        ),
    )


RECIPES: Mapping[str, Callable[[], Plan]] = {"dense": dense, "matcher": matcher, "paper": paper, "small": small}
