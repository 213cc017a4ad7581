"""Published plans of MultiGridDet with the rules that keep them from unlearning, and plans for two processor cores."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from gradatim.plan import Plan, Rule, Stage, StageDefaults
from gradatim.systems.multigriddet.losses import SCALES_OF_LOSSES

PARTS = ("backbone", "neck", "pre_predict", "predict")
LEVELS: Mapping[int, tuple[str, ...]] = {0: PARTS, 1: PARTS[1:], 2: PARTS[3:]}
"""What learns at each freeze level; the original's level 2 freezes all but the three last convolutions."""
_MODERATE = {"mosaic": 0.3, "mixup": 0.1}
_SAFE_LR, _FRESH_HEAD_LR = 1e-4, 2e-4
_ADAM = {"adam": {"eps": 1e-7}}
_GUARDS = {"patience": 10, "loss_band": {"band": 0.2, "terms": ("objectness", "classification"), "reference": "validation", "until": 1}}


def _stages(*stages: Stage, source: Mapping[str, Any], classes: int = 80) -> Plan:
    return Plan(
        system="multigriddet",
        model={"classes": classes, "image_size": 608},
        sources=source,
        defaults=StageDefaults(
            task="detect",
            losses=dict(SCALES_OF_LOSSES),
            data={"root": "data"},
            optimizer=_ADAM,
            batch_size=12,
            accumulate=4,
            validation={"metric": "loss"},
        ),
        stages=stages,
    )
