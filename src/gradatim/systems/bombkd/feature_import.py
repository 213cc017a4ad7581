"""Published feature files into a feature store.

A store is read at the speed of memory in any order, which no form of the published files is. Fields are named as in
training: `student_tokens`, `teacher_tokens.NAME` and `label`; `path` holds the clip's path as UTF-8.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatim.errors import DataError, problems, unknown
from gradatim.features import FeatureStore, Field
from gradatim.systems.bombkd.feature_files import FeatureSet
from gradatim.systems.bombkd.feature_shards import PATH, STUDENT_TOKENS, TEACHER_TOKENS, FeatureRecord, label_of

KEY = "published features 1"


@dataclass
class _Known:
    """What all records together look like."""

    rows: int = 0
    labels: int = 0
    lengths: dict[str, set[int]] = field(default_factory=dict)
    widths: dict[str, set[int]] = field(default_factory=dict)
    dtypes: dict[str, set[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, record: FeatureRecord) -> None:
        arrays = _arrays(record)
        if self.rows and set(arrays) != set(self.lengths):
            other = sorted(set(arrays) ^ set(self.lengths))[0]
            self.wrong.append(f"record {self.rows}, {record.path!r}: {unknown('entry', other, self.lengths)}")
        for name, array in arrays.items():
            self.lengths.setdefault(name, set()).add(len(array))
            self.widths.setdefault(name, set()).add(array.shape[1])
            self.dtypes.setdefault(name, set()).add(str(array.dtype))
        self.labels += record.label is not None
        self.rows += 1

    def fields(self, *, labels: bool, dtype: str | None) -> list[Field]:
        found = [
            Field(
                name=name,
                shape=(min(widths),) if len(self.lengths[name]) > 1 else (min(self.lengths[name]), min(widths)),
                dtype=dtype or max(self.dtypes[name], key=lambda one: np.dtype(one).itemsize),
                ragged=len(self.lengths[name]) > 1,
            )
            for name, widths in self.widths.items()
        ]
        found += [Field(name="label", shape=(), dtype="int64")] if labels else []
        return [*found, Field(name=PATH, shape=(), dtype="uint8", ragged=True)]


def import_features(
    source: FeatureSet,
    folder: Path,
    *,
    labels: bool = True,
    dtype: str | None = None,
    shard_bytes: int = 128 << 20,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureStore:
    """Write features into a store; goes on where an earlier call was stopped.

    No more than one of the source's files is in memory. It is read twice: the first time to know lengths and widths.

    Args:
        source: from `find_features`.
        folder: of the store; made if it does not exist.
        labels: whether records have labels; False leaves them out.
        dtype: of stored tokens, such as `float16`; None keeps the widest that the files hold.
        shard_bytes: about the size of one file of the store.
        report: receives (records done, records in all).

    Returns:
        The store, complete.

    Raises:
        DataError: a record has no label, lacks a teacher or differs in width, a number is too large for the dtype,
            the folder holds something else, or the disk is full.
    """
    known = _looked_at(source, labels=labels)
    about = {
        "key": f"{KEY} {source.digest()}",
        "dataset": source.dataset,
        "split": source.split,
        "index": _told(source),
    }
    writer = FeatureStore.create(
        folder, known.fields(labels=labels, dtype=dtype), rows=known.rows, about=about, shard_bytes=shard_bytes
    )
    writer.remove_leftovers()
    missing, records, done = set(writer.missing()), source.records(), 0
    for shard in range(writer.shards):
        count = len(writer.range_of(shard))
        if shard in missing:
            with writer.claimed(shard) as free, writer.shard(shard) if free else nullcontext() as target:
                for record in islice(records, count):
                    if target is not None:
                        writer.append(target, _values(record, labels=labels))
                    done += 1
                    report(done, known.rows)
        else:
            done += sum(1 for _ in islice(records, count))
            report(done, known.rows)
    store = writer.finish()
    if store is None:
        raise DataError(f"{folder}: another process is writing some of its shards; call again when it is done.")
    return store


def _looked_at(source: FeatureSet, *, labels: bool) -> _Known:
    known = _Known()
    for record in source.records():
        if labels:
            label_of(record, source.path)
        known.add(record)
        if len(known.wrong) > 20:
            break
    known.wrong += [
        f"{name!r} has several widths: {sorted(widths)}." for name, widths in known.widths.items() if len(widths) > 1
    ]
    if not known.rows:
        known.wrong.append("holds no record.")
    if known.wrong:
        raise DataError(problems(f"{source.path}:", known.wrong))
    return known


def _told(source: FeatureSet) -> dict[str, Any]:
    """What an index tells beside its shards; not the machine's path of the data set."""
    return {key: value for key, value in source.index.items() if key not in ("shards", "root", "shard_size")}


def _arrays(record: FeatureRecord) -> dict[str, np.ndarray]:
    teachers = {f"{TEACHER_TOKENS}.{name}": array for name, array in record.teachers.items()}
    return {STUDENT_TOKENS: record.student, **teachers}


def _values(record: FeatureRecord, *, labels: bool) -> dict[str, Tensor | None]:
    values: dict[str, Tensor | None] = {
        name: torch.from_numpy(np.array(array))[None] for name, array in _arrays(record).items()
    }
    if labels:
        values["label"] = torch.tensor([record.label], dtype=torch.int64)
    values[PATH] = torch.from_numpy(np.frombuffer(record.path.encode(), np.uint8).copy())[None]
    return values
