"""After a run: is the model better than chance, still what it was, at least as good as before, and finite?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradatim.data.dataset import Dataset
from gradatim.engine.build import build_part, converted_options, settings_of
from gradatim.engine.checked import checked_plan
from gradatim.engine.device import Place, this_place
from gradatim.engine.judge import Judge, Judgement
from gradatim.engine.model import load_run
from gradatim.engine.prepare import with_prepared
from gradatim.engine.sources import Builder, load_sources
from gradatim.errors import GradatimError, PlanError, RunError, unknown
from gradatim.find import read_plan_document
from gradatim.plan.plan import Plan
from gradatim.plan.stage import Band, Stage, Validation
from gradatim.runs import read_events
from gradatim.runs.folder import RunFolder
from gradatim.system import System

BAND = 0.2
"""Relative change of a loss term from its value with the pretrained weights that counts as unchanged."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question about a run.

    Args:
        question: in a few words.
        holds: whether the answer is yes; None where the run cannot tell.
        found: figures, in words.
        figures: the same by name.
    """

    question: str
    holds: bool | None
    found: str
    figures: Mapping[str, float]


def verify_run(
    folder: Path, *, metric: str | None = None, system: System | None = None, device: str | None = None
) -> list[Answer]:
    """Answer four questions about a finished run on the validation data of its last stage.

    1. Is the loss lower than with random weights, on the same batches?
    2. Are the loss terms, those that the plan's `loss_band` names, within 20 % of those of the weights that the run
       started from?
    3. Is the metric at least that of those weights?
    4. Is every weight and every logged loss finite?

    The second and third need weights that the run took from elsewhere for every part; they are loaded again.

    Args:
        folder: of the run.
        metric: name; None takes the stage's own if it is a metric and no loss, else the first of the system's of which
            higher is better.
        system: where it is not one that can be found by name.
        device: such as `cpu` or `cuda:0`.

    Raises:
        RunError: no run, or not finished.
        PlanError: no such metric.
    """
    run = RunFolder(folder)
    model = load_run(folder, system=system)
    plan, found_system, _ = checked_plan(read_plan_document(str(folder)), system)
    if not run.model.is_file():
        raise RunError(f"{folder}: not finished; `gradatim run` goes on with it")
    judges = _Judges(run, plan, found_system, metric, this_place(device))
    now = judges.judged(dict(model.parts))
    random = judges.judged(
        {name: build_part(found_system, judges.settings, name, plan.seed + 1) for name in model.parts}
    )  # fmt: skip
    before, why = judges.pretrained(tuple(model.parts))
    return [
        _better_than_random(now, random, judges.stage),
        _in_band(now, before, why, judges.banded),
        _at_least(now, before, why, judges),
        _finite(dict(model.parts), folder),
    ]


class _Judges:
    """Judges models on the validation data of a plan's last stage."""

    def __init__(self, run: RunFolder, plan: Plan, system: System, metric: str | None, place: Place) -> None:
        self.plan, self.system, self.place = plan, system, place
        self.settings = settings_of(system, plan)
        last = plan.stages[-1]
        self.metric = _metric(system, last, metric)
        self.stage = last.model_copy(
            update={
                "validation": Validation(metric=self.metric),
                "guards": last.guards.model_copy(update={"loss_band": Band(band=BAND, reference="validation")}),
            }
        )
        read = with_prepared(system, last, run.stage(len(plan.stages), last.name))
        data = system.data_settings(read)
        self.data: Dataset = system.data.open(data, "validate")

    @property
    def banded(self) -> Sequence[str]:
        """Loss terms that shall stay near those of the pretrained weights."""
        bands = [stage.guards.loss_band for stage in self.plan.stages if stage.guards.loss_band]
        return next((band.terms for band in bands if band.terms), self.stage.loss_names())

    def judged(self, parts: Mapping[str, nn.Module]) -> Judgement:
        """Metric and loss terms of a model."""
        on_device = {name: part.to(self.place.device).eval() for name, part in parts.items()}
        options = converted_options(self.system, self.stage)
        judge = Judge(
            system=self.system,
            stage=self.stage,
            options=options,
            parts=on_device,
            dataset=self.data,
            place=self.place,
            seed=self.plan.seed,
        )
        return judge()

    def pretrained(self, names: Sequence[str]) -> tuple[Judgement | None, str]:
        """What the weights gave that the run started from, or why nobody can tell."""
        builder = Builder(
            system=self.system, settings=self.settings, seed=self.plan.seed, allow=self.plan.allow
        )  # fmt: skip
        parts: dict[str, nn.Module] = {}
        for stage in self.plan.stages:
            wanted = [name for name in stage.init if name.partition(".")[0] in names]
            wanted = [name for name in wanted if name.partition(".")[0] not in parts]
            fresh = [name for name in wanted if stage.init[name] == "fresh"]
            if fresh:
                return None, f"part {fresh[0]!r} started fresh"
            anew = [name for name in wanted if getattr(stage.init[name], "reinitialise", ())]
            if anew:
                return None, f"arrays of part {anew[0]!r} started anew"
            try:
                loaded = load_sources(stage, builder, wanted)
            except GradatimError as error:
                first = str(error).splitlines()[0]
                return None, f"the weights that it started from cannot be read any more: {first}"
            parts |= {name: one.module for name, one in loaded.items()}
        missing = [name for name in names if name not in parts]
        return (None, f"part {missing[0]!r} has no origin outside the run") if missing else (self.judged(parts), "")


def _metric(system: System, last: Stage, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in system.metrics:
            raise PlanError(f"--metric: {unknown('metric', wanted, system.metrics)}")
        return wanted
    own = last.validation.metric if last.validation else None
    upward = [name for name, metric in system.metrics.items() if metric.higher_is_better]
    if own in system.metrics or not upward:
        return own or next(iter(system.metrics))
    made = {value for step in system.task_of(last).names for value in step.makes}
    fitting = [name for name in upward if set(system.read_metrics[name].names.needs) <= made | set(system.fields)]
    return fitting[0] if fitting else upward[0]


def _better_than_random(now: Judgement, random: Judgement, stage: Stage) -> Answer:
    ours, theirs = stage.total(now.terms), stage.total(random.terms)
    return Answer(
        question="validation loss below that of random weights",
        holds=ours < theirs,
        found=f"{ours:.4g} against {theirs:.4g}",
        figures={"loss": ours, "random_loss": theirs},
    )


def _in_band(now: Judgement, before: Judgement | None, why: str, banded: Sequence[str]) -> Answer:
    question = f"{', '.join(banded)} within {BAND:.0%} of the pretrained"
    if before is None:
        return Answer(question=question, holds=None, found=why, figures={})
    ratios = {name: now.terms[name] / value if value else math.inf for name, value in before.terms.items()}
    return Answer(
        question=question,
        holds=all(abs(ratios[name] - 1) <= BAND for name in banded if name in ratios),
        found=", ".join(f"{name} x {ratio:.3g}" for name, ratio in ratios.items()),
        figures=ratios,
    )


def _at_least(now: Judgement, before: Judgement | None, why: str, judges: _Judges) -> Answer:
    question = f"{judges.metric} at least the pretrained one"
    if before is None:
        return Answer(question=question, holds=None, found=f"{now.value:.4g}; {why}", figures={"value": now.value})
    better = now.value >= before.value if judges.system.higher_is_better(judges.metric) else now.value <= before.value
    return Answer(
        question=question,
        holds=better,
        found=f"{now.value:.4g} against {before.value:.4g}",
        figures={"value": now.value, "pretrained": before.value},
    )


def _finite(parts: Mapping[str, nn.Module], folder: Path) -> Answer:
    arrays = [array for part in parts.values() for array in part.state_dict().values() if array.is_floating_point()]
    wrong = sum(int((~torch.isfinite(array)).sum()) for array in arrays)
    events: list[dict[str, Any]] = list(read_events(folder / "events.jsonl"))
    losses = [value for event in events for value in event.get("losses", {}).values()]
    bad = sum(not math.isfinite(float(value)) for value in losses)
    returns = sum(event["event"] == "guard" and event.get("guard") == "nonfinite" for event in events)
    return Answer(
        question="no value that is not finite",
        holds=not (wrong or bad or returns),
        found=f"{wrong} in {len(arrays)} arrays, {bad} of {len(losses)} logged losses, {returns} steps taken back",
        figures={"weights": wrong, "losses": bad, "returns": returns},
    )
