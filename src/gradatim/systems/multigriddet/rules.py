"""Rules that keep a plan from unlearning what a detector's weights know, each with its reason.

A plan fine-tunes where its first stage takes the predictions from a file or a run; where only the backbone comes from
one, the head is fresh and has nothing to lose yet.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from gradatim.plan import Plan, Rule, Stage
from gradatim.systems.multigriddet.augment import Augmentation
from gradatim.systems.multigriddet.losses import SCALES_OF_LOSSES

SAFE_LR, FRESH_HEAD_LR = 1e-4, 2e-4
MOST_MOSAIC, MOST_MIXUP = 0.3, 0.1
_INSIDE = {"assess.object_scale": 1.0, "assess.no_object_scale": 0.5}
_LEVELS = {("predict",): 2, ("neck", "pre_predict", "predict"): 1, ("backbone", "neck", "pre_predict", "predict"): 0}
Found = Iterator[tuple[int, str, str]]


def _from_elsewhere(plan: Plan, part: str) -> bool:
    """Whether a part's first weights come from outside the plan, whole."""
    source = next((stage.init[part] for stage in plan.stages if part in stage.init), None)
    return source is not None and source != "fresh" and not getattr(source, "reinitialise", ())


def fine_tunes(plan: Plan) -> bool:
    """Whether the plan starts from a full model."""
    return _from_elsewhere(plan, "predict")


def starts_from_weights(plan: Plan) -> bool:
    """Whether the plan starts from a full model, or from a backbone alone."""
    return _from_elsewhere(plan, "backbone")


def _level(stage: Stage) -> int | None:
    return _LEVELS.get(tuple(sorted({name.partition(".")[0] for name in stage.trained()})))


def _rates(stage: Stage) -> float:
    """The highest learning rate of a stage."""
    rates = [
        (how.lr or training.lr) for training in stage.trainings().values() for how in training.train.values()
    ]  # fmt: skip
    return max(rates, default=0.0)


def _strength(stage: Stage, name: str) -> float:
    """Probability of a way to mix pictures; 0 where the settings are wrong, which is told elsewhere."""
    try:
        return float(getattr(Augmentation.model_validate(stage.data.get("augment", {})), name))
    except ValidationError:
        return 0.0


def _fast(plan: Plan) -> Found:
    if not starts_from_weights(plan):
        return
    limit = SAFE_LR if fine_tunes(plan) else FRESH_HEAD_LR
    for index, stage in enumerate(plan.stages):
        if _rates(stage) > limit * (1 + 1e-9):
            yield index, "lr", f"lr {_rates(stage):g} is above {limit:g}"


def _jump(plan: Plan) -> Found:
    if not starts_from_weights(plan):
        return
    for index, (before, after) in enumerate(pairwise(plan.stages), 1):
        if _level(before) == 2 and _level(after) == 0:
            yield (
                index,
                "train",
                f"after {before.name!r}, which trains the last convolutions alone, everything is opened",
            )


def _frozen(plan: Plan) -> Found:
    if not fine_tunes(plan):
        return
    for index, stage in enumerate(plan.stages):
        if _level(stage) != 2:
            continue
        for name in ("mosaic", "mixup"):
            if _strength(stage, name) > 0:
                yield index, "data", f"{name} {_strength(stage, name):g} with a frozen trunk"


def _strong(plan: Plan) -> Found:
    if not starts_from_weights(plan):
        return
    for index, stage in enumerate(plan.stages):
        for name, most in (("mosaic", MOST_MOSAIC), ("mixup", MOST_MIXUP)):
            if _strength(stage, name) > most:
                yield index, "data", f"{name} {_strength(stage, name):g} is above {most:g}"


def _scales(plan: Plan) -> Found:
    if not fine_tunes(plan):
        return
    for index, stage in enumerate(plan.stages):
        for training in stage.trainings().values():
            for name, right in SCALES_OF_LOSSES.items():
                given = training.losses.get(name, 0.0)
                if given != right:
                    yield index, "losses", f"{name} weighs {given:g} instead of {right:g}"
        for option, right in _INSIDE.items():
            found = stage.options.get(option, right)
            if float(found) != right:
                yield index, "options", f"{option} is {found} instead of {right:g}"


def _normalization(stage: Stage) -> tuple[str, ...]:
    found = stage.options.get("assess.normalization", ("batch",))
    return tuple(word.strip() for word in found.strip("[]()").split(",")) if isinstance(found, str) else tuple(found)


def _grid(plan: Plan) -> Found:
    if not starts_from_weights(plan):
        return
    for index, stage in enumerate(plan.stages):
        if "grid" in _normalization(stage):
            yield index, "options", "losses are divided by the number of cells"


def _renormalized(plan: Plan) -> Found:
    if not starts_from_weights(plan):
        return
    for index, stage in enumerate(plan.stages):
        words = _normalization(stage)
        if "positives" in words:
            yield index, "options", (
                f"losses are divided by {' times '.join(words)}: each becomes smaller by the number of cells that tell "
                "an object"
            )  # fmt: skip


def _knobs(plan: Plan) -> Found:
    if not starts_from_weights(plan):
        return
    for index, (before, after) in enumerate(pairwise(plan.stages), 1):
        turned = []
        if _rates(before) != _rates(after):
            turned.append(f"lr {_rates(before):g} -> {_rates(after):g}")
        if before.step_samples != after.step_samples:
            turned.append(f"batch {before.step_samples} -> {after.step_samples}")
        if before.data.get("augment") != after.data.get("augment"):
            turned.append("augmentation")
        if _normalization(before) != _normalization(after):
            turned.append("normalization")
        if len(turned) > 1:
            yield index, "data", f"between {before.name!r} and this stage: {', '.join(turned)}"


def _rule(check: Callable[[Plan], Any], why: str, *, error: bool = True) -> Rule:
    return Rule(why=why, check=check, error=error)


RULES: Mapping[str, Rule] = {
    "untraining-lr": _rule(
        _fast,
        "above 1e-4 a fully trained model unlearns within an epoch; 2e-4 is for stages behind a fresh head alone",
    ),
    "opened-at-once": _rule(
        _jump, "a stage that trains the neck with the heads must come between; else the backbone learns from a neck "
        "that does not fit the new heads yet",
    ),
    "frozen-augmentation": _rule(
        _frozen, "frozen layers cannot follow mixed pictures, and the heads learn from boxes that they never see again"
    ),
    "strong-augmentation": _rule(
        _strong, "stronger mixing than 0.3 mosaic and 0.1 mixup leaves the pictures that the weights were trained on"
    ),
    "loss-scales": _rule(
        _scales, "the weights were trained with location 5, objectness 1, its absence 0.5, anchor 1, classification 1"
    ),
    "grid-normalization": _rule(
        _grid, "losses shrink by the number of cells, thousands of times, and the weights' balance is lost"
    ),
    "positives-normalization": _rule(
        _renormalized, "it changes the size of all gradients; add it only where mosaic injects many objects and they "
        "become unstable", error=False,
    ),
    "several-knobs": _rule(
        _knobs, "turn one at a time, and what helps or harms can be told", error=False
    ),
}  # fmt: skip
