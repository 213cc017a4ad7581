"""What a folder of features holds: counts, shapes, statistics and labels, as values that JSON can hold."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import DataError, unknown
from gradatim.systems.bombkd.datasets import NO_LABEL
from gradatim.systems.bombkd.feature_files import find_features
from gradatim.systems.bombkd.feature_shards import STUDENT, FeatureRecord


@dataclass
class ArrayStatistics:
    """Mean, deviation and range of all numbers of many arrays, gathered array by array in double precision.

    Args:
        arrays: how many were seen.
        elements: numbers in them.
        mean, squares: of all numbers, and the sum of squared differences from it.
        low, high: smallest and largest number.
        norms: sum of the arrays' Euclidean norms.
        shapes: how often each shape was seen.
        finite: whether all numbers are; those that are not are left out of the figures.
    """

    arrays: int = 0
    elements: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")
    norms: float = 0.0
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    finite: bool = True

    def add(self, array: NDArray[Any]) -> None:
        """Take one more array into account."""
        values = np.asarray(array, dtype=np.float64)
        self.arrays += 1
        self.shapes[values.shape] += 1
        if not np.isfinite(values).all():
            self.finite, values = False, values[np.isfinite(values)]
        self.norms += float(np.linalg.norm(values))
        if not values.size:
            return
        # Two groups of numbers are merged by their means (Chan et al. 1983), which loses no digits.
        mean, squares = float(values.mean()), float(values.var()) * values.size
        total = self.elements + values.size
        shift = mean - self.mean
        self.squares += squares + shift * shift * self.elements * values.size / total
        self.mean += shift * values.size / total
        self.elements = total
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def told(self) -> dict[str, Any]:
        """The figures; the deviation is that of a sample, with one degree of freedom less."""
        return {
            "count_vectors": self.arrays,
            "count_elements": self.elements,
            "mean": self.mean,
            "std": (self.squares / max(self.elements - 1, 1)) ** 0.5 if self.elements else None,
            "min": self.low if self.elements else None,
            "max": self.high if self.elements else None,
            "avg_l2": self.norms / self.arrays if self.arrays else None,
            "shapes_seen": {str(shape): count for shape, count in sorted(self.shapes.items())},
        }


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """Labels of a folder of features.

    Args:
        counts: how often each label stands there, by number.
        missing: paths of clips whose label is -1 or absent.
        unexpected: paths of clips whose label is not one of those asked for, with the label.
    """

    counts: dict[int, int]
    missing: tuple[str, ...]
    unexpected: tuple[tuple[str, int], ...]

    @property
    def good(self) -> bool:
        """Whether every clip has a label that was expected."""
        return not self.missing and not self.unexpected


def inspect_features(
    path: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    keys: Collection[str] = (),
    limit: int = 0,
    statistics: bool = True,
    samples: int = 3,
) -> dict[str, Any]:
    """Describe features in any of their forms.

    Args:
        path: folder, index or file of features.
        dataset, split: which, where a folder holds several.
        keys: entries of the records to describe; empty for all.
        limit: records to look at; 0 for all.
        statistics: whether to read the numbers, not just their shapes.
        samples: how many records to list.

    Returns:
        Values for JSON: `metadata` (the index), `num_records`, `scanned_records`, `keys`, `per_key` (present,
        present_pct, example_shape, is_numeric, ragged: whether shapes differ, stats), `student_key`, `teacher_keys`,
        `d_in`, `d_out_map`, `label_key`, `label_counts`, `unlabelled` (paths), `not_finite` (keys), `samples`.

    Raises:
        DataError: there are no such features, a file is damaged, or a key does not exist.
    """
    found = find_features(path, dataset=dataset, split=split)
    seen: dict[str, _Seen] = {}
    there: dict[str, None] = {}
    labels: Counter[str] = Counter()
    unlabelled, listed, scanned = [], [], 0
    for record in islice(found.records(), limit or None):
        entries = dict(_entries(record))
        there.update(dict.fromkeys(entries))
        for key, value in entries.items():
            if not keys or key in keys:
                seen.setdefault(key, _Seen()).add(value, statistics=statistics)
        if "label" in entries:
            labels[str(record.label)] += 1
        if record.label in (None, NO_LABEL):
            unlabelled.append(record.path)
        if scanned < samples:
            listed.append(
                {key: value if key in ("path", "label") else list(value.shape) for key, value in entries.items()}
            )
        scanned += 1
    _refuse_unseen(path, keys, there)
    teachers = [key for key in seen if key not in ("path", "label", STUDENT)]
    return {
        "path": str(found.path),
        "metadata": {key: value for key, value in found.index.items() if key != "shards"},
        "notes": list(found.notes),
        "num_records": len(found),
        "scanned_records": scanned,
        "keys": list(seen),
        "per_key": {key: entry.told(scanned, statistics=statistics) for key, entry in seen.items()},
        "student_key": STUDENT if STUDENT in seen else None,
        "teacher_keys": teachers,
        "d_in": seen[STUDENT].width if STUDENT in seen else None,
        "d_out_map": {key: seen[key].width for key in teachers},
        "label_key": "label" if labels else None,
        "label_counts": dict(labels.most_common()),
        "unlabelled": unlabelled,
        "not_finite": [key for key, entry in seen.items() if not entry.statistics.finite],
        "samples": listed,
    }


def scan_labels(
    path: Path, *, expected: Collection[int] = (), dataset: str | None = None, split: str | None = None
) -> LabelReport:
    """Count the labels of features in any of their forms.

    Args:
        path: folder, index or file of features.
        expected: labels that may stand there; empty for any but -1.
        dataset, split: which, where a folder holds several.

    Raises:
        DataError: there are no such features, or a file is damaged.
    """
    counts: Counter[int] = Counter()
    missing, unexpected = [], []
    for record in find_features(path, dataset=dataset, split=split).records():
        if record.label is None or record.label == NO_LABEL:
            missing.append(record.path)
            continue
        counts[record.label] += 1
        if expected and record.label not in expected:
            unexpected.append((record.path, record.label))
    return LabelReport(counts=dict(sorted(counts.items())), missing=tuple(missing), unexpected=tuple(unexpected))


@dataclass
class _Seen:
    """One entry of all records."""

    present: int = 0
    numeric: bool = False
    example: tuple[int, ...] | None = None
    statistics: ArrayStatistics = field(default_factory=ArrayStatistics)

    @property
    def width(self) -> int | None:
        """Width D of tokens, if it is one."""
        widths = {shape[-1] for shape in self.statistics.shapes if shape}
        return widths.pop() if len(widths) == 1 else None

    def add(self, value: Any, *, statistics: bool) -> None:
        self.present += 1
        if isinstance(value, str):
            return
        array = np.asarray(value)
        self.numeric = True
        self.example = array.shape if self.example is None else self.example
        if statistics:
            self.statistics.add(array)
        else:
            self.statistics.shapes[array.shape] += 1

    def told(self, records: int, *, statistics: bool) -> dict[str, Any]:
        return {
            "present": self.present,
            "present_pct": self.present / records if records else 0.0,
            "example_shape": None if self.example is None else list(self.example),
            "is_numeric": self.numeric,
            "ragged": len(self.statistics.shapes) > 1,
            "stats": self.statistics.told() if self.numeric and statistics else None,
        }


def _refuse_unseen(path: Path, keys: Collection[str], seen: Collection[str]) -> None:
    wrong = [unknown("key", key, seen) for key in keys if key not in seen]
    if wrong:
        raise DataError(f"{path}: {' '.join(wrong)}")


def _entries(record: FeatureRecord) -> Iterator[tuple[str, Any]]:
    """What a record holds, in the order of the files."""
    yield "path", record.path
    if record.label is not None:
        yield "label", record.label
    yield STUDENT, record.student
    yield from record.teachers.items()
