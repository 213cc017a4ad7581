"""Records of feature files: one file or folder of arrays at a time, without running anything that it holds."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.errors import DataError, FormatError, unknown
from gradatim.features import FeatureStore
from gradatim.systems.bombkd.datasets.listing import read_json
from gradatim.weights.formats.restricted_pickle import load_pickle

STUDENT = "student"
NO_LABELS = (
    "Cached features do not contain labels. Extract the features again, so that labels are written with them; "
    "or set `labels: false`, where none are needed."
)

NOT_ARRAYS = ("path", "label")
PATH, STUDENT_TOKENS, TEACHER_TOKENS = "path", "student_tokens", "teacher_tokens"
"""Names of fields in a feature store; a teacher's is `teacher_tokens.NAME`."""
STORE = "store.json"


@dataclass(frozen=True, kw_only=True)
class FeatureRecord:
    """Features of one clip.

    Args:
        path: of the clip, as the file tells it.
        label: number of its class; None where the file holds none.
        student: (N, D).
        teachers: teacher -> (N_i, D_i).
    """

    path: str
    label: int | None
    student: NDArray[Any]
    teachers: Mapping[str, NDArray[Any]]


class Shard:
    """Records of one file or folder by number.

    Args:
        path: where they come from.
        entries: path -> label, arrays; see the three readers.
    """

    def __init__(self, path: Path, entries: "_Listed | _Concatenated | StoredRecords") -> None:
        self.path = path
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> FeatureRecord:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._entries[number]

    def __iter__(self) -> Iterator[FeatureRecord]:
        return (self[number] for number in range(len(self)))


def open_shard(path: Path, teachers: Iterable[str] = ()) -> Shard:
    """Records of a pickle or JSON file, a folder of arrays, or a feature store; the latter two are mapped, not read.

    Args:
        path: the file or folder.
        teachers: names as they are written in an index, to undo the spelling of file names.

    Raises:
        DataError: the file is missing, damaged, or holds something else.
    """
    if path.is_dir():
        stored = (path / STORE).is_file()
        entries = StoredRecords(FeatureStore.open(path, verify=False)) if stored else _Concatenated(path, teachers)
        return Shard(path, entries)
    try:
        content = read_json(path) if path.suffix == ".json" else load_pickle(path)
    except FormatError as error:
        raise DataError(str(error)) from error
    if not isinstance(content, list) or not all(isinstance(entry, Mapping) for entry in content):
        raise DataError(f"{path}: holds no list of records.")
    return Shard(path, _Listed(path, content))


def label_of(record: FeatureRecord, source: Path) -> int:
    """Label of a record.

    Raises:
        DataError: it has none; the message tells the remedy.
    """
    if record.label is None:
        raise DataError(f"{source}, record {record.path!r}: {NO_LABELS}")
    return record.label


class _Listed:
    """Records as a list of dicts."""

    def __init__(self, path: Path, content: list[Mapping[str, Any]]) -> None:
        self._path, self._content = path, content

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, number: int) -> FeatureRecord:
        entry = self._content[number]
        place = f"{self._path}, record {number}"
        if STUDENT not in entry:
            raise DataError(f"{place}: has no {STUDENT!r}; it has: {', '.join(map(str, entry)) or 'nothing'}.")
        names = [key for key in entry if key not in NOT_ARRAYS]
        arrays = {key: _array(entry[key], f"{place}, {key!r}") for key in names if _is_array(entry[key])}
        if STUDENT not in arrays:
            raise DataError(f"{place}: {STUDENT!r} is a {type(entry[STUDENT]).__name__}, not an array.")
        label = entry.get("label")
        student = arrays.pop(STUDENT)
        path = str(entry.get("path", f"record {number}"))
        return FeatureRecord(path=path, label=None if label is None else int(label), student=student, teachers=arrays)


class _Concatenated:
    """Records as long arrays with the places where each begins."""

    def __init__(self, folder: Path, teachers: Iterable[str]) -> None:
        names = {name.replace("/", "_"): name for name in teachers}
        found = sorted(path.name.removesuffix("_concat.npy") for path in folder.glob("*_concat.npy"))
        if STUDENT not in found:
            raise DataError(f"{folder}: holds no {STUDENT}_concat.npy.")
        missing = [name for file, name in names.items() if file not in found]
        if missing:
            raise DataError(f"{folder}: {unknown('teacher', missing[0], found)}")
        # An index that tells teachers also tells their order.
        order = [STUDENT, *names, *(name for name in found if name not in names and name != STUDENT)]
        self._folder = folder
        self._arrays = {names.get(file, file): _mapped(folder, file) for file in order}
        self._offsets = {names.get(file, file): _offsets(folder, file) for file in order}
        self._paths = _loaded(folder / "paths.npy")
        labels = folder / "labels.npy"
        self._labels = _loaded(labels) if labels.exists() else None
        self._check()

    def __len__(self) -> int:
        return len(self._offsets[STUDENT]) - 1

    def __getitem__(self, number: int) -> FeatureRecord:
        arrays = {
            name: array[self._offsets[name][number] : self._offsets[name][number + 1]]
            for name, array in self._arrays.items()
        }
        student = arrays.pop(STUDENT)
        label = None if self._labels is None else int(self._labels[number])
        return FeatureRecord(path=str(self._paths[number]), label=label, student=student, teachers=arrays)

    def _check(self) -> None:
        wrong = []
        for name, offsets in self._offsets.items():
            whole = len(self._arrays[name])
            if offsets[0] != 0 or offsets[-1] != whole or (np.diff(offsets) < 0).any():
                wrong.append(f"the places of {name!r} do not fit its {whole} rows")
        sizes = {name: len(offsets) - 1 for name, offsets in self._offsets.items()} | {"paths": len(self._paths)}
        sizes |= {} if self._labels is None else {"labels": len(self._labels)}
        if len(set(sizes.values())) > 1:
            wrong.append("numbers of records differ: " + ", ".join(f"{name} {n}" for name, n in sizes.items()))
        if wrong:
            raise DataError(f"{self._folder}: {'; '.join(wrong)}.")


class StoredRecords:
    """Records of a feature store that holds the student's tokens, by number.

    Args:
        store: open.
    """

    def __init__(self, store: FeatureStore) -> None:
        if STUDENT_TOKENS not in store.names:
            raise DataError(f"{store.folder}: {unknown('field', STUDENT_TOKENS, store.names)}")
        self._store = store

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, number: int) -> FeatureRecord:
        row = self._store[number]
        arrays = {name: _numbers(value) for name, value in row.items() if name.startswith(f"{TEACHER_TOKENS}.")}
        path = bytes(row[PATH].numpy()).decode() if PATH in row else f"record {number}"
        return FeatureRecord(
            path=path,
            label=int(row["label"]) if "label" in row else None,
            student=_numbers(row[STUDENT_TOKENS]),
            teachers={name.partition(".")[2]: array for name, array in arrays.items()},
        )


def _numbers(value: Tensor) -> NDArray[Any]:
    """NumPy has no bfloat16."""
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | list) and np.ndim(value) >= 1


def _array(value: Any, place: str) -> NDArray[Any]:
    array = np.asarray(value, dtype=np.float32) if isinstance(value, list) else value
    if array.dtype.kind != "f" or array.ndim > 2:
        raise DataError(f"{place}: is {array.dtype} {array.shape}, not tokens of floating point numbers (N, D).")
    # Very old files hold one vector for each clip.
    return array[None] if array.ndim == 1 else array


def _loaded(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    try:
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: truncated, damaged, or no array of numbers or text ({error}).") from error
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: holds several arrays; one was expected.")
    return found


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    path = folder / f"{name}_concat.npy"
    # A file without a single row cannot be mapped.
    array = _loaded(path, mapped=True) if path.stat().st_size > 128 else _loaded(path)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise DataError(f"{path}: is {array.dtype} {array.shape}, not tokens of floating point numbers (N, D).")
    return array


def _offsets(folder: Path, name: str) -> NDArray[np.int64]:
    path = folder / f"{name}_offs.npy"
    offsets = _loaded(path)
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 1:
        raise DataError(f"{path}: is {offsets.dtype} {offsets.shape}, not a list of places.")
    return offsets.astype(np.int64)
