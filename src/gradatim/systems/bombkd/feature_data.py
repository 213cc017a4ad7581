"""Features of published extractions as samples, and the published order of reading them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xxhash
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor

from gradatim.errors import DataError, problems, unknown
from gradatim.systems.bombkd.feature_files import FeatureSet, find_features
from gradatim.systems.bombkd.feature_shards import STUDENT, FeatureRecord, Shard, label_of


class FeatureSettings(BaseModel):
    """Which features.

    Args:
        root: a folder of features, an index, or a file of records.
        dataset: as written in the index; None where the folder holds one data set.
        split: what training reads.
        validate_split: what validation reads.
        teachers: those whose features are read; None for all that are there.
        labels: whether samples have labels; False for features that were written without, to train converters.
        dtype: "float32", or "stored" to keep 16-bit features as they are.
        memory: MiB of decoded pickle files that are kept; folders of arrays are mapped and need none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    dataset: str | None = None
    split: str | None = "train"
    validate_split: str | None = None
    teachers: tuple[str, ...] | None = None
    labels: bool = True
    dtype: Literal["float32", "stored"] = "float32"
    memory: PositiveInt = 4096


class FeatureDataset:
    """Features of clips; a `gradatim.data.dataset.Dataset`.

    A sample has `student_tokens` (N, D), `teacher_tokens`, teacher -> (N_i, D_i), and `label`, int64 scalar.

    Args:
        source: the features.
        settings: which teachers, and of what type.
        lengths: "student" or teacher -> the numbers of tokens that occur.
        widths: "student" or teacher -> width of a token.
        highest_label: of all records; -1 where none has a label.
    """

    random = False

    def __init__(
        self,
        source: FeatureSet,
        settings: FeatureSettings,
        lengths: dict[str, tuple[int, ...]],
        widths: dict[str, int],
        highest_label: int,
    ) -> None:
        self.source = source
        self.settings = settings
        self.widths = widths
        self.highest_label = highest_label
        self._lengths = lengths
        self._starts = np.cumsum((0, *source.counts))
        self._kept: OrderedDict[int, Shard] = OrderedDict()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        teachers = ("teacher_tokens",) if self.teachers else ()
        return ("student_tokens", *teachers, *(("label",) if self.settings.labels else ()))

    @property
    def teachers(self) -> tuple[str, ...]:
        """Teachers whose features are read."""
        return tuple(name for name in self._lengths if name != STUDENT)

    @property
    def ragged(self) -> tuple[str, ...]:
        """Fields whose number of tokens differs between clips."""
        differing = [name for name, lengths in self._lengths.items() if len(lengths) > 1]
        student = ("student_tokens",) if STUDENT in differing else ()
        return (*student, *(("teacher_tokens",) if any(name != STUDENT for name in differing) else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about these features, one sentence each."""
        return self.source.notes

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        # A worker process reads for itself: decoded files would be slow to send.
        return {**self.__dict__, "_kept": OrderedDict()}

    def name(self, index: int) -> str:
        """Number and path of a clip."""
        return f"{index}: {self._record(index).path}"

    def digest(self) -> str:
        """Hexadecimal xxh3 of all files' contents and the settings that change a sample."""
        content = f"bombkd features 2 {self.teachers} {self.settings.dtype} {self.source.digest()}"
        return xxhash.xxh3_128_hexdigest(content.encode())

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Any]:
        """Read the fields asked for.

        Args:
            index: 0 to length - 1.
            fields: which of `fields` to read.
            random: not used; nothing is random.

        Raises:
            DataError: a field is not offered, a record has no label or lacks a teacher, or a file is damaged.
        """
        wrong = [unknown("field", field, self.fields) for field in fields if field not in self.fields]
        record = self._record(index)
        if "teacher_tokens" in fields:
            wrong += [
                unknown("teacher", name, record.teachers) for name in self.teachers if name not in record.teachers
            ]
        if wrong:
            raise DataError(problems(f"sample {self.name(index)!r}:", wrong))
        sample: dict[str, Any] = {}
        for field in fields:
            if field == "student_tokens":
                sample[field] = self._tensor(record.student)
            elif field == "teacher_tokens":
                sample[field] = {name: self._tensor(record.teachers[name]) for name in self.teachers}
            else:
                sample[field] = torch.tensor(label_of(record, self.source.path), dtype=torch.int64)
        return sample

    def _tensor(self, values: np.ndarray[Any, Any]) -> Tensor:
        dtype = np.float32 if self.settings.dtype == "float32" else values.dtype
        return torch.from_numpy(np.array(values, dtype=dtype))

    def _record(self, index: int) -> FeatureRecord:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        if number not in self._kept:
            self._make_room(number)
            self._kept[number] = self.source.shard(number)
        self._kept.move_to_end(number)
        return self._kept[number][index - int(self._starts[number])]

    def _make_room(self, number: int) -> None:
        """Forget the files that were not used for longest until another one fits."""
        files = self.source.shards
        size = {kept: 0 if files[kept].is_dir() else files[kept].stat().st_size for kept in (*self._kept, number)}
        while self._kept and sum(size.values()) > self.settings.memory * 2**20:
            size.pop(self._kept.popitem(last=False)[0])


def open_features(settings: FeatureSettings, split: Literal["train", "validate", "all"]) -> FeatureDataset:
    """Find the features of a split and look at every record once.

    Raises:
        DataError: there are none, several sets fit, a file is damaged, records have no labels, lack a teacher or
            differ in width.
    """
    if split == "validate" and settings.validate_split is None:
        raise DataError(f"{settings.root}: nothing to validate on; set `validate_split`.")
    chosen = settings.validate_split if split == "validate" else settings.split
    source = find_features(settings.root, dataset=settings.dataset, split=chosen)
    if not source.index and settings.teachers is not None:
        # Without an index only the settings tell how names were written before they became names of files.
        source = replace(source, index={"teachers": list(settings.teachers)})
    return FeatureDataset(source, settings, *_looked_at(source, settings.teachers, labels=settings.labels))


def feature_shapes(settings: FeatureSettings) -> dict[str, Any]:
    """Shape of each field of the first record; of `teacher_tokens` by teacher.

    Raises:
        DataError: as `open_features`, for the first record.
    """
    source = find_features(settings.root, dataset=settings.dataset, split=settings.split)
    first = next(iter(source.shard(0)))
    named = first.teachers if settings.teachers is None else settings.teachers
    teachers = {name: first.teachers[name].shape for name in named}
    shapes: dict[str, Any] = {"student_tokens": first.student.shape}
    shapes |= {"teacher_tokens": teachers} if teachers else {}
    return shapes | ({"label": ()} if settings.labels else {})


def original_order(counts: Sequence[int], seed: int, *, within: bool = True) -> list[int]:
    """Order in which the published program reads records, every epoch the same.

    Args:
        counts: records of each shard.
        seed: torch's first seed in that process.
        within: whether records are shuffled inside each shard too.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = np.cumsum((0, *counts)).tolist()
    order: list[int] = []
    for shard in torch.randperm(len(counts), generator=generator).tolist():
        inside = torch.randperm(counts[shard], generator=generator) if within else torch.arange(counts[shard])
        order += (inside + starts[shard]).tolist()
    return order


def _looked_at(
    source: FeatureSet, teachers: tuple[str, ...] | None, *, labels: bool
) -> tuple[dict[str, tuple[int, ...]], dict[str, int], int]:
    """Numbers of tokens that occur and their width, of the student and of each teacher; and the highest label."""
    lengths: dict[str, set[int]] = {}
    widths: dict[str, set[int]] = {}
    wrong: list[str] = []
    highest = -1
    for number, record in enumerate(source.records()):
        wanted = tuple(record.teachers) if teachers is None and not number else teachers
        teachers = wanted
        highest = max(highest, label_of(record, source.path) if labels else -1)
        missing = [name for name in wanted or () if name not in record.teachers]
        wrong += [f"record {number}, {record.path!r}: {unknown('teacher', name, record.teachers)}" for name in missing]
        if len(wrong) > 20:
            break
        arrays = {STUDENT: record.student} | {n: record.teachers[n] for n in wanted or () if n not in missing}
        for name, array in arrays.items():
            lengths.setdefault(name, set()).add(len(array))
            widths.setdefault(name, set()).add(array.shape[1])
    wrong += [f"{name!r} has several widths: {sorted(found)}." for name, found in widths.items() if len(found) > 1]
    if not lengths and not wrong:
        wrong.append("holds no record.")
    if wrong:
        raise DataError(problems(f"{source.path}:", wrong))
    told = {name: tuple(sorted(found)) for name, found in lengths.items()}
    return told, {name: min(found) for name, found in widths.items()}, highest
