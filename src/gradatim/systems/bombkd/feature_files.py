"""Feature files of the published program: found, described and read, without running anything that they hold.

Four forms hold the same records: one pickle file, one JSON file, several pickle files, or several folders of NumPy
arrays; the last two with an index beside them. A fifth is a feature store that such files were imported into.
Records come one by one; no more than one file's are in memory.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from gradatim.errors import DataError
from gradatim.files import write_json
from gradatim.systems.bombkd.datasets.listing import read_json
from gradatim.systems.bombkd.feature_shards import (
    NOT_ARRAYS,
    STORE,
    STUDENT,
    TEACHER_TOKENS,
    FeatureRecord,
    Shard,
    label_of,
    open_shard,
)
from gradatim.weights.digest import file_digest
from gradatim.weights.formats.restricted_pickle import dump_pickle

_INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.+)_shard_\d+(\.pkl)?")


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """The features of one split of a data set, in one or more files.

    Args:
        path: the index, or the file or folder itself.
        dataset: as written in the index or the file's name; empty where neither tells.
        split: the same.
        shards: files or folders of arrays, in order.
        index: everything that the index tells; empty without one.
        notes: what a user should know, one sentence each.
    """

    path: Path
    dataset: str
    split: str
    shards: tuple[Path, ...]
    index: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Data set and split, for messages."""
        return f"{self.dataset or '?'} {self.split or '?'}"

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of records of each shard; opens the shards that the index does not count.

        Raises:
            DataError: a shard is missing or damaged.
        """
        told = [entry.get("count") for entry in self.index.get("shards", ())]
        if told and all(isinstance(count, int) for count in told):
            return tuple(told)
        return tuple(len(open_shard(shard, self.teachers)) for shard in self.shards)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names that the index tells; files of arrays spell them with `_` for `/`."""
        return tuple(map(str, self.index.get("teachers", ())))

    def __len__(self) -> int:
        return sum(self.counts)

    def digest(self) -> str:
        """Hexadecimal xxh3 of all files' names and contents."""
        state = xxhash.xxh3_128()
        for shard in self.shards:
            for file in sorted(shard.iterdir()) if shard.is_dir() else [shard]:
                state.update(f"{file.name} {file_digest(file)}\n".encode())
        return state.hexdigest()

    def records(self) -> Iterator[FeatureRecord]:
        """All records in order; one shard is open at a time.

        Raises:
            DataError: a shard is missing, damaged, or does not hold as many records as the index says.
        """
        for number in range(len(self.shards)):
            yield from self.shard(number)

    def shard(self, number: int) -> Shard:
        """One shard, opened.

        Raises:
            DataError: as `records`.
        """
        path = self.shards[number]
        found = open_shard(path, self.teachers)
        entries = self.index.get("shards", ())
        told = entries[number].get("count") if entries else None
        if told is not None and told != len(found):
            raise DataError(f"{path}: holds {len(found)} records, but {self.path.name} says {told}.")
        return found


def find_features(path: Path, *, dataset: str | None = None, split: str | None = None) -> FeatureSet:
    """The one set of features at a path.

    Args:
        path: a folder, an index, a file of records, or a folder of arrays.
        dataset, split: which, where a folder holds several.

    Raises:
        DataError: there is none, or more than one; what the folder holds is listed.
    """
    sets = list_features(path)
    fits = [s for s in sets if dataset in (None, s.dataset) and split in (None, s.split)]
    # A file with a name of its own is taken for what was asked for, if nothing else is.
    chosen = fits or [s for s in sets if not s.dataset and not s.split]
    wanted = " ".join(part for part in (dataset, split) if part)
    have = "; ".join(f"{s.title} ({s.path.name})" for s in sets) or "no features"
    if not chosen:
        raise DataError(f"{path}: no features of {wanted or 'any data set'} there. It holds: {have}.")
    if len(chosen) > 1:
        raise DataError(
            f"{path}: {len(chosen)} sets of features fit; choose by `dataset` and `split`. It holds: {have}."
        )
    return chosen[0]


def list_features(path: Path) -> list[FeatureSet]:
    """All sets of features at a path; opens the indexes alone.

    Raises:
        DataError: the path does not exist, or an index is damaged or names files that do not exist.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder.")
    if path.name.endswith(_INDEX):
        return [_indexed(path)]
    if (path / STORE).is_file():
        return [_stored(path)]
    if path.is_file() or (path / "labels.npy").exists() or (path / f"{STUDENT}_concat.npy").exists():
        dataset, split = _named(_SHARD.sub(r"\g<stem>", path.name))
        return [FeatureSet(path=path, dataset=dataset, split=split, shards=(path,))]
    sets = [_indexed(index) for index in sorted(path.glob(f"*{_INDEX}"))]
    taken = {shard for found in sets for shard in found.shards}
    loose: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        sharded = _SHARD.fullmatch(file.name)
        if sharded and file not in taken:
            loose.setdefault(sharded["stem"], []).append(file)
        elif file.is_file() and not sharded and file.suffix in (".pkl", ".json") and not file.name.endswith(_INDEX):
            dataset, split = _named(file.name)
            sets.append(FeatureSet(path=file, dataset=dataset, split=split, shards=(file,)))
    return sets + [_unindexed(path, stem, files) for stem, files in loose.items()]


def export_features(
    folder: Path,
    records: Iterable[FeatureRecord],
    *,
    dataset: str,
    split: str,
    shard_size: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write records as the published program does: one pickle file, or several with an index.

    Args:
        folder: where; made if it does not exist.
        records: all with a label and the same teachers.
        dataset, split: for the names of files.
        shard_size: records in a file; 0 writes one file of all, without an index, and holds them all in memory.
        about: further entries of the index, such as `student`, `num_frames`.

    Returns:
        The file, or the index.

    Raises:
        DataError: there is no record, or one has no label.
    """
    stem = f"features_{dataset}_{split}"
    remaining = iter(records)
    if not shard_size:
        entries = [_entry(record) for record in remaining]
        _refuse_none(entries, folder)
        dump_pickle(folder / f"{stem}.pkl", entries)
        return folder / f"{stem}.pkl"
    shards: list[dict[str, Any]] = []
    start, entries = 0, []
    while part := [_entry(record) for record in islice(remaining, shard_size)]:
        entries = entries or part[:1]
        name = f"{stem}_shard_{len(shards):05d}.pkl"
        dump_pickle(folder / name, part)
        shards.append({"file": name, "start": start, "count": len(part)})
        start += len(part)
    _refuse_none(entries, folder)
    arrays = {key: value for key, value in entries[0].items() if key not in NOT_ARRAYS}
    told = {
        "dataset": dataset,
        "root": "",
        "split": split,
        "teachers": [key for key in arrays if key != STUDENT],
        "dtype": str(arrays[STUDENT].dtype),
        **(about or {}),
        "shard_size": shard_size,
        "storage": "pkl",
        "num_samples": start,
        "shards": shards,
    }
    write_json(folder / f"{stem}{_INDEX}", told)
    return folder / f"{stem}{_INDEX}"


def _indexed(path: Path) -> FeatureSet:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("shards"), list):
        raise DataError(f"{path}: tells no list of shards.")
    shards, wrong = [], []
    for entry in content["shards"]:
        # The program writes the name without its suffix, and looks for it without.
        names = [path.parent / str(entry.get("file")), path.parent / f"{entry.get('file')}.pkl"]
        found = next((name for name in names if name.exists()), None)
        wrong += [] if found else [str(entry.get("file"))]
        shards += [found] if found else []
    if wrong:
        raise DataError(f"{path}: names shards that do not exist: {', '.join(wrong)}.")
    dataset, split = (str(content.get(key, "")) for key in ("dataset", "split"))
    return FeatureSet(path=path, dataset=dataset, split=split, shards=tuple(shards), index=content)


def _stored(path: Path) -> FeatureSet:
    about = read_json(path / STORE)
    fields = [entry["name"] for entry in about["fields"]]
    teachers = [name.partition(".")[2] for name in fields if name.startswith(f"{TEACHER_TOKENS}.")]
    index = {**about.get("index", {}), "teachers": teachers, "shards": [{"file": path.name, "count": about["rows"]}]}
    dataset, split = about.get("dataset", ""), about.get("split", "")
    return FeatureSet(path=path, dataset=dataset, split=split, shards=(path,), index=index)


def _unindexed(folder: Path, stem: str, files: list[Path]) -> FeatureSet:
    dataset, split = _named(stem)
    note = f"{stem}: {len(files)} shard(s) without an index; their extraction did not come to its end."
    return FeatureSet(path=folder, dataset=dataset, split=split, shards=tuple(files), notes=(note,))


def _named(name: str) -> tuple[str, str]:
    """Data set and split of a file `features_{dataset}_{split}`."""
    match = re.fullmatch(r"features_([^_]+)_(.+?)(\.pkl|\.json)?", name)
    return (match[1], match[2]) if match else ("", "")


def _entry(record: FeatureRecord) -> dict[str, Any]:
    label = label_of(record, Path(record.path))
    arrays = {STUDENT: record.student, **record.teachers}
    return {"path": record.path, "label": label} | {key: np.array(value) for key, value in arrays.items()}


def _refuse_none(entries: list[dict[str, Any]], folder: Path) -> None:
    if not entries:
        raise DataError(f"{folder}: there is no record to write.")
