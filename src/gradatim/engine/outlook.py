"""What a stage will keep in feature stores, told before anything runs: values, bytes, time."""

import copy
import math
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gradatim.data.dataset import Dataset
from gradatim.engine.build import build_part, converted_options
from gradatim.engine.features import flat
from gradatim.engine.keep import passes
from gradatim.engine.module import parts_of
from gradatim.engine.shapes import remembered
from gradatim.errors import GradatimError
from gradatim.features.schema import DTYPES
from gradatim.features.shelf import Shelf
from gradatim.plan.graph import fields_of
from gradatim.plan.stage import Stage
from gradatim.system import System
from gradatim.task import Task

_LIGHT = 4_000_000
_COPIES: "WeakKeyDictionary[nn.Module, nn.Module]" = WeakKeyDictionary()
_TIMED = 60_000_000
"""Values in the frozen parts up to which a plan's table times a sample; `gradatim features --estimate` always does."""


def outlook(
    system: System, stage: Stage, settings: Any, outlines: Mapping[str, nn.Module], shapes: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What a stage keeps; None where it keeps nothing.

    Args:
        system, stage, settings: what runs.
        outlines: parts on the meta device.
        shapes: of each field of one sample.

    Returns:
        JSON values: `values`, `parts` that are read from stores, `samples` (None where the data cannot be opened),
        `bytes`, `bytes_per_sample`, `seconds` (None where nothing was timed), `free`, `why` where nothing is kept
        although frozen parts stand before the trained ones.
    """
    task = system.task_of(stage)
    want = system.wants(stage.loss_names())
    kept = system.kept(stage, stage.loss_names(), settings)
    if not kept:
        return None
    dataset = _glance(system, stage)
    why = _why_not(system, stage, dataset)
    if why:
        return {"values": [], "parts": [], "why": why}
    values = [value for one in kept.values() for value in one]
    sizes = outlined_bytes(system, stage, outlines, shapes, values)
    views = stage.cache.views or 1 if _varies(system, stage, dataset) else 1
    samples = len(dataset) * views if dataset is not None else None
    folder = Shelf().existing_folder()
    return {
        "values": values,
        "parts": sorted(_stored_parts(task, kept, want)),
        "why": None,
        "samples": samples,
        "bytes_per_sample": sizes,
        "bytes": sizes * samples if sizes is not None and samples is not None else None,
        "seconds": _timed(system, stage, settings, outlines, dataset, values, samples),
        "free": shutil.disk_usage(folder).free,
        "folder": str(Shelf().folder),
    }


def _stored_parts(task: Task, kept: Collection[str], want: Sequence[str]) -> set[str]:
    """Parts that compute nothing any more once these steps' values are stored."""
    values = [value for call in task.steps if call.names.name in kept for value in call.names.makes]
    return {*parts_of(task.chosen(want))} - {*parts_of(task.given(values).chosen(want))}


def _glance(system: System, stage: Stage) -> Dataset | None:
    look = system.data.glance or system.data.open
    try:
        dataset = look(system.data_settings(stage), "train")
        return dataset if len(dataset) else None
    except (GradatimError, OSError):
        return None


def _varies(system: System, stage: Stage, dataset: Dataset | None) -> bool:
    if dataset is not None:
        return dataset.random
    return system.data.varies(system.data_settings(stage))


def _why_not(system: System, stage: Stage, dataset: Dataset | None) -> str | None:
    """Why a stage whose prefix is frozen computes it for every batch; None where it does not."""
    if stage.cache.mode == "off":
        return "cache: off"
    if stage.cache.views is None and _varies(system, stage, dataset):
        return "samples differ in every epoch; `cache: {views: K}` keeps K of each"
    if not stage.cache.asked_for:
        if stage.epochs is not None and stage.epochs < 2:
            return "one pass over the data"
        if dataset is not None and passes(stage, len(dataset)) < 2:
            return "fewer than two passes over the data"
    return None


def kept_bytes(system: System, stage: Stage, settings: Any, outlines: Mapping[str, nn.Module]) -> int | None:
    """Bytes of the values of one training sample that a stage keeps; None where that cannot be told."""
    values = system.kept(stage, stage.loss_names(), settings)
    data = system.data_settings(stage)
    named = [value for one in values.values() for value in one]
    return outlined_bytes(system, stage, outlines, system.data.shapes(data, settings), named)


def outlined_bytes(
    system: System, stage: Stage, outlines: Mapping[str, nn.Module], shapes: Mapping[str, Any], values: list[str]
) -> int | None:
    """Bytes of these values of one sample, found on tensors that have shapes only; None where a step cannot run so."""
    task = system.task_of(stage)
    fields = fields_of(task.names, values, offered=system.offered(stage))
    parts, device = {part: outlines[part] for part in parts_of(task.chosen(values))}, "meta"
    if is_light(parts, shapes):
        parts, device = zeros_of(parts), "cpu"
    try:
        sample = {name: blank_field(shapes[name], 1, device) for name in fields if name in shapes}
        with torch.no_grad(), remembered(device):
            for part in parts.values():
                part.eval()
            found = task.compute(parts, sample, want=values, options=converted_options(system, stage))
    except (GradatimError, RuntimeError, NotImplementedError, TypeError, ValueError, KeyError):
        return None
    asked = stage.cache.dtype
    return sum(
        math.prod(value.shape[1:]) * (DTYPES[asked] if asked and value.is_floating_point() else value.dtype).itemsize
        for value in flat(found).values()
    )


def blank_field(shape: Any, batch: int, device: str) -> Any:
    """A field of a batch, all zeros.

    Args:
        shape: of one sample's field; a tensor stands for its shape and dtype, a dict for a dict of fields.
        batch: number of samples.
        device: `meta` for shapes alone.
    """
    if isinstance(shape, Mapping):
        return {name: blank_field(one, batch, device) for name, one in shape.items()}
    if isinstance(shape, Tensor):
        return torch.zeros(batch, *shape.shape, dtype=shape.dtype, device=device)
    return torch.zeros(batch, *shape, device=device)


def is_light(parts: Mapping[str, nn.Module], shapes: Mapping[str, Any]) -> bool:
    """Whether parts and samples are so small that computing with numbers is quicker than with shapes alone."""
    values = sum(array.numel() for part in parts.values() for array in part.state_dict().values())
    return values <= _LIGHT and sum(_numel(shape) for shape in shapes.values()) <= _LIGHT // 4


def _numel(shape: Any) -> int:
    if isinstance(shape, Mapping):
        return sum(_numel(one) for one in shape.values())
    return math.prod(shape.shape if isinstance(shape, Tensor) else shape)


def zeros_of(outlines: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Copies of parts of the meta device on the CPU, full of zeros."""
    return {name: _zeros(part) for name, part in outlines.items()}


def _zeros(part: nn.Module) -> nn.Module:
    """The same copy of a part at every call; its zeros are never changed."""
    if part not in _COPIES:
        arrays: dict[int, Any] = {}
        for weight in part.parameters():
            arrays[id(weight)] = nn.Parameter(torch.zeros(weight.shape, dtype=weight.dtype), weight.requires_grad)
        for buffer in part.buffers():
            arrays[id(buffer)] = torch.zeros(buffer.shape, dtype=buffer.dtype)
        # What stands in the memo is taken instead of a copy.
        _COPIES[part] = copy.deepcopy(part, arrays)
    return _COPIES[part]


def _timed(
    system: System,
    stage: Stage,
    settings: Any,
    outlines: Mapping[str, nn.Module],
    dataset: Dataset | None,
    values: list[str],
    samples: int | None,
) -> float | None:
    """Seconds that all samples take, from one that is computed with fresh weights."""
    task = system.task_of(stage)
    names = parts_of(task.chosen(values))
    size = sum(array.numel() for part in names for array in outlines[part].state_dict().values())
    if dataset is None or samples is None or size > _TIMED:
        return None
    parts = {part: build_part(system, settings, part, 0).eval() for part in names}
    fields = fields_of(task.names, values, offered=system.offered(stage))
    options = converted_options(system, stage)
    try:
        best = math.inf
        for _ in range(2):
            started = time.perf_counter()
            read = dataset.sample(0, fields, None)
            sample = {name: _alone(value) for name, value in read.items()}
            with torch.no_grad():
                task.compute(parts, sample, want=values, options=options)
            best = min(best, time.perf_counter() - started)
    except (GradatimError, RuntimeError):
        return None
    return best * samples


def _alone(value: Any) -> Any:
    return {name: one[None] for name, one in value.items()} if isinstance(value, Mapping) else value[None]
