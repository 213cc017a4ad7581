"""The feeds of a stage: what is kept of its training and validation samples, filled where needed, and proved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gradatim.data.batches import BatchOrder
from gradatim.data.dataset import Dataset
from gradatim.engine.device import Place
from gradatim.engine.extract import Progress, fill
from gradatim.engine.features import (
    Cost,
    Prefix,
    Samples,
    Target,
    check_room,
    cost_of,
    pays,
    targets_of,
    views_of,
)
from gradatim.engine.feed import Feed, check_live
from gradatim.engine.module import parts_of
from gradatim.errors import PlanError
from gradatim.features.shelf import Shelf
from gradatim.plan.stage import Stage
from gradatim.system import System


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is needed to keep features of a stage.

    Args:
        system, stage, options, settings, seed: what runs.
        parts: modules by name, on the device, their freezing set.
        train, validate: data sets; `validate` None where the stage names no metric.
        digests: of both data sets.
        place: device and processes.
        observe: receives events.
    """

    system: System
    stage: Stage
    options: Mapping[str, Any]
    settings: Any
    seed: int
    parts: Mapping[str, nn.Module]
    train: Dataset
    validate: Dataset | None
    digests: tuple[str, str]
    place: Place
    observe: Callable[[dict[str, Any]], None]

    def train_prefix(self) -> Prefix | None:
        """What computes the kept values of training samples; None where nothing is kept."""
        views = kept_views(self.system, self.stage, self.settings, self.train)
        if views is None:
            return None
        return self._prefix(self.stage.loss_names(), self.train, self.digests[0], views, drawn=self.train.random)

    def validation_prefix(self) -> Prefix | None:
        """What computes the kept values of validation samples; None where nothing is kept."""
        judged = self.stage.validation
        if self.validate is None or judged is None or not pays(self.stage, validations(self.stage, len(self.train))):
            return None
        return self._prefix((judged.metric,), self.validate, self.digests[1], 1, drawn=False)

    def _prefix(self, names: Sequence[str], dataset: Dataset, digest: str, views: int, *, drawn: bool) -> Prefix | None:
        prefix = Prefix(
            system=self.system,
            stage=self.stage,
            options=self.options,
            parts=self.parts,
            settings=self.settings,
            samples=Samples(
                dataset=dataset, digest=digest, views=views, drawn=drawn, seed=self.seed, stage=self.stage.name
            ),
            names=tuple(names),
            place=self.place,
        )
        return prefix if prefix.kept else None


def validations(stage: Stage, samples: int) -> float:
    """How often a stage is judged."""
    every = stage.validation.every if stage.validation else 1
    return passes(stage, samples) / every + 1


def passes(stage: Stage, samples: int) -> float:
    """How often a stage reads each sample of its training set."""
    if stage.epochs:
        return stage.epochs
    return (stage.steps or 0) * stage.step_samples / max(1, samples)


def kept_views(system: System, stage: Stage, settings: Any, dataset: Dataset) -> int | None:
    """Views of each training sample that a stage keeps; None where it keeps no features.

    Raises:
        PlanError: the plan demands features that cannot be.
    """
    if stage.cache.mode == "off":
        return None
    if not system.kept(stage, stage.loss_names(), settings):
        if stage.cache.mode == "required":
            raise PlanError(
                f"stage {stage.name!r}: `cache: required`, but no frozen part stands before what is trained, so there "
                "is nothing to keep. Train fewer parts, or take `cache` away"
            )
        return None
    views = views_of(stage, dataset, training=True)
    return views if pays(stage, passes(stage, len(dataset))) else None


@dataclass(frozen=True, kw_only=True)
class Feeds:
    """Stored values of a stage; None where they are computed for every batch.

    Args:
        train, validate: of training and validation samples.
        parts: that compute nothing any more.
    """

    train: Feed | None = None
    validate: Feed | None = None
    parts: frozenset[str] = frozenset()

    def close(self) -> None:
        """Close the stores."""
        for feed in (self.train, self.validate):
            if feed is not None:
                feed.close()


def open_feeds(keeping: Keeping, order: BatchOrder, shelf: Shelf | None = None) -> Feeds:
    """Fill the stores that a stage reads, compare its first batches with computed ones, and open them.

    Raises:
        DataError: no room, a damaged store, an unreadable sample.
        GuardError: stored values are not what the parts compute.
    """
    shelf = shelf or Shelf()
    found: dict[str, Feed] = {}
    stage = keeping.stage
    for which, prefix in (("train", keeping.train_prefix()), ("validate", keeping.validation_prefix())):
        if prefix is None:
            continue
        targets = targets_of(prefix)
        cost = cost_of(prefix, targets, shelf, timed=False)
        check_room(stage, cost, shelf.existing_folder())
        _observe(keeping, which, targets, cost, "begun", computes=list(cost.computes))
        teller = Teller(keeping, which)
        stores = fill(prefix, targets, shelf, report=teller, rank=keeping.place.rank, world=keeping.place.world)
        feed = Feed(
            stores,
            len(prefix.samples.dataset),
            prefix.samples.views,
            hold=stage.passes if stage.updates else 1,
            pinned=keeping.place.device.type == "cuda" and torch.cuda.is_available(),
        )
        if which == "train":
            differences = check_live(prefix, feed, order)
            _observe(keeping, which, targets, cost, "checked", differences=differences)
        found[which] = feed
    return Feeds(train=found.get("train"), validate=found.get("validate"), parts=_idle(keeping, found))


def _idle(keeping: Keeping, found: Mapping[str, Feed]) -> frozenset[str]:
    """Parts that neither training nor validation runs any more."""
    if "train" not in found:
        return frozenset()
    stage, task = keeping.stage, keeping.system.task_of(keeping.stage)

    def running(names: Sequence[str], feed: Feed | None) -> set[str]:
        want = keeping.system.wants(names)
        return {*parts_of(task.given(feed.names if feed else ()).chosen(want))}

    used = frozenset(parts_of(task.chosen(keeping.system.wants(stage.loss_names()))))
    still = running(stage.loss_names(), found["train"])
    if stage.validation:
        still |= running((stage.validation.metric,), found.get("validate"))
    return used - still


class Teller:
    """Turns progress into events, a few a second."""

    def __init__(self, keeping: Keeping, which: str) -> None:
        self._keeping, self._which, self._told = keeping, which, -1.0

    def __call__(self, progress: Progress) -> None:
        """Hear of progress."""
        if progress.seconds - self._told < 0.5 and progress.done != progress.total:
            return
        self._told = progress.seconds
        self._keeping.observe(
            {
                "event": "features",
                "stage": self._keeping.stage.name,
                "step": 0,
                "samples": self._which,
                "state": "progress",
                "values": list(progress.values),
                "done": progress.done,
                "total": progress.total,
                "left": progress.left,
            }
        )


def _observe(keeping: Keeping, which: str, targets: Sequence[Target], cost: Cost, state: str, **more: Any) -> None:
    keeping.observe(
        {
            "event": "features",
            "stage": keeping.stage.name,
            "step": 0,
            "samples": which,
            "state": state,
            "values": [value for target in targets for value in target.values],
            "stores": {target.name: target.key[:24] for target in targets},
            "bytes": cost.bytes,
            "missing": cost.missing,
            **more,
        }
    )
