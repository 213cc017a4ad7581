"""The features of a plan without training: estimated, or computed ahead by any number of processes."""

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradatim.engine.build import converted_options, settings_of
from gradatim.engine.checked import checked_plan
from gradatim.engine.device import Place, process_of_environment, this_place
from gradatim.engine.extract import fill
from gradatim.engine.features import Prefix, check_room, cost_of, targets_of
from gradatim.engine.keep import Keeping, Teller
from gradatim.engine.module import parts_of
from gradatim.engine.run import open_data
from gradatim.engine.sources import Builder, load_sources
from gradatim.engine.store import PartStore
from gradatim.errors import DataError, PlanError, unknown
from gradatim.features.shelf import Shelf
from gradatim.parts import set_trainable
from gradatim.plan import Document, Plan, Stage, StageSource
from gradatim.runs.folder import RunFolder
from gradatim.runs.lineage import Lineage
from gradatim.system import System

Observer = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Told:
    """The features of one stage's training or validation samples.

    Args:
        stage: its name.
        samples: `train` or `validate`.
        values: that are kept.
        bytes, missing: of their stores; what is not written yet.
        seconds: to compute what is missing.
        free: bytes on the disk.
        rows: samples, views counted.
        waiting: values that need a part which an earlier stage has yet to train, with that stage.
        folders: of the stores.
    """

    stage: str
    samples: str
    values: tuple[str, ...]
    bytes: int
    missing: int
    seconds: float | None
    free: int
    rows: int
    waiting: Mapping[str, str]
    folders: tuple[str, ...]


def precompute(
    document: Document,
    *,
    run: Path | None = None,
    stage: str | None = None,
    estimate: bool = False,
    workers: int = 1,
    device: str | None = None,
    observe: Observer = lambda event: None,
) -> list[Told]:
    """Estimate or compute the features of a plan's stages.

    Args:
        document: of the plan.
        run: a run of it, whose finished stages give trained parts.
        stage: only this one.
        estimate: tell bytes and time, from a timed sample; compute nothing.
        workers: processes on this machine. Under `torchrun` its processes share the work instead.
        device: such as `cpu` or `cuda:0`.
        observe: receives events of progress.

    Raises:
        PlanError, WeightsError, DataError: with all that is wrong.
    """
    rank, world = process_of_environment()
    if estimate or world > 1 or workers == 1:
        return _share(document, run, stage, estimate, device, observe, rank, world)
    context = multiprocessing.get_context("spawn")
    helpers = [
        context.Process(target=_helper, args=(document, run, stage, device, number, workers, os.getpid()))
        for number in range(1, workers)
    ]
    for helper in helpers:
        helper.start()
    try:
        return _share(document, run, stage, False, device, observe, 0, workers)
    finally:
        for helper in helpers:
            helper.join(timeout=30)
            if helper.is_alive():
                helper.terminate()


def _helper(
    document: Document, run: Path | None, stage: str | None, device: str | None, rank: int, world: int, parent: int
) -> None:
    """One of several processes; what goes wrong here, the first process meets too and tells."""

    def observe(event: dict[str, Any]) -> None:
        if os.getppid() != parent:
            os._exit(1)  # the command was killed

    try:
        _share(document, run, stage, False, device, observe, rank, world)
    except Exception:
        os._exit(1)


def _share(
    document: Document,
    run: Path | None,
    only: str | None,
    estimate: bool,
    device: str | None,
    observe: Observer,
    rank: int,
    world: int,
) -> list[Told]:
    plan, system, _ = checked_plan(document)
    names = [stage.name for stage in plan.stages]
    if only is not None and only not in names:
        raise PlanError(unknown("stage", only, names))
    place = _place_of(device, rank, world)
    if place.device.type == "cpu" and world > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    parts = _Parts(plan, system, run)
    told, wrong = [], []
    for stage in plan.stages:
        parts.enter(stage)
        if only in (None, stage.name) and stage.cache.mode != "off":
            try:
                told += _stage(plan, system, stage, parts, place, estimate, observe)
            except DataError as error:
                wrong.append(str(error))
        parts.leave(stage)
    if wrong:
        raise DataError("\n".join(dict.fromkeys(wrong)))
    return told


def _place_of(device: str | None, rank: int, world: int) -> Place:
    place = this_place(device)
    if place.device.type == "cuda" and device is None and world > 1:
        place = replace(place, device=torch.device("cuda", rank % torch.cuda.device_count()))
    return replace(place, rank=rank, world=world)


class _Parts:
    """Parts as each stage will find them, as far as that is known before the stages ran."""

    def __init__(self, plan: Plan, system: System, run: Path | None) -> None:
        self._plan, self._system = plan, system
        self.settings = settings_of(system, plan)
        self._builder = Builder(system=system, settings=self.settings, seed=plan.seed, allow=plan.allow)
        self._store = PartStore(self._builder)
        self._run = RunFolder(run) if run is not None else None
        self._finished = self._run.stage_records() if self._run is not None else {}
        self.waiting: dict[str, str] = {}

    def enter(self, stage: Stage) -> None:
        """Note where a stage takes its parts from; they are loaded when asked for."""
        outside = [part for part, source in stage.init.items() if not isinstance(source, StageSource)]
        self._store.put(load_sources(stage, self._builder, outside))
        for part in outside:
            self.waiting.pop(part, None)
        for part, source in stage.init.items():
            if isinstance(source, StageSource):
                self.waiting[part.partition(".")[0]] = source.stage

    def leave(self, stage: Stage) -> None:
        """What a stage trains is known afterwards only if a run has finished it."""
        record = self._finished.get(stage.name)
        if record is not None and self._run is not None:
            folder = self._run.stage(int(record["number"]), stage.name)
            lineages = json.loads((folder / "lineage.json").read_text())
            known = {name: Lineage.from_json(value) for name, value in lineages.items()}
            self._store.put_files(folder / "weights.safetensors", known, tuple(record["saved"]))
            for part in record["saved"]:
                self.waiting.pop(part, None)
            return
        for part in {path.partition(".")[0] for path in stage.trained()}:
            self.waiting[part] = stage.name

    def module(self, part: str, place: Place) -> nn.Module:
        """A part with its weights, on the device."""
        return self._store.module(part).to(place.device).eval()


def _stage(
    plan: Plan, system: System, stage: Stage, parts: _Parts, place: Place, estimate: bool, observe: Observer
) -> list[Told]:
    opened = open_data(system, stage)
    task = system.task_of(stage)
    names = (*stage.loss_names(), *((stage.validation.metric,) if stage.validation else ()))
    modules = {
        part: parts.module(part, place)
        for part in parts_of(task.chosen(system.wants(names)))
        if part not in parts.waiting and part not in {path.partition(".")[0] for path in stage.trained()}
    }
    set_trainable(modules, ())
    keeping = Keeping(
        system=system,
        stage=stage,
        options=converted_options(system, stage),
        settings=parts.settings,
        seed=plan.seed,
        parts=modules,
        train=opened.train,
        validate=opened.validate,
        digests=opened.digests,
        place=place,
        observe=observe,
    )
    both = (("train", keeping.train_prefix()), ("validate", keeping.validation_prefix()))
    return [_one(keeping, which, prefix, parts, estimate) for which, prefix in both if prefix is not None]


def _one(keeping: Keeping, which: str, prefix: Prefix, parts: _Parts, estimate: bool) -> Told:
    waiting = {
        value: parts.waiting[part]
        for values in prefix.kept.values()
        for value in values
        for part in parts_of(prefix.task.chosen([value]))
        if part in parts.waiting
    }
    prefix.kept = {
        step: values for step, values in prefix.kept.items() if not any(value in waiting for value in values)
    }
    shelf = Shelf()
    targets = targets_of(prefix)
    cost = cost_of(prefix, targets, shelf, timed=estimate)
    if not estimate and targets:
        check_room(keeping.stage, cost, shelf.existing_folder())
        place = keeping.place
        stores = fill(prefix, targets, shelf, report=Teller(keeping, which), rank=place.rank, world=place.world)
        for store in stores:
            store.close()
    return Told(
        stage=keeping.stage.name,
        samples=which,
        values=tuple(value for target in targets for value in target.values),
        bytes=cost.bytes,
        missing=cost.missing,
        seconds=cost.seconds,
        free=cost.free,
        rows=len(prefix.samples),
        waiting=waiting,
        folders=tuple(str(shelf.of(target.about)) for target in targets),
    )
