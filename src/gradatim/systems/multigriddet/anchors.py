"""Anchors: read, checked, written, brought to another size of input, and found by clustering; and weights of classes.

A file of anchors has one line for each scale with `width,height` in pixels of the network's input, separated by blanks;
or one anchor a line, with an empty line between scales. The large ones, for stride 32, come first.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import DataError, problems
from gradatim.systems.multigriddet.formats.entry import number
from gradatim.systems.multigriddet.formats.text import read_text

Anchor = tuple[float, float]
Anchors = tuple[tuple[Anchor, ...], ...]
Weighting = Literal["balanced", "inverse", "sqrt_inverse"]
Absent = Literal["exclude", "original"]

SCALES = 3

_ROUNDS = 300
_EPSILON = 1e-8


def read_anchors(path: Path) -> Anchors:
    """(width, height) of each anchor, by scale.

    Raises:
        DataError: the file is missing or no text, or its anchors are not as `check_anchors` asks.
    """
    text, _ = read_text(path)
    wrong: list[str] = []
    lines = [_read_line(f"{path}:{n}", line, wrong) for n, line in enumerate(text.splitlines(), 1)]
    if wrong:
        raise DataError(problems(f"{path}: {len(wrong)} problem(s):", wrong))
    anchors = _scales(lines)
    check_anchors(anchors, str(path))
    return anchors


def check_anchors(anchors: Anchors, name: str) -> None:
    """Refuse anchors that no detector could work with.

    Args:
        anchors: by scale.
        name: of their file, for the message.

    Raises:
        DataError: there are not three scales, a side is not positive and finite, or small ones come first.
    """
    wrong = []
    if len(anchors) != SCALES or not all(anchors):
        counts = ", ".join(str(len(one)) for one in anchors) or "none"
        wrong.append(f"needs three scales with at least one anchor each; anchors of its scales: {counts}.")
    sides = [side for scale in anchors for anchor in scale for side in anchor]
    if not all(np.isfinite(side) and side > 0 for side in sides):
        wrong.append("widths and heights must be above 0.")
    largest = [max(width * height for width, height in scale) for scale in anchors if scale]
    if not wrong and largest != sorted(largest, reverse=True):
        wrong.append("the scale with the largest anchors, for stride 32, must come first, the smallest last.")
    if wrong:
        raise DataError(problems(f"{name}:", wrong))


def format_anchors(anchors: Anchors) -> str:
    """Text that `read_anchors` reads back, one line for each scale."""
    return "".join(" ".join(f"{width:.10g},{height:.10g}" for width, height in scale) + "\n" for scale in anchors)


def rescaled(anchors: Anchors, base: tuple[int, int], size: tuple[int, int]) -> Anchors:
    """Anchors for an input of another size.

    Args:
        anchors: by scale.
        base: (height, width) that they are for.
        size: (height, width) that they shall be for.
    """
    x, y = size[1] / base[1], size[0] / base[0]
    return tuple(tuple((width * x, height * y) for width, height in scale) for scale in anchors)


def cluster_anchors(
    sizes: NDArray[np.float64], *, per_scale: Sequence[int] = (3, 3, 3), seed: int = 0
) -> tuple[Anchors, float]:
    """Anchors that fit boxes best: k-means by 1 - IoU at a common center, with medians.

    Args:
        sizes: (N, 2) width and height of boxes in pixels of the network's input.
        per_scale: how many anchors each scale gets, large ones first.
        seed: of the first choice; equal arguments give equal anchors.

    Returns:
        The anchors, the largest first, and the mean IoU of a box with its best one.

    Raises:
        DataError: there are fewer different boxes than anchors.
    """
    sizes = np.asarray(sizes, np.float64)
    count = sum(per_scale)
    kinds = np.unique(sizes, axis=0)
    if len(kinds) < count:
        raise DataError(f"{count} anchors need as many different boxes; there are {len(kinds)}.")
    centers = _first_centers(kinds, count, np.random.default_rng(seed))
    nearest = np.full(len(sizes), -1)
    for _ in range(_ROUNDS):
        closest = size_iou(sizes, centers).argmax(axis=1)
        if np.array_equal(closest, nearest):
            break
        nearest = closest
        centers = np.stack([np.median(sizes[nearest == i], axis=0) if (nearest == i).any() else centers[i]
                            for i in range(count)])  # fmt: skip
    order = np.lexsort((centers[:, 0], centers.prod(axis=1)))[::-1]
    found = iter([(float(width), float(height)) for width, height in centers[order]])
    anchors = tuple(tuple(sorted((next(found) for _ in range(number)), key=_area)) for number in per_scale)
    return anchors, float(size_iou(sizes, centers).max(axis=1).mean())


def size_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union at a common center, (N, 2) and (M, 2) to (N, M)."""
    common = np.minimum(first[:, None], second[None]).prod(axis=2)
    result: NDArray[np.float64] = common / (first.prod(axis=1)[:, None] + second.prod(axis=1)[None] - common)
    return result


def class_counts(labels: Iterable[NDArray[np.int64]], classes: int) -> NDArray[np.int64]:
    """How many objects each class has, (classes,)."""
    counts = np.zeros(classes, np.int64)
    for one in labels:
        counts += np.bincount(one, minlength=classes)
    return counts


def class_weights(
    counts: NDArray[np.int64], method: Weighting = "balanced", *, absent: Absent = "exclude"
) -> NDArray[np.float32]:
    """Weights that make rare classes count more, of mean 1 before they are held between 0.1 and 10.

    Args:
        counts: objects of each class.
        method: "balanced" and "inverse" are by the inverse of a class's share, "sqrt_inverse" by its root.
        absent: "exclude" reckons with the classes that occur, and gives the others 1. "original" reckons with all, as
            the published program does: one class that does not occur then takes all weight, and the others get 0.1.

    Returns:
        (classes,) float32.
    """
    here = counts > 0 if absent == "exclude" else np.ones(len(counts), np.bool_)
    weights = np.ones(len(counts), np.float64)
    if not counts.any():
        return weights.astype(np.float32)
    present = counts[here].astype(np.float64)
    share = present / (counts.sum() + (_EPSILON if method == "inverse" else 0))
    if method == "balanced":
        raw = counts.sum() / (len(present) * (present + _EPSILON))
    elif method == "inverse":
        raw = 1 / (share + _EPSILON)
    else:
        raw = 1 / (np.sqrt(share) + _EPSILON)
    weights[here] = np.clip(raw / (raw.mean() + _EPSILON), 0.1, 10)
    return weights.astype(np.float32)


def _read_line(where: str, line: str, wrong: list[str]) -> list[Anchor]:
    """Anchors of a line; `10,20, 30,40` and `10,20 30,40,` say the same."""
    anchors = []
    for word in re.sub(r"\s*,\s*(?=\S)", ",", line.strip()).split():
        parts = [number(part) for part in word.rstrip(",").split(",")]
        values = [value for value in parts if value is not None]
        if len(values) != len(parts) or len(values) % 2:
            wrong.append(f"{where}: {word!r} is not width,height.")
            continue
        anchors += list(zip(values[::2], values[1::2], strict=True))
    return anchors


def _scales(lines: Sequence[Sequence[Anchor]]) -> Anchors:
    """Anchors of each scale: of a line, or, where each line has one only, of lines between empty ones."""
    filled = [tuple(line) for line in lines if line]
    if any(len(line) > 1 for line in filled) or not any(not line for line in _inner(lines)):
        return tuple(filled)
    blocks: list[list[Anchor]] = [[]]
    for line in lines:
        if line:
            blocks[-1] += line
        elif blocks[-1]:
            blocks.append([])
    return tuple(tuple(block) for block in blocks if block)


def _inner(lines: Sequence[Sequence[Anchor]]) -> Sequence[Sequence[Anchor]]:
    """Lines from the first to the last that are not empty."""
    filled = [i for i, line in enumerate(lines) if line]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _first_centers(kinds: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Boxes far from one another: each is drawn by its distance to those before."""
    first = int(random.integers(len(kinds)))
    centers = kinds[first : first + 1]
    while len(centers) < count:
        distance = 1 - size_iou(kinds, centers).max(axis=1)
        distance[distance < _EPSILON] = 0
        drawn = random.choice(len(kinds), p=distance / distance.sum())
        centers = np.concatenate([centers, kinds[drawn : drawn + 1]])
    return centers


def _area(anchor: Anchor) -> float:
    width, height = anchor
    return width * height
