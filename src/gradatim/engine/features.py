"""Which values of a stage are kept in feature stores, under which keys, and what that costs."""

import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.data.batches import Key, keyed_batches
from gradatim.data.dataset import Dataset
from gradatim.engine.build import outline_part
from gradatim.engine.device import Place, precision_of
from gradatim.engine.module import read_fields
from gradatim.errors import DataError, PlanError
from gradatim.features.fingerprint import code_digest, part_code_digest, settings_read
from gradatim.features.schema import Field, Schema
from gradatim.features.shelf import Shelf
from gradatim.plan.graph import fields_of
from gradatim.plan.stage import Stage
from gradatim.system import System
from gradatim.task import MASK, Call, Task
from gradatim.weights import part_digest
from gradatim.weights.digest import text_digest

FIELDS = "fields"
"""Name of the target that holds fields of the sample themselves, such as labels."""
_UNIT_BYTES = 512 << 20
SHARD_VARIABLE = "GRADATIM_SHARD_BYTES"
"""Environment variable: about how many bytes a shard has."""
_SHARD_BYTES = 128 << 20
_SMALL = 4096


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples whose values are kept.

    Args:
        dataset: opened.
        digest: of it.
        views: how many drawn views of each sample; 1 where samples are the same in every epoch.
        drawn: whether samples are augmented, by draws that depend on seed, stage and view.
        seed, stage: of the plan.
    """

    dataset: Dataset
    digest: str
    views: int
    drawn: bool
    seed: int
    stage: str

    def __len__(self) -> int:
        return len(self.dataset) * self.views

    def key_of(self, row: int) -> Key:
        """(view, index) of a row of the store."""
        view, index = divmod(row, len(self.dataset))
        return view, index

    def batches(
        self, fields: Sequence[str], rows: Sequence[Sequence[int]], workers: int = 0
    ) -> Iterator[dict[str, Any]]:
        """The fields of these rows, batch by batch."""
        keys = [[self.key_of(row) for row in batch] for batch in rows]
        dataset = self.dataset if self.drawn else _Still(self.dataset)
        return keyed_batches(dataset, fields, keys, seed=self.seed, stage=self.stage, workers=workers)


class _Still:
    """A data set without its augmentation."""

    random = False

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.ragged = tuple(getattr(dataset, "ragged", ()))
        self.fields = dataset.fields

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        return self._dataset.name(index)

    def digest(self) -> str:
        return self._dataset.digest()

    def sample(self, index: int, fields: tuple[str, ...], random: object) -> dict[str, Tensor]:
        return self._dataset.sample(index, fields, None)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One store: values of one step, or fields of the sample.

    Args:
        name: of the step, or `fields`.
        values: that are kept.
        absent: values that are None here: masks where nothing is padded.
        key: of the store.
        about: what the key is made of.
        schema: of its records.
        parts: that computed it.
        payload: bytes of a sample beside its record, where its length varies; from a few samples.
    """

    name: str
    values: tuple[str, ...]
    absent: tuple[str, ...]
    key: str
    about: Mapping[str, Any]
    schema: Schema
    parts: tuple[str, ...] = ()
    payload: int = 0

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample on the disk."""
        return self.schema.stride + self.payload


@dataclass(kw_only=True)
class Prefix:
    """A stage's prefix on one data set: what computes the values that are kept.

    Args:
        system, stage, options: what runs.
        parts: modules by name, on the device, frozen.
        settings: of the system.
        samples: whose values.
        names: losses and metrics that read them.
        place: device.
    """

    system: System
    stage: Stage
    options: Mapping[str, Any]
    parts: Mapping[str, nn.Module]
    settings: Any
    samples: Samples
    names: tuple[str, ...]
    place: Place
    task: Task = field(init=False)
    kept: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.task = self.system.task_of(self.stage)
        self.kept = self.system.kept(self.stage, self.names, self.settings)

    @property
    def precision(self) -> AbstractContextManager[Any]:
        """The context in which the prefix runs."""
        return precision_of(self.stage.precision, self.place.device.type)

    def fields_for(self, want: Sequence[str], given: Collection[str] = ()) -> tuple[str, ...]:
        """Fields of the sample that lead to values, where some are given."""
        steps = self.task.given(given).names
        offered = self.system.offered(self.stage)
        return tuple(name for name in fields_of(steps, want, offered=offered) if name not in given)

    @torch.no_grad()
    def compute(self, batch: Mapping[str, Any], want: Sequence[str]) -> dict[str, Any]:
        """Values of a batch, on the device; parts are in eval mode."""
        with self.precision, _in_eval(self.parts):
            sent = self.place.send(dict(batch))
            return dict(self.task.compute(self.parts, sent, want=want, options=self.options))


class _in_eval:  # noqa: N801 - reads as the statement that it is
    """Parts in eval mode for a while."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._learning = [module for part in parts.values() for module in part.modules() if module.training]

    def __enter__(self) -> None:
        for module in self._learning:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for module in self._learning:
            module.training = True


def flat(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Values and the entries of dicts among them, `value.key`; absent ones are left out."""
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            # A mask of a dict stands beside each of its entries.
            stem, mask = (name.removesuffix(MASK), MASK) if name.endswith(MASK) else (name, "")
            found |= {f"{stem}.{key}{mask}": one for key, one in value.items() if one is not None}
        elif value is not None:
            found[name] = value
    return found


def targets_of(prefix: Prefix) -> list[Target]:
    """The stores that a stage's prefix fills or reads, by the order of their steps; two samples are computed.

    The fields that the remaining steps and losses read are kept too where they are small beside the values, so that
    the data need not be opened in training.
    """
    if not prefix.kept:
        return []
    with_masks = {
        step: tuple(
            dict.fromkeys((*values, *(v + MASK for v in values if v + MASK in _call(prefix, step).names.makes)))
        )
        for step, values in prefix.kept.items()
    }
    want = [value for values in with_masks.values() for value in values]
    count = len(prefix.samples)
    rows = sorted({0, count - 1})
    fields = prefix.fields_for(want)
    batch = next(prefix.samples.batches(fields, [rows]))
    found = prefix.compute(batch, want)
    targets = [_target(prefix, step, values, found) for step, values in with_masks.items()]
    given = [value for target in targets for value in (*target.values, *target.absent)]
    own = _fields_target(prefix, given, sum(target.sample_bytes for target in targets))
    return [*targets, *([own] if own else [])]


def _call(prefix: Prefix, step: str) -> Call:
    return next(call for call in prefix.task.steps if call.names.name == step)


def _target(prefix: Prefix, step: str, values: Sequence[str], found: Mapping[str, Any]) -> Target:
    absent = tuple(name for name in values if found[name] is None)
    flattened = flat({name: found[name] for name in values})
    fields = [
        _field(prefix, name, value, ragged=name + MASK in flattened)
        for name, value in flattened.items()
        if not (name.endswith(MASK) and name.removesuffix(MASK) in flattened)
    ]
    about = {
        **_step_key(prefix, step)[1],
        "data": _data_key(prefix),
        "values": [vars(one) for one in fields],
        "rows": len(prefix.samples),
    }
    key = text_digest(json.dumps(about, sort_keys=True, default=str))
    call = _call(prefix, step)
    return Target(
        name=step,
        values=tuple(values),
        absent=absent,
        key=key,
        about={**about, "key": key, "step": step, "absent": absent, "layouts": _layouts(prefix, call.names.parts)},
        schema=Schema(tuple(fields)),
        parts=call.names.parts,
        payload=sum(_payload(one, flattened[one.name + MASK]) for one in fields if one.ragged),
    )


def _layouts(prefix: Prefix, parts: Sequence[str]) -> dict[str, Any]:
    """What the tokens of parts stand for, of those that can tell: order, then numbers in time, height and width."""
    found = {}
    for part in parts:
        for name, module in {part: prefix.parts[part], **_children(part, prefix.parts[part])}.items():
            layout = getattr(module, "layout", None)
            if callable(layout):
                found[name] = list(layout())
    return found


def _children(part: str, module: nn.Module) -> dict[str, nn.Module]:
    if not isinstance(module, nn.ModuleDict):
        return {}
    return {f"{part}.{name}": child for name, child in module.items()}


def _payload(field: Field, mask: Tensor) -> int:
    """Bytes of a sample's valid rows, on average."""
    return int(mask.sum()) * field.row_bytes // len(mask)


def _field(prefix: Prefix, name: str, value: Tensor, *, ragged: bool) -> Field:
    computed = str(value.dtype).removeprefix("torch.")
    asked = prefix.stage.cache.dtype
    return Field(
        name=name,
        shape=tuple(value.shape[2:] if ragged else value.shape[1:]),
        dtype=asked if asked and value.is_floating_point() else computed,
        ragged=ragged,
        given=computed,
    )


def _step_key(prefix: Prefix, name: str) -> tuple[str, dict[str, Any]]:
    """Key of a step's values, and what it is made of."""
    call = _call(prefix, name)
    makers = {value: step.names.name for step in prefix.task.steps for value in step.names.makes}
    about = {
        "code": code_digest(call.function),
        "options": {key: value for key, value in prefix.options.items() if key.partition(".")[0] == name},
        "parts": {part: _part_key(prefix, part) for part in call.names.parts},
        "inputs": {
            value: _step_key(prefix, makers[value])[0] if value in makers else _data_key(prefix)
            for value in sorted(call.names.reads)
        },
        "precision": prefix.stage.precision,
    }
    return text_digest(json.dumps(about, sort_keys=True, default=str)), about


def _part_key(prefix: Prefix, part: str) -> dict[str, Any]:
    module = prefix.parts[part]
    return {
        "weights": part_digest(module),
        "code": part_code_digest(module),
        "settings": settings_read(prefix.settings, lambda given: outline_part(prefix.system, given, part)),
    }


def _data_key(prefix: Prefix) -> dict[str, Any]:
    samples = prefix.samples
    drawn = {"seed": samples.seed, "stage": samples.stage, "views": samples.views} if samples.drawn else {}
    return {"content": samples.digest, "code": code_digest(type(samples.dataset)), **drawn}


def _fields_target(prefix: Prefix, given: Sequence[str], stored: int) -> Target | None:
    """A store of the fields that are read beside the kept values, where they are small."""
    fields = read_fields(prefix.system, prefix.stage, prefix.names, given)
    ragged = getattr(prefix.samples.dataset, "ragged", ())
    if not fields or any(name in ragged for name in fields):
        return None
    batch = next(prefix.samples.batches(fields, [[0]]))
    found = flat({name: batch[name] for name in fields})
    if not all(isinstance(value, Tensor) for value in found.values()):
        return None
    schema = Schema(
        tuple(
            Field(name=name, shape=tuple(value.shape[1:]), dtype=str(value.dtype).removeprefix("torch."))
            for name, value in found.items()
        )
    )
    if schema.stride > max(stored, _SMALL):
        return None
    about = {"data": _data_key(prefix), "values": schema.to_json(), "rows": len(prefix.samples)}
    key = text_digest(json.dumps(about, sort_keys=True, default=str))
    return Target(
        name=FIELDS, values=fields, absent=(), key=key, about={**about, "key": key, "step": FIELDS}, schema=schema
    )


def shard_rows(targets: Sequence[Target]) -> dict[str, int]:
    """Records in a shard of each target, by key; equal for targets that are computed together."""
    size = _shard_bytes()
    steps = [target for target in targets if target.name != FIELDS]
    unit = max((target.schema.rows_unit for target in steps), default=1)
    widest = max((target.sample_bytes for target in steps), default=1)
    together = max(1, size // widest // unit) * unit
    fits = together * widest <= max(size, _UNIT_BYTES)
    return {target.key: together if fits and target.name != FIELDS else _own_rows(target, size) for target in targets}


def _own_rows(target: Target, size: int) -> int:
    unit = target.schema.rows_unit
    return max(1, size // target.sample_bytes // unit) * unit


def _shard_bytes() -> int:
    named = os.environ.get(SHARD_VARIABLE, "")
    if named and not (named.isdecimal() and int(named)):
        raise DataError(f"{SHARD_VARIABLE}: {named!r}; a number of bytes belongs there, such as {_SHARD_BYTES}")
    return int(named or _SHARD_BYTES)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it takes to fill the stores of a stage.

    Args:
        bytes: of all of them.
        missing: bytes that are not written yet.
        seconds: to compute what is missing, from a timed sample; None where nothing was timed.
        free: bytes on the disk of the feature stores.
        computes: values of which something is missing.
    """

    bytes: int
    missing: int
    seconds: float | None
    free: int
    computes: tuple[str, ...]


def cost_of(prefix: Prefix, targets: Sequence[Target], shelf: Shelf, *, timed: bool = True) -> Cost:
    """Bytes and time that the stores of a stage need; a batch or two is computed to know the time."""
    rows = len(prefix.samples)
    sizes = {target.key: target.sample_bytes * rows for target in targets}
    left = {target.key: shelf.missing_part(target.about) for target in targets}
    missing = [target for target in targets if left[target.key]]
    seconds = None
    if timed:
        steps = [target for target in missing if target.name != FIELDS]
        share = max((left[target.key] for target in steps), default=0.0)
        seconds = _seconds_per_sample(prefix, steps) * rows * share if steps else 0.0
    return Cost(
        bytes=sum(sizes.values()),
        missing=int(sum(sizes[key] * part for key, part in left.items())),
        seconds=seconds,
        free=shutil.disk_usage(shelf.existing_folder()).free,
        computes=tuple(value for target in missing for value in target.values),
    )


def _seconds_per_sample(prefix: Prefix, targets: Sequence[Target]) -> float:
    want = [value for target in targets for value in target.values]
    size = min(prefix.stage.batch_size, len(prefix.samples))
    whole = [list(range(start, start + size)) for start in (0, size) if start + size <= len(prefix.samples)]
    source = prefix.samples.batches(prefix.fields_for(want), whole)
    best = float("inf")
    while True:
        started = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            return best
        found = prefix.compute(batch, want)
        flat({name: found[name] for name in want})
        if prefix.place.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / size)


def check_room(stage: Stage, cost: Cost, folder: Path) -> None:
    """Raise DataError where the stores of a stage do not fit the disk, with the ways out."""
    wrong = no_room(f"stage {stage.name!r}", cost.missing, folder)
    if wrong:
        raise DataError(wrong[0])


def no_room(what: str, needed: int, folder: Path) -> list[str]:
    """What to do where features of so many bytes do not fit the disk of a folder; nothing where they do."""
    free = shutil.disk_usage(folder).free
    if needed > 0.97 * free:
        return [
            f"{what}: the features need {needed / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free. Two "
            "ways out: make them smaller or do without (`cache: {dtype: float16}` halves float32; `cache: off` "
            "computes them for every batch), or find room (GRADATIM_FEATURES names a folder on another disk; "
            "`gradatim features prune --keep 20GB` removes the oldest)"
        ]
    return []


def views_of(stage: Stage, dataset: Dataset, *, training: bool) -> int | None:
    """Views of each sample to keep, 1 where samples do not differ between epochs; None where none can be kept.

    Raises:
        PlanError: the plan asks for features that cannot be.
    """
    cache = stage.cache
    if not training or not dataset.random:
        return 1
    if cache.views is not None:
        if getattr(dataset, "draws_batches", False):
            raise PlanError(
                f"stage {stage.name!r}: `cache: {{views: {cache.views}}}` keeps samples one by one, but its data draws "
                "something for each batch as a whole (such as its size), which no sample would show. Take away one of "
                "the two"
            )
        return cache.views
    if cache.asked_for:
        raise PlanError(
            f"stage {stage.name!r}: `cache` asks for features, but its samples differ in every epoch (augmentation). "
            "Say how many drawn views of each sample to keep, `cache: {views: 4}`, or switch the augmentation off"
        )
    return None


def pays(stage: Stage, passes: float) -> bool:
    """Whether a stage keeps features: it says so, or it reads each sample at least twice."""
    return stage.cache.asked_for or (stage.cache.mode == "auto" and passes >= 2)
