"""One stage from its plan to its folder: build, prove, train, prove again, write."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradatim.data.batches import collated, ragged_fields
from gradatim.data.dataset import Dataset
from gradatim.engine.build import converted_options
from gradatim.engine.device import Place
from gradatim.engine.judge import Judge
from gradatim.engine.keep import Feeds, Keeping, open_feeds
from gradatim.engine.loop import Loop, Observer, Tick, Work, order_of
from gradatim.engine.module import build_computation
from gradatim.engine.store import PartStore
from gradatim.files import write_json
from gradatim.guards.after import check_frozen, check_moved, digests
from gradatim.parts import part_states, set_trainable
from gradatim.plan.graph import fields_of, reached_parts
from gradatim.plan.stage import Stage
from gradatim.report.pictures import save_picture
from gradatim.runs.lineage import Passage
from gradatim.runs.progress import SnapshotWriter, latest_snapshot
from gradatim.system import System
from gradatim.weights import part_digest, write_weights

_PICTURED = 3


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """What is needed to carry out one stage.

    Args:
        system, stage, seed: from the plan, the stage resolved.
        number: position in the plan, from 1.
        key: from `stage_key`.
        folder: of the stage.
        run: folder of the run, as lineage names it.
        model: settings of the parts, JSON values.
        train, validate: data sets; `validate` None where the stage names no metric.
        digests: of both data sets.
        settings: of the system.
        place: device.
        observe, tick: receive events and steps.
    """

    system: System
    stage: Stage
    seed: int
    number: int
    key: Mapping[str, str]
    folder: Path
    run: str
    model: Mapping[str, Any]
    train: Dataset
    validate: Dataset | None
    digests: tuple[str, str]
    settings: Any
    place: Place
    observe: Observer
    tick: Tick


def used_parts(system: System, stage: Stage) -> tuple[str, ...]:
    """Parts that a stage's losses and metric need, in the system's order."""
    task = system.task_of(stage)
    names = (*stage.loss_names(), *((stage.validation.metric,) if stage.validation else ()))
    want = system.wants(names)
    used = reached_parts(task.names, want) | {name.partition(".")[0] for name in stage.trained()}
    return tuple(part for part in system.parts if part in used)


def run_stage(job: StageJob, store: PartStore, introduced: tuple[str, ...]) -> dict[str, Any]:
    """Carry out a stage, from its last snapshot where there is one; changes the parts in `store`.

    Args:
        job: the stage.
        store: parts with their weights at the stage's start.
        introduced: parts whose weights no earlier stage of this run has saved.

    Returns:
        The stage's record, as written to `stage.json`.

    Raises:
        GuardError: a promise was broken; nothing of the stage is kept but its last good state.
    """
    started = time.time()
    used = used_parts(job.system, job.stage)
    parts = {name: store.module(name).to(job.place.device) for name in used}
    before = digests(parts)
    set_trainable(parts, job.stage.trained())
    feeds = _open_feeds(job, parts)
    loop, writer = _build_loop(job, parts, feeds)
    snapshot = latest_snapshot(job.folder / "progress", job.key["key"])
    job.observe(_started(job, loop, feeds, snapshot.step if snapshot is not None else 0))
    unreached = loop.trace()
    if unreached:
        job.observe({"event": "unreached", "stage": job.stage.name, "step": 0, "arrays": unreached})
    if snapshot is not None:
        loop.restore(snapshot)
        job.observe({"event": "resumed", "stage": job.stage.name, "step": snapshot.step})
    try:
        loop.run()
    finally:
        writer.finish()
        feeds.close()
    for part in feeds.parts:
        parts[part].to(job.place.device)
    _compile(job.stage, parts, undo=True)
    proofs = _proofs(job, loop, parts, before)
    _note_lineage(job, loop, store, parts)
    record = {**_record(job, loop, feeds, started), **proofs, "saved": list(_saved(job.stage, introduced))}
    _write(job, store, record, parts)
    job.observe(
        {"event": "stage", "stage": job.stage.name, "step": loop.state.counters.step, "state": "finished", **proofs}
    )
    return record


def _open_feeds(job: StageJob, parts: Mapping[str, nn.Module]) -> Feeds:
    """Stored values of the frozen prefix, computed now where they are missing."""
    keeping = Keeping(
        system=job.system,
        stage=job.stage,
        options=converted_options(job.system, job.stage),
        settings=job.settings,
        seed=job.seed,
        parts=parts,
        train=job.train,
        validate=job.validate,
        digests=job.digests,
        place=job.place,
        observe=job.observe,
    )
    feeds = open_feeds(keeping, order_of(job.stage, job.seed, len(job.train), job.place))
    for part in feeds.parts:
        # What its results are read for need not take room on the device.
        parts[part].to("cpu")
    return feeds


def _build_loop(job: StageJob, parts: Mapping[str, nn.Module], feeds: Feeds) -> tuple[Loop, SnapshotWriter]:
    options = converted_options(job.system, job.stage)
    writer = SnapshotWriter(job.folder / "progress", job.key["key"])
    judge = None
    if job.validate is not None:
        judge = Judge(
            system=job.system,
            stage=job.stage,
            options=options,
            parts=parts,
            dataset=job.validate,
            place=job.place,
            seed=job.seed,
            feed=feeds.validate,
        )
    _compile(job.stage, parts)
    work = Work(
        stage=job.stage,
        seed=job.seed,
        parts=parts,
        dataset=job.train,
        place=job.place,
        computation=build_computation(
            job.system, job.stage, options, parts, feeds.train.names if feeds.train is not None else ()
        ),
        feed=feeds.train,
        observe=job.observe,
        tick=job.tick,
        judge=judge,
        higher_is_better=job.stage.validation is None or job.system.higher_is_better(job.stage.validation.metric),
        keep=writer.keep,
    )
    return Loop(work), writer


def _compile(stage: Stage, parts: Mapping[str, nn.Module], *, undo: bool = False) -> None:
    """Compile each part in place, or take the compiled code off again; names of arrays stay as they are."""
    if stage.compiled:
        for part in parts.values():
            if undo:
                part._compiled_call_impl = None
            else:
                part.compile()


def _started(job: StageJob, loop: Loop, feeds: Feeds, step: int) -> dict[str, Any]:
    steps = job.system.task_of(job.stage).names
    states = part_states(job.system.parts, steps, job.stage.trained(), stored=feeds.parts)
    return {
        "event": "stage",
        "stage": job.stage.name,
        "step": step,
        "state": "started",
        "number": job.number,
        "key": job.key["key"],
        "steps": loop.total_steps,
        "epochs": -(-loop.total_steps // loop.steps_per_epoch),
        "parts": {part: str(state) for part, state in states.items()},
        "samples": len(job.train),
        "validation_samples": len(job.validate) if job.validate is not None else 0,
    }


def _proofs(job: StageJob, loop: Loop, parts: Mapping[str, nn.Module], before: Mapping[str, str]) -> dict[str, Any]:
    """Prove the stage's promises; the numbers of arrays that were compared."""
    modules = loop.state.modules
    learning = {id(array) for module in modules.values() for array in (*module.parameters(), *module.buffers())}
    frozen = {
        f"{part}.{name}"
        for part, module in parts.items()
        for name, array in (*module.named_parameters(), *module.named_buffers())
        if id(array) not in learning
    }
    still = {name: digest for name, digest in before.items() if name in frozen}
    equal = check_frozen(job.stage.name, still, digests(parts))
    moved = check_moved(job.stage.name, before, modules)
    return {"frozen_arrays_equal": equal, "trained_arrays_moved": moved, "drift": loop.state.drifts()}


def _note_lineage(job: StageJob, loop: Loop, store: PartStore, parts: Mapping[str, nn.Module]) -> None:
    for name in dict.fromkeys(path.partition(".")[0] for path in job.stage.trained()):
        passage = Passage(
            run=job.run,
            stage=job.stage.name,
            task=job.stage.task,
            key=job.key["key"],
            steps=loop.state.counters.step,
            digest=part_digest(parts[name]),
        )
        store.set_lineage(name, store.lineage(name).trained(passage))


def _saved(stage: Stage, introduced: tuple[str, ...]) -> tuple[str, ...]:
    trained = [path.partition(".")[0] for path in stage.trained()]
    return tuple(dict.fromkeys((*introduced, *trained)))


def _record(job: StageJob, loop: Loop, feeds: Feeds, started: float) -> dict[str, Any]:
    steps = job.system.task_of(job.stage).names
    return {
        "name": job.stage.name,
        "number": job.number,
        "task": job.stage.task,
        **job.key,
        "steps": loop.state.counters.step,
        "seconds": round(time.time() - started, 3),
        "stopped_early": loop.state.counters.stopped,
        "rollbacks": loop.state.counters.rollbacks,
        "metric": job.stage.validation.metric if job.stage.validation else None,
        "best": loop.state.patience.best,
        "best_step": loop.state.patience.best_step,
        "states": {
            part: str(state)
            for part, state in part_states(job.system.parts, steps, job.stage.trained(), stored=feeds.parts).items()
        },
    }


def _write(job: StageJob, store: PartStore, record: Mapping[str, Any], parts: Mapping[str, nn.Module]) -> None:
    """Write the stage's folder; `stage.json` comes last and says that the rest is complete."""
    lineages = {name: store.lineage(name).to_json() for name in store.names()}
    header = {"system": job.system.name, "model": job.model, "stage": job.stage.name, "key": job.key["key"]}
    saved = {name: store.module(name).state_dict() for name in record["saved"]}
    header["lineage"] = {name: lineages[name] for name in saved}
    write_weights(job.folder / "weights.safetensors", saved, header)
    write_json(job.folder / "lineage.json", lineages)
    _pictures(job, parts)
    write_json(job.folder / "stage.json", record)
    shutil.rmtree(job.folder / "progress", ignore_errors=True)


@torch.no_grad()
def _pictures(job: StageJob, parts: Mapping[str, nn.Module]) -> None:
    """Save the pictures that the task makes of the first few samples, for the report."""
    task = job.system.task_of(job.stage)
    made = {name for step in task.names for name in step.makes}
    data = job.validate if job.validate is not None and len(job.validate) else job.train
    want = [name for name in job.system.pictures if name in made or name in data.fields]
    want = [name for name in want if reached_parts(task.names, [name]) <= parts.keys()]
    if not want:
        return
    fields = fields_of(task.names, want)
    options = converted_options(job.system, job.stage)
    for module in parts.values():
        module.eval()
    # Spread over the data: neighbors are often crops of one picture.
    chosen = sorted({index * len(data) // _PICTURED for index in range(_PICTURED)})
    batch = collated([data.sample(i, fields, None) for i in chosen], ragged=ragged_fields(data))
    generator = torch.Generator(job.place.device).manual_seed(0)
    values = task.compute(parts, job.place.send(batch), want=want, options=options, generator=generator)
    for name in want:
        for index, picture in enumerate(values[name]):
            save_picture(job.folder / "samples" / f"{index + 1}-{name}.png", picture.float().cpu())
