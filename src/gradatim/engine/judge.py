"""Validation: a metric or loss over the whole validation set, in the set's order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


@dataclass(frozen=True)
class Judgement:
    """What validation found.

    Args:
        value: of the stage's metric.
        terms: loss terms over the validation set, where they were asked for.
    """

    value: float
    terms: Mapping[str, float]


class _Figure:
    """A metric or a loss of the whole set, gathered batch by batch."""

    def __init__(self, system: System, name: str, options: Mapping[str, Any]) -> None:
        known = {**system.read_losses, **system.read_metrics}
        self._measure = known[name].bound(options)
        # A loss that is the sum of several gives them all.
        self._summed = name in system.losses
        self._over = system.metrics[name].over if name in system.metrics else None
        self._collected: list[Any] = []
        self._total, self._count = 0.0, 0

    def add(self, values: Mapping[str, Any], count: int) -> None:
        """Take a batch of `count` samples."""
        result = self._measure(values)
        self._count += count
        if self._over is not None:
            self._collected.append(result)
            return
        result = result.double().sum() if self._summed else result.double()
        self._total += float(result.sum()) if result.ndim else float(result) * count

    @property
    def value(self) -> float:
        return self._total / self._count if self._over is None else self._over(self._collected)


@contextmanager
def _evaluating(parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Evaluation mode without gradients; then the modes that were. What is held still ignores both."""
    learning = [module for part in parts.values() for module in part.modules() if module.training]
    for part in parts.values():
        part.eval()
    with torch.no_grad():
        yield
    for module in learning:
        module.training = True


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Computes a stage's metric, and its losses where its `loss_band` refers to validation.

    Args:
        system, stage: that judge.
        options: of the stage's steps, losses and metric.
        parts: the model.
        dataset: validation samples.
        place: device and rank.
        seed: of the plan.
        feed: stored features, where some are.

    Raises:
        DataError: the validation set is empty.
    """

    system: System
    stage: Stage
    options: Mapping[str, Any]
    parts: Mapping[str, nn.Module]
    dataset: Dataset
    place: Place
    seed: int
    feed: Feed | None = None

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise DataError(
                f"stage {self.stage.name!r}: the validation set is empty; hold samples out, or leave `validate` away"
            )

    def __call__(self) -> Judgement:
        """Judge the model as it is now; its modes are left as they were."""
        assert self.stage.validation is not None
        metric, band = self.stage.validation.metric, self.stage.guards.loss_band
        losses = self.stage.loss_names() if band is not None and band.reference == "validation" else ()
        figure = _Figure(self.system, metric, self.options)
        terms = {name: _Figure(self.system, name, self.options) for name in losses}
        with _evaluating(self.parts):
            for values, count in self._values((metric, *losses)):
                for one in (figure, *terms.values()):
                    one.add(values, count)
        return Judgement(figure.value, {name: term.value for name, term in terms.items()})

    def _values(self, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], int]]:
        """Fields and results of each batch, and the number of its samples."""
        names = tuple(dict.fromkeys(names))
        task = self.system.task_of(self.stage)
        known = {**self.system.read_losses, **self.system.read_metrics}
        needs = {value for name in names for value in known[name].names.needs}
        made = {value for step in task.names for value in step.makes}
        want = [name for name in self.system.wants(names) if name in needs or name in made]
        fields = read_fields(self.system, self.stage, names, self.feed.names if self.feed is not None else ())
        assert self.stage.validation is not None
        size = self.stage.validation.batch_size or self.stage.batch_size
        generator, reseed = torch.Generator(self.place.device), self.place.seeder()
        for indices, batch in plain_batches(self.dataset, fields, size):
            generator.manual_seed(keyed_seed(self.seed, self.stage.name, "validate", indices[0]))
            reseed(generator.initial_seed())
            if self.feed is not None:
                batch |= self.feed.gather(np.array(indices))
            sent = self.place.send(batch)
            sent = self.feed.restored(sent) if self.feed is not None else sent
            made_now = task.compute(self.parts, sent, want=want, options=self.options, generator=generator)
            yield {**sent, **made_now}, len(indices)
