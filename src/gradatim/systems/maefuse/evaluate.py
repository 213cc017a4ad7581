"""Metrics over folders of fused pictures, beside what needs no network: the pixel average and maximum.

A fused picture that cannot beat the average of its sources has learned little; so the two baselines are
measured on the same pairs, always.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatim.data.image import Deep, read_image
from gradatim.errors import DataError, problems
from gradatim.systems.maefuse.metrics import NAMES, gray, measure
from gradatim.systems.maefuse.pairs import Check, Pair, check_pairs, check_pictures, find_pairs, list_images, name_key

Gray = NDArray[np.float64]

FUSED = "fused"
BASELINES: Mapping[str, Callable[[Gray, Gray], Gray]] = {
    "average": lambda visible, infrared: np.rint((visible + infrared) / 2),
    "maximum": np.maximum,
}
METHODS = (FUSED, *BASELINES)


@dataclass(frozen=True)
class Row:
    """One picture's metrics.

    Args:
        name: of the pair.
        method: "fused", or a baseline.
        values: by the metric's name.
    """

    name: str
    method: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of every picture by every method.

    Args:
        rows: one for each pair and method.
    """

    rows: tuple[Row, ...]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Mean over the pictures: method -> metric -> value."""
        return {
            method: {
                name: float(np.mean([row.values[name] for row in self.rows if row.method == method])) for name in NAMES
            }
            for method in METHODS
        }

    def to_json(self) -> str:
        """All rows and means; a value that is not finite (PSNR of equal pictures) as null."""
        content = {"means": self.means, "rows": [asdict(row) for row in self.rows]}
        return json.dumps(_finite(content), indent=1, allow_nan=False)


def evaluate_folder(
    fused: Path,
    roots: Sequence[Path] | Path,
    *,
    subset: bool = False,
    data_range: float = 255,
    base: float = math.e,
    deep: Deep = "divide",
    check: Check = "full",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Evaluation:
    """Measure fused pictures against their sources; pictures in color count by their gray version.

    Args:
        fused: folder of fused pictures, named like their pairs.
        roots: one or more folders with `vi/` and `ir/`.
        subset: allow pairs without a fused picture, and leave them out.
        data_range: of SSIM, 255 or, for comparison with older papers, 2.
        base: of the logarithm in MI.
        deep: as for `read_image`.
        check: "full" decodes every file before the first is measured.
        progress: called with the number of pairs done and of all, at the start and after each.

    Raises:
        DataError: everything that is wrong with the files, one line each.
    """
    matched = match_fused(fused, [roots] if isinstance(roots, Path) else roots, subset=subset, deep=deep, check=check)
    rows: list[Row] = []
    progress(0, len(matched))
    for done, (pair, file) in enumerate(matched, start=1):
        visible, infrared = (_read_gray(path, deep) for path in (pair.visible, pair.infrared))
        pictures = {FUSED: _read_gray(file, deep)}
        pictures |= {name: merge(visible, infrared) for name, merge in BASELINES.items()}
        for method, picture in pictures.items():
            rows.append(Row(pair.name, method, measure(picture, visible, infrared, data_range=data_range, base=base)))
        progress(done, len(matched))
    return Evaluation(tuple(rows))


def match_fused(
    fused: Path, roots: Sequence[Path], *, subset: bool = False, deep: Deep = "divide", check: Check = "full"
) -> list[tuple[Pair, Path]]:
    """Pairs with their fused pictures, checked.

    Args:
        fused: folder of fused pictures.
        roots: folders of pairs.
        subset: allow pairs without a fused picture.
        deep: as for `read_image`.
        check: how thoroughly files are checked.

    Raises:
        DataError: everything that is wrong, one line each.
    """
    pairs, wrong = find_pairs(roots)
    files, more = list_images(fused)
    wrong += more
    by_key: dict[str, Pair] = {}
    for pair in pairs:
        key = name_key(pair.visible.stem)
        if key in by_key:
            wrong.append(
                f"pairs {by_key[key].name!r} and {pair.name!r} have the same name: evaluate one root at a time."
            )
        by_key[key] = pair
    wrong += [f"{files[key]}: there is no pair of this name." for key in files if key not in by_key]
    if not subset:
        wrong += [f"{fused}: no fused picture for {by_key[key].name!r}." for key in by_key if key not in files]
    matched = [(by_key[key], files[key]) for key in by_key if key in files]
    wrong += _picture_problems(matched, deep=deep, check=check)
    if wrong:
        raise DataError(problems(f"{len(wrong)} problem(s) with what to evaluate:", wrong))
    return matched


def _picture_problems(matched: Sequence[tuple[Pair, Path]], *, deep: Deep, check: Check) -> list[str]:
    """Unreadable pictures, pairs of unequal size, and fused pictures of another size than their pair."""
    sizes, wrong = check_pairs([pair for pair, _ in matched], check=check, deep=deep)
    fused_sizes, more = check_pictures((file for _, file in matched), check=check, deep=deep)
    wrong += more
    for pair, file in matched:
        ours, theirs = fused_sizes.get(file), sizes.get(pair.visible)
        if ours and theirs and ours != theirs:
            wrong.append(
                f"{file}: is {ours[0]} x {ours[1]}, its pair is {theirs[0]} x {theirs[1]} (height x width); "
                "metrics compare pixel by pixel."
            )
    return wrong


def _read_gray(path: Path, deep: Deep) -> Gray:
    return gray(read_image(path, deep=deep))


def _finite(value: object) -> object:
    """The same content with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
