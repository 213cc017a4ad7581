"""A run: all stages of a plan in order, each reused, resumed or trained, in one folder."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradatim.data.dataset import Dataset
from gradatim.engine.build import outline_parts, settings_of
from gradatim.engine.checked import checked_plan, document_of
from gradatim.engine.device import Place, this_place
from gradatim.engine.features import no_room
from gradatim.engine.fit import fitted
from gradatim.engine.keep import kept_views
from gradatim.engine.leftover import lone_problems
from gradatim.engine.lengthen import TIMES, OpenedTooEarlyError, lengthened
from gradatim.engine.loop import Observer, Tick
from gradatim.engine.memory import shape_problems
from gradatim.engine.module import read_fields
from gradatim.engine.outlook import kept_bytes
from gradatim.engine.prepare import Preparation, maker_of, maker_problem, with_prepared
from gradatim.engine.sources import Builder, check_sources, load_sources
from gradatim.engine.stage import StageJob, run_stage, used_parts
from gradatim.engine.store import PartStore
from gradatim.errors import DataError, GradatimError, GuardError, PlanError, RunError, WeightsError, unknown
from gradatim.features.shelf import Shelf
from gradatim.files import write_text
from gradatim.find import code_digest
from gradatim.plan import (
    Document,
    Plan,
    Stage,
    StageSource,
    read_document,
    write_yaml,
)
from gradatim.plan.stage import Cache
from gradatim.runs.environment import environment
from gradatim.runs.events import EventLog
from gradatim.runs.folder import RunFolder, next_folder, read_json
from gradatim.runs.keys import differences, stage_key
from gradatim.runs.lineage import Lineage
from gradatim.runs.tensorboard import ScalarWriter
from gradatim.system import System
from gradatim.version import __version__
from gradatim.weights import write_weights

_PIECE = 2
"""Samples of the one batch of `once`, where the plan leaves it to the memory how many fit."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run ended with.

    Args:
        folder: of the run.
        stages: record of each stage by name.
        model: the file with all parts.
    """

    folder: Path
    stages: Mapping[str, Mapping[str, Any]]
    model: Path


@dataclass(kw_only=True)
class _Run:
    """State of a run in progress."""

    plan: Plan
    system: System
    folder: RunFolder
    place: Place
    observe: Observer
    tick: Tick
    builder: Builder
    code: str
    once: bool
    data: dict[str, "Opened"] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The data of a stage.

    Args:
        train, validate: data sets; `validate` None where the stage names no metric.
        digests: of both; empty for none.
    """

    train: Dataset
    validate: Dataset | None
    digests: tuple[str, str]


def run(
    plan: Plan | Document,
    out: Path | None = None,
    *,
    system: System | None = None,
    stages: Sequence[str] = (),
    once: bool = False,
    device: str | None = None,
    observe: Observer | None = None,
    tick: Tick | None = None,
) -> RunResult:
    """Carry out a plan, or go on with it where `out` holds an unfinished run of the same plan.

    Args:
        plan: the plan, or its document, whose places errors then name.
        out: folder of the run; None makes `runs/SYSTEM-n`.
        system: where it is not one that can be found by name.
        stages: names to carry out; earlier ones must be finished. Empty carries out all.
        once: one batch through every stage, in a folder that is removed.
        device: such as `cpu` or `cuda:0`.
        observe: receives every event as a dict.
        tick: receives (steps done, steps in all) after each step.

    Raises:
        PlanError, WeightsError, DataError: before anything is trained, with all that is wrong.
        GuardError: a stage broke a promise and was stopped.
        RunError: the folder holds something else.
    """
    document = document_of(plan) if isinstance(plan, Plan) else plan
    checked, system, _ = checked_plan(document, system)
    if once:
        with tempfile.TemporaryDirectory(prefix="gradatim-once-") as brief:
            return _run(_shortened(checked), system, Path(brief) / "run", stages, device, observe, tick, once=True)
    folder = out or next_folder(Path("runs"), checked.system)
    return _run(checked, system, folder, stages, device, observe, tick)


def _shortened(plan: Plan) -> Plan:
    """The plan with one optimizer step of one batch in every stage."""
    stages = tuple(
        stage.model_copy(
            update={
                "epochs": None,
                "steps": 1,
                "accumulate": 1,
                "log_every": 1,
                "cache": Cache(mode="off"),
                "batch_size": min(stage.batch_size, _PIECE) if stage.accumulate == "auto" else stage.batch_size,
            }
        )
        for stage in plan.stages
    )
    return plan.model_copy(update={"stages": stages})


def _run(
    plan: Plan,
    system: System,
    folder: Path,
    stages: Sequence[str],
    device: str | None,
    observe: Observer | None,
    tick: Tick | None,
    *,
    once: bool = False,
) -> RunResult:
    _check_stage_names(plan, stages)
    run_folder = RunFolder(folder)
    log, scalars = EventLog(run_folder.events), ScalarWriter(run_folder.path / "tensorboard")
    state = _Run(
        plan=plan,
        system=system,
        folder=run_folder,
        place=this_place(device),
        code=code_digest(system),
        once=once,
        observe=_all(log.write, scalars.write, *([observe] if observe else [])),
        tick=tick or (lambda done, total: None),
        builder=Builder(system=system, settings=settings_of(system, plan), seed=plan.seed, allow=plan.allow),
    )
    _check_folder(state)
    _check_before(state)
    asked = state.plan
    trained_on = {name: opened.train for name, opened in state.data.items()}
    state.plan = fitted(system, asked, state.builder.settings, trained_on, state.place)
    with run_folder.locked():
        if state.plan is not asked:
            write_text(run_folder.asked, _written(asked))
        write_text(run_folder.plan, _written(state.plan))
        run_folder.write_record(state="running", system=system.name, **environment())
        try:
            records = _run_and_lengthen(state, stages)
        except GradatimError as error:
            run_folder.write_record(state="stopped", error=str(error))
            state.observe({"event": "run", "state": "stopped", "error": str(error)})
            raise
        finally:
            log.close()
            scalars.close()
        finished = len(records) == len(state.plan.stages)
        run_folder.write_record(state="finished" if finished else "partly finished", error=None)
    return RunResult(folder=folder, stages=records, model=run_folder.model)


def _all(*observers: Observer) -> Observer:
    """Hand every event to each observer in turn."""

    def receive(event: dict[str, Any]) -> None:
        for observe in observers:
            observe(event)

    return receive


def _check_stage_names(plan: Plan, stages: Sequence[str]) -> None:
    known = [stage.name for stage in plan.stages]
    wrong = [unknown("stage", name, known) for name in stages if name not in known]
    if wrong:
        raise PlanError("\n".join(wrong))


def _check_folder(state: _Run) -> None:
    """Refuse a folder that holds something else, or a run of another plan."""
    folder = state.folder
    if not folder.exists():
        if not folder.is_free():
            raise RunError(f"{folder.path}: the folder is not empty and holds no run; choose another one")
        return
    new = _written(state.plan)
    if folder.asked.is_file() and folder.asked.read_text(encoding="utf-8") == new:
        state.plan, _, _ = checked_plan(read_document(folder.plan), state.system)
    elif folder.plan.read_text(encoding="utf-8") != new:
        raise RunError(
            f"{folder.path}: holds a run of another plan, which is left as it is. Choose another folder: "
            "stages that are equal are taken over from their neighbor, not trained again"
        )


def _check_before(state: _Run) -> None:
    """Open all data, check all files that weights come from and all shapes, before anything is trained."""
    finished = state.folder.stage_records() if state.folder.exists() else {}
    ahead = [stage for stage in state.plan.stages if stage.name not in finished]
    wrong = check_sources(ahead, state.builder)
    wrong += shape_problems(state.system, ahead, state.builder.settings)
    for stage in state.plan.stages:
        try:
            opened = state.data[stage.name] = open_data(state.system, stage)
            kept_views(state.system, stage, state.builder.settings, opened.train)
            fields = read_fields(state.system, stage, stage.loss_names())
            misfits = state.system.data.check(state.builder.settings, opened.train, fields)
            wrong += [f"stage {stage.name!r}: {line}" for line in misfits]
            wrong += lone_problems(state.system, stage, len(opened.train), world=state.place.world)
            unmade = maker_problem(state.system, stage)
            wrong += [f"stage {stage.name!r}: {unmade}"] if unmade else []
        except DataError as error:
            wrong.append(f"stage {stage.name!r}: {error}")
        except PlanError as error:
            wrong.append(str(error))
    if not wrong:
        wrong += _room_problems(state, ahead)
    if wrong:
        raise SourceError("\n".join(dict.fromkeys(wrong)))


def _room_problems(state: _Run, stages: Sequence[Stage]) -> list[str]:
    """Whether the features of all stages ahead find room; stores that are there already may be theirs."""
    shelf, needed = Shelf(), 0
    outlines = outline_parts(state.system, state.builder.settings, stages)
    for stage in stages:
        train = state.data[stage.name].train
        views = kept_views(state.system, stage, state.builder.settings, train)
        if views is not None:
            size = kept_bytes(state.system, stage, state.builder.settings, outlines)
            needed += (size or 0) * len(train) * views
    there = sum(entry.bytes for entry in shelf.entries())
    return no_room("all stages", needed - there, shelf.existing_folder())


class SourceError(DataError, WeightsError):
    """Weights or data that a plan names cannot be used, or do not fit its model; nothing was trained."""


def open_data(system: System, stage: Stage) -> Opened:
    """Open the data of a stage.

    Raises:
        DataError: what is wrong with them.
    """
    kind = system.data
    settings = system.data_settings(stage)
    train = kind.open(settings, "train")
    if not len(train):
        raise DataError("the training set is empty")
    validate = kind.open(settings, "validate") if stage.validation else None
    if validate is not None and not len(validate):
        raise DataError("`validate` names a metric, but no samples are held out for validation")
    digests = train.digest(), validate.digest() if validate is not None else ""
    return Opened(train=train, validate=validate, digests=digests)


def _written(plan: Plan) -> str:
    return write_yaml(plan.model_dump(mode="json", exclude_unset=True, by_alias=True))


def _run_and_lengthen(state: _Run, only: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Carry out the stages; where one asks for a longer stage before it, that one first and then again."""
    while True:
        try:
            return _run_stages(state, only)
        except OpenedTooEarlyError as error:
            longer = lengthened(state.plan, error.stage)
            if longer is None:
                raise GuardError(
                    f"stage {error.stage!r}: {error}, though the stage before it was made longer {TIMES} times; lower "
                    "`lr`, or open fewer parts"
                ) from error
            _go_on_with(state, longer, error)


def _go_on_with(state: _Run, longer: Plan, error: OpenedTooEarlyError) -> None:
    """Put a plan with one more stage in the place of the run's; what the stopped stage left is removed."""
    folder, names = state.folder, [stage.name for stage in longer.stages]
    at = names.index(error.stage)
    shutil.rmtree(folder.stage(at, error.stage), ignore_errors=True)
    if not folder.asked.is_file():
        write_text(folder.asked, _written(state.plan))
    write_text(folder.plan, _written(longer))
    state.plan = longer
    state.data[names[at - 1]] = state.data[names[at - 2]]
    message = f"{error}; {names[at - 1]!r} goes before it now, and then {error.stage!r} begins anew"
    state.observe({"event": "lengthened", "stage": error.stage, "step": 0, "by": names[at - 1], "message": message})


def _run_stages(state: _Run, only: Sequence[str]) -> dict[str, dict[str, Any]]:
    store = PartStore(state.builder)
    records: dict[str, dict[str, Any]] = {}
    for number, stage in enumerate(state.plan.stages, start=1):
        finished = state.folder.stage(number, stage.name) / "stage.json"
        if finished.is_file():
            records[stage.name] = _take_finished(state, stage, finished, store)
        elif only and stage.name not in only:
            break
        else:
            records[stage.name] = _carry_out(state, stage, number, store)
    else:
        _write_model(state, store)
    missing = [name for name in only if name not in records]
    if missing:
        raise RunError(f"stage {missing[0]!r} cannot run: the stages before it are not finished")
    return records


def _key(state: _Run, stage: Stage, weights: Mapping[str, str]) -> dict[str, str]:
    return stage_key(
        stage,
        seed=state.plan.seed,
        model=state.builder.settings.model_dump(mode="json"),
        parts=weights,
        data="".join(state.data[stage.name].digests),
        code=state.code,
        version=__version__,
    )


def _take_finished(state: _Run, stage: Stage, path: Path, store: PartStore) -> dict[str, Any]:
    """Take over a stage that this run has finished, if it is still what the plan asks for."""
    record = read_json(path)
    if maker_of(state.system, stage) is not None and not state.once:
        state.data[stage.name] = open_data(state.system, with_prepared(state.system, stage, path.parent))
    changed = [name for name in differences(record, _key(state, stage, {})) if name != "weights"]
    if changed:
        raise RunError(
            f"{path.parent}: the stage is finished, but {', '.join(changed)} changed since; it is left as it is. "
            f"Start a new run: gradatim run {state.folder.plan}"
        )
    lineages = {name: Lineage.from_json(value) for name, value in read_json(path.with_name("lineage.json")).items()}
    store.put_files(path.with_name("weights.safetensors"), lineages, tuple(record["saved"]))
    shutil.rmtree(path.with_name("progress"), ignore_errors=True)
    state.observe({"event": "stage", "stage": stage.name, "state": "reused", "from": str(path.parent)})
    return record


def _carry_out(state: _Run, stage: Stage, number: int, store: PartStore) -> dict[str, Any]:
    """Train a stage, or take it over from a neighboring run that has an equal one."""
    introduced = _bring_parts(state, stage, store)
    weights = {part: store.lineage(part).digest for part in used_parts(state.system, stage)}
    folder = state.folder.stage(number, stage.name)
    _prepare(state, stage, folder)
    key = _key(state, stage, weights)
    twin = _equal_stage(state, key["key"], stage, introduced)
    if twin is not None:
        _link(twin, folder)
        return _take_finished(state, stage, folder / "stage.json", store)
    opened = state.data[stage.name]
    for note in dict.fromkeys((*getattr(opened.train, "notes", ()), *getattr(opened.validate, "notes", ()))):
        state.observe({"event": "data", "stage": stage.name, "step": 0, "note": note})
    job = StageJob(
        system=state.system,
        stage=stage,
        seed=state.plan.seed,
        number=number,
        key=key,
        folder=folder,
        run=str(state.folder.path),
        model=state.builder.settings.model_dump(mode="json"),
        train=opened.train,
        validate=opened.validate,
        digests=opened.digests,
        settings=state.builder.settings,
        place=state.place,
        observe=state.observe,
        tick=state.tick,
    )
    return run_stage(job, store, introduced)


def _prepare(state: _Run, stage: Stage, folder: Path) -> None:
    """Have a trained model make the file that the stage's data need, and open the data with it.

    A single batch is one of data without it: making it goes through all samples.
    """
    kind, maker = state.system.data.prepared, maker_of(state.system, stage)
    if kind is None or maker is None or state.once:
        return
    prepare = Preparation(
        kind=kind,
        maker=maker,
        system=state.system,
        stage=stage,
        run=state.folder.path,
        folder=folder,
        digests=state.data[stage.name].digests,
        code=state.code,
        device=state.place.device,
        observe=state.observe,
    )
    prepare()
    state.data[stage.name] = open_data(state.system, with_prepared(state.system, stage, folder))


def _bring_parts(state: _Run, stage: Stage, store: PartStore) -> tuple[str, ...]:
    """Bring the parts that a stage names in `init`; those whose weights are new to the run."""
    outside = [part for part, source in stage.init.items() if not isinstance(source, StageSource)]
    store.put(load_sources(stage, state.builder, outside))
    for part, source in stage.init.items():
        if isinstance(source, StageSource):
            store.put({part: _from_stage(state, source, part)})
    return tuple(dict.fromkeys(part.partition(".")[0] for part in stage.init))


def _from_stage(state: _Run, source: StageSource, part: str) -> Any:
    """A part as an earlier stage of this run ended with it."""
    past = PartStore(state.builder)
    for number, stage in enumerate(state.plan.stages, start=1):
        folder = state.folder.stage(number, stage.name)
        lineages = {name: Lineage.from_json(value) for name, value in read_json(folder / "lineage.json").items()}
        past.put_files(folder / "weights.safetensors", lineages, tuple(read_json(folder / "stage.json")["saved"]))
        if stage.name == source.stage:
            break
    name = source.part or part
    if name not in past.names():
        raise RunError(f"stage {source.stage!r} and those before it have no weights of part {name!r}")
    return past.copy(part, name)


def _equal_stage(state: _Run, key: str, stage: Stage, introduced: Sequence[str]) -> Path | None:
    """A finished stage with this key in a run beside this one."""
    for path in state.folder.beside(stage.name, "stage.json"):
        record = read_json(path)
        if record.get("key") == key and set(introduced) <= set(record["saved"]):
            return path.parent
    return None


def _link(twin: Path, folder: Path) -> None:
    """Take over a finished stage's files: hard links where the disk allows it, `stage.json` last."""
    names = [
        path.relative_to(twin) for path in sorted(twin.rglob("*")) if path.is_file() and "progress" not in path.parts
    ]
    for name in sorted(names, key=lambda name: name.name == "stage.json"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(twin / name, target)
        except OSError:
            shutil.copy2(twin / name, target)


def _write_model(state: _Run, store: PartStore) -> None:
    """Write all parts as they are after the last stage."""
    lineages = {name: store.lineage(name) for name in store.names()}
    header = {
        "system": state.system.name,
        "model": state.builder.settings.model_dump(mode="json"),
        "stage": state.plan.stages[-1].name,
        "classes": list(getattr(state.data[state.plan.stages[-1].name].train, "classes", ())),
        "lineage": {name: lineage.to_json() for name, lineage in lineages.items()},
    }
    write_weights(state.folder.model, {name: store.module(name).state_dict() for name in lineages}, header)
