"""A finished model: its parts with weights and lineage, from a run, a file of ours or a foreign file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradatim.engine.build import build_part
from gradatim.errors import RunError, WeightsError, problems, unknown
from gradatim.find import find_system, system_names
from gradatim.runs.folder import RunFolder
from gradatim.runs.lineage import Lineage, Origin
from gradatim.system import System
from gradatim.task import Value
from gradatim.weights import (
    Account,
    Weights,
    file_digest,
    header_of,
    part_digest,
    parts_of,
    read_weights,
    recognised,
    transfer,
)
from gradatim.weights.formats.base import FIELDS
from gradatim.weights.layout import translate


@dataclass(frozen=True, kw_only=True)
class Model:
    """Parts that can be run.

    Args:
        system: the system.
        settings: sizes of the parts.
        parts: in evaluation mode, by name.
        lineage: of each part.
        classes: names of the classes of the data that it was trained on last, where they have any.
        accounts: what became of every array when each part was loaded.
    """

    system: System
    settings: Any
    parts: Mapping[str, nn.Module]
    lineage: Mapping[str, Lineage]
    classes: tuple[str, ...] = ()
    accounts: tuple[Account, ...] = ()

    def to(self, device: torch.device | str) -> "Model":
        """Move the parts; returns this model."""
        for part in self.parts.values():
            part.to(device)
        return self

    @torch.no_grad()
    def compute(self, task: str, sample: Mapping[str, Value], want: Sequence[str]) -> dict[str, Value]:
        """Run the steps of a task that lead to the wanted values; see `gradatim.Task.compute`."""
        return self.system.read_tasks[task].compute(self.parts, sample, want=want)


def load_run(folder: str | Path, *, system: System | None = None, stage: str | None = None) -> Model:
    """The model that a run ended with, or, of an unfinished run, what its finished stages hold.

    Args:
        folder: of the run.
        system: where it is not one that can be found by name.
        stage: the model as this stage left it, instead.

    Raises:
        RunError: no run, or no finished stage.
    """
    run = RunFolder(Path(folder))
    if not run.exists():
        raise RunError(f"{folder}: no run there")
    if run.model.is_file() and stage is None:
        return load_model(run.model, system=system)
    records = run.stage_records()
    if not records:
        raise RunError(f"{folder}: no stage is finished yet")
    if stage is not None:
        if stage not in records:
            raise RunError(f"{folder}: {unknown('finished stage', stage, records)}")
        records = dict(list(records.items())[: list(records).index(stage) + 1])
    files = [run.stage(int(record["number"]), name) / "weights.safetensors" for name, record in records.items()]
    return _from_own([read_weights(file) for file in files], system)


def load_model(
    path: str | Path,
    *,
    system: System | str | None = None,
    settings: Mapping[str, Any] | None = None,
    layout: str | None = None,
) -> Model:
    """The model of a run's folder or of a file.

    Args:
        path: a run, a file that gradatim wrote, or a foreign checkpoint of one of the system's layouts.
        system: needed for foreign files; a name, or the system itself where it cannot be found by name.
        settings: of a foreign file's model; what the file's shapes tell need not be given.
        layout: of a foreign file; None takes the one that explains it.

    Raises:
        RunError, WeightsError: there is no complete model.
    """
    path = Path(path)
    known = system if isinstance(system, System) else None
    if path.is_dir():
        return load_run(path, system=known)
    weights = read_weights(path)
    if header_of(weights):
        return _from_own([weights], known)
    if system is None:
        raise WeightsError(f"{path}: gradatim did not write this file; say which system it is of")
    return _from_foreign(weights, known or find_system(str(system)), dict(settings or {}), layout)


def _from_own(files: Sequence[Weights], system: System | None) -> Model:
    header = header_of(files[-1])
    system = system or find_system(header["system"])
    settings = system.settings.model_validate(header["model"])
    parts, lineage, accounts = {}, {}, {}
    for weights in files:
        told = header_of(weights)["lineage"]
        for name in parts_of(weights):
            parts[name] = build_part(system, settings, name, 0)
            (accounts[name],) = transfer(weights, {name: parts[name]}, layout="gradatim")
            lineage[name] = Lineage.from_json(told[name])
            if lineage[name].digest != part_digest(parts[name]):
                raise WeightsError(f"{weights.path}: part {name!r} is not what its lineage says; the file was changed")
    classes = tuple(header.get("classes", ()))
    told = tuple(accounts.values())
    return Model(
        system=system, settings=settings, parts=_ready(parts), lineage=lineage, classes=classes, accounts=told
    )  # fmt: skip


def _from_foreign(weights: Weights, system: System, given: dict[str, Any], layout: str | None) -> Model:
    names = [layout] if layout else recognised(weights, system.layouts)
    if not names or names[0] not in system.layouts:
        found = unknown("layout", layout, system.layouts) if layout else "its names fit no layout of the system"
        examples = ", ".join(list(weights.arrays)[:4])
        raise WeightsError(f"{weights.path}: {found} ({examples}, ...)")
    table = system.layouts[names[0]]
    made = translate(table, weights.arrays).made
    arrays = {ours: how.make([weights.arrays[name] for name in how.sources]) for ours, how in made.items()}
    fixed = {setting: values[0] for part in table.requires.values() for setting, values in part.items()}
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if system.told:
        given = {**system.told(table.name, json.loads(weights.metadata.get(FIELDS, "{}")), shapes), **given}
    try:
        guessed = dict(system.sizes(shapes, given)) if system.sizes else {}
    except WeightsError as error:
        raise WeightsError(f"{weights.path}: {error}") from error
    settings = system.settings.model_validate({**guessed, **fixed, **given})
    present = [part for part in system.parts if any(name.startswith(f"{part}.") for name in arrays)]
    if not present:
        found = ", ".join(sorted({name.partition(".")[0] for name in arrays}))
        raise WeightsError(
            f"{weights.path}: layout {table.name!r} is of {found or 'nothing'}, which is no part of a model of "
            f"{system.name!r} ({', '.join(system.parts)})"
        )
    parts = {part: build_part(system, settings, part, 0) for part in present}
    accounts = tuple(transfer(weights, parts, layout=table))
    detail = {"file": str(weights.path.resolve()), "file_digest": file_digest(weights.path), "layout": table.name}
    loaded = {one.part: {"loaded": one.counted} for one in accounts}
    lineage = {
        name: Lineage(
            part=name, origin=Origin(kind="checkpoint", digest=part_digest(part), detail={**detail, **loaded[name]})
        )
        for name, part in parts.items()
    }
    return Model(system=system, settings=settings, parts=_ready(parts), lineage=lineage, accounts=accounts)


def system_of(path: str | Path, layout: str | None = None) -> str | None:
    """Name of the system that a foreign file is of; None for a run or a file of ours, which say it themselves.

    Args:
        path: a run or a file.
        layout: of the file, where it is known.

    Raises:
        WeightsError: no system knows the file's names, or several do.
    """
    if Path(path).is_dir():
        return None
    weights = read_weights(path)
    if header_of(weights):
        return None
    known = {name: find_system(name).layouts for name in system_names()}
    fitting = [
        name for name, layouts in known.items() if (layout in layouts if layout else recognised(weights, layouts))
    ]
    if len(fitting) == 1:
        return fitting[0]
    examples = ", ".join(list(weights.arrays)[:4])
    found = f"several systems know its names ({', '.join(fitting)})" if fitting else "its names fit no layout"
    raise WeightsError(f"{path}: {found} ({examples}, ...); say --system and --layout, or see `gradatim inspect`")


def _ready(parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return {name: part.eval().requires_grad_(False) for name, part in parts.items()}


def need_parts(model: Model, names: Sequence[str], purpose: str) -> None:
    """Raise WeightsError where a model lacks parts."""
    missing = [name for name in names if name not in model.parts]
    if missing:
        have = ", ".join(model.parts)
        raise WeightsError(problems(f"{purpose} needs parts that this model does not have (it has {have}):", missing))
