"""Validation: a metric or loss over the whole validation set, in the set's order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gradatim.data.batches import plain_batches
from gradatim.data.dataset import Dataset
from gradatim.data.random import keyed_seed
from gradatim.engine.device import Place
from gradatim.engine.feed import Feed
from gradatim.engine.module import read_fields
from gradatim.errors import DataError
from gradatim.plan.stage import Stage
from gradatim.system import System
from gradatim.task import Task


@dataclass(frozen=True)
class Judgement:
    """What validation found.

    Args:
        value: of the stage's metric.
        terms: loss terms over the validation set, where they were asked for.
    """

    value: float
    terms: Mapping[str, float]


def build_judge(
    system: System,
    stage: Stage,
    options: Mapping[str, Any],
    parts: Mapping[str, nn.Module],
    dataset: Dataset,
    place: Place,
    seed: int,
    feed: Feed | None = None,
) -> tuple[Callable[[], Judgement], bool]:
    """A function that computes the stage's metric, and whether higher is better.

    Where the stage's `loss_band` refers to validation, the function computes its losses too.

    Raises:
        DataError: the validation set is empty.
    """
    assert stage.validation is not None
    metric = stage.validation.metric
    task = system.task_of(stage)
    known = {**system.read_losses, **system.read_metrics}
    call = known[metric]
    higher = metric in system.metrics and system.metrics[metric].higher_is_better
    band = stage.guards.loss_band
    losses = stage.loss_names() if band is not None and band.reference == "validation" else ()
    named = [metric, *(name for name in losses if name != metric)]
    needs = {value for name in named for value in known[name].names.needs}
    want = [name for name in system.wants(named) if name in needs or name in _makes(task)]
    fields = read_fields(system, stage, named, feed.names if feed is not None else ())
    measured = {name: system.read_losses[name].bound(options) for name in losses}
    size = stage.validation.batch_size or stage.batch_size
    measure = call.bound(options)
    over = system.metrics[metric].over if metric in system.metrics else None
    if not len(dataset):
        raise DataError(
            f"stage {stage.name!r}: the validation set is empty; hold samples out, or leave `validate` away"
        )

    @torch.no_grad()
    def judge() -> Judgement:
        # Trained parts are in train mode between validations; what is held still ignores both calls.
        learning = [module for part in parts.values() for module in part.modules() if module.training]
        for part in parts.values():
            part.eval()
        total, count = 0.0, 0
        collected: list[Any] = []
        terms = dict.fromkeys(losses, 0.0)
        generator, reseed = torch.Generator(place.device), place.seeder()
        for indices, batch in plain_batches(dataset, fields, size):
            generator.manual_seed(keyed_seed(seed, stage.name, "validate", indices[0]))
            reseed(generator.initial_seed())
            if feed is not None:
                batch |= feed.gather(np.array(indices))
            sent = place.send(batch)
            sent = feed.restored(sent) if feed is not None else sent
            values = task.compute(parts, sent, want=want, options=options, generator=generator)
            found = {**sent, **values}
            count += len(indices)
            for name, loss in measured.items():
                terms[name] += float(loss(found).double().sum()) * len(indices)
            result = measure(found)
            if over is not None:
                collected.append(result)
                continue
            # A loss that is the sum of several gives them all.
            result = result.double().sum() if metric in system.losses else result.double()
            total += float(result.sum()) if result.ndim else float(result) * len(indices)
        for module in learning:
            module.training = True
        value = total / count if over is None else over(collected)
        return Judgement(value, {name: term / count for name, term in terms.items()})

    return judge, higher


def _makes(task: Task) -> set[str]:
    return {value for step in task.names for value in step.makes}
