"""Pictures with annotated boxes, of any format, checked: what every reader's entries must stand up to.

All that is wrong is found when a data set is opened, and said at once. Nothing is dropped in silence: what is
left out on request, or cut to its picture, is counted in the notes.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.data.image import image_size, verify_image
from gradatim.errors import DataError, problems
from gradatim.systems.multigriddet.formats import READERS, Format, format_of
from gradatim.systems.multigriddet.formats.entry import Entry, Found, Reading, Wanted
from gradatim.systems.multigriddet.formats.text import unnamed

Check = Literal["full", "headers"]
OnBadBox = Literal["error", "drop"]

_SHOWN = 50
_LEAST_INSIDE = 0.5
_ROUNDING = 0.01
"""Pixels that a box may reach outside without a word: shares with six digits are not more exact."""


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture and its objects.

    Args:
        image: the file; a name where the picture is drawn.
        size: (height, width) of the upright picture.
        boxes: (N, 4) float64; left, top, right, bottom in pixels from the top left corner; inside, with area.
        classes: (N,) int64, from 0.
        crowd: (N,) bool; groups that are marked as one, and not learned.
        difficult: (N,) bool; objects that are marked as hard to recognize.
    """

    image: Path
    size: tuple[int, int]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """(N,) objects that need not be found."""
        return self.crowd | self.difficult


@dataclass(frozen=True)
class Annotations:
    """Checked annotations of a split.

    Args:
        images: in the order of the files.
        classes: names by number.
        notes: what a user should know, one sentence each.
    """

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Account:
    """What is wrong, and what was cut or left out; the first place of each kind."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def count(self, what: str, where: str) -> None:
        self.counts[what] += 1
        self.first.setdefault(what, where)


def read_annotations(
    wanted: Wanted, *, kind: Literal["auto"] | Format = "auto", check: Check = "headers", on_bad_box: OnBadBox = "error"
) -> Annotations | None:
    """Read and check annotations; None if there is no split for the wanted role.

    Args:
        wanted: which ones.
        kind: their format; "auto" tells it by what the file or folder holds.
        check: decode every picture to its end ("full") or look at its header only.
        on_bad_box: what becomes of boxes that are wrong; "drop" leaves them out and says so in the notes.

    Raises:
        DataError: all that is wrong with files, pictures and boxes, one line each.
    """
    if not wanted.root.exists():
        raise DataError(f"{wanted.root}: no such file or folder.")
    reader = READERS[format_of(wanted.root) if kind == "auto" else kind]
    reading = reader(wanted)
    if reading is None:
        return None
    return checked(reading, str(wanted.root), check=check, on_bad_box=on_bad_box)


def checked(reading: Reading, heading: str, *, check: Check, on_bad_box: OnBadBox) -> Annotations:
    """Hold entries against the pictures and the classes.

    Raises:
        DataError: all that is wrong, one line each.
    """
    account = _Account(wrong=list(reading.wrong))
    entries = _without_repeats(reading.entries, account)
    sizes = _sizes([entry.image for entry in entries], check, account)
    classes = reading.classes or _numbered(entries, account)
    notes = list(dict.fromkeys(reading.notes))
    if reading.classes is None:
        notes.append(f"No file names the classes: they are called {classes[0]!r} to {classes[-1]!r}.")
    images = [
        _judged(entry, size, classes, account, drop=on_bad_box == "drop")
        for entry, size in zip(entries, sizes, strict=True)
        if size is not None
    ]
    refuse(heading, account.wrong)
    if not images:
        raise DataError(f"{heading}: holds no image.")
    notes += [f"{count} {what}; the first is {account.first[what]}." for what, count in account.counts.items()]
    return Annotations(tuple(images), classes, tuple(notes))


def refuse(heading: str, wrong: Sequence[str]) -> None:
    """Raise all problems as one message; of very many, the first ones and their number.

    Raises:
        DataError: there is at least one.
    """
    if wrong:
        more = [f"... and {len(wrong) - _SHOWN} more."] if len(wrong) > _SHOWN else []
        raise DataError(problems(f"{heading}: {len(wrong)} problem(s):", [*wrong[:_SHOWN], *more]))


def _without_repeats(entries: Sequence[Entry], account: _Account) -> list[Entry]:
    """Entries with pictures of their own."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        key = os.path.normpath(entry.image)
        if key in seen:
            account.wrong.append(f"{entry.where}: {entry.image} stands in {seen[key].where} already.")
        seen.setdefault(key, entry)
    return list(seen.values())


def _sizes(images: Sequence[Path], check: Check, account: _Account) -> list[tuple[int, int] | None]:
    """(height, width) of each picture, None where it cannot be read."""
    look = verify_image if check == "full" else image_size

    def attempt(path: Path) -> tuple[int, int] | str:
        try:
            return look(path)
        except DataError as error:
            return str(error)
        except (OSError, ValueError) as error:
            # Names that no file can have: too long, or with a zero byte.
            return f"{path}: {getattr(error, 'strerror', None) or error}."

    # Pillow decodes without holding the interpreter's lock, so threads help.
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(attempt, images))
    account.wrong += [answer for answer in answers if isinstance(answer, str)]
    return [None if isinstance(answer, str) else answer for answer in answers]


def _numbered(entries: Iterable[Entry], account: _Account) -> tuple[str, ...]:
    """Names of classes that no file names."""
    found = [one for entry in entries for one in entry.objects]
    highest = max(found, key=lambda one: one.label, default=None)
    names = unnamed(max(highest.label, 0)) if highest else ("class 0",)
    if names is None:
        assert highest is not None
        account.wrong.append(f"{highest.where}: class {highest.label}, and no file names the classes; give `classes`.")
    return names or ("class 0",)


def _judged(
    entry: Entry, size: tuple[int, int], classes: tuple[str, ...], account: _Account, *, drop: bool
) -> AnnotatedImage:
    """An entry with boxes in pixels, cut to the picture; what is wrong goes to the account."""
    height, width = size
    if entry.size is not None and entry.size != size:
        told = f"{entry.size[0]} x {entry.size[1]}"
        account.wrong.append(f"{entry.where}: says {told} (height x width); {entry.image} is {height} x {width}.")
    objects, boxes = [], []
    factors = (width, height, width, height) if entry.relative else (1, 1, 1, 1)
    for one in entry.objects:
        box = tuple(value * factor for value, factor in zip(one.box, factors, strict=True))
        wrong = _box_fault(box, size) or _label_fault(one, classes)
        if wrong and drop:
            account.count("boxes that are wrong were left out (on_bad_box: drop)", f"{one.where}: {wrong}")
        elif wrong:
            account.wrong.append(f"{one.where}: {wrong}.")
        else:
            inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))
            if max(abs(a - b) for a, b in zip(box, inside, strict=True)) > _ROUNDING:
                account.count("boxes reach outside their picture and were cut to it", one.where)
            objects.append(one)
            boxes.append(inside)
    return AnnotatedImage(
        image=entry.image,
        size=size,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        classes=np.array([one.label for one in objects], np.int64),
        crowd=np.array([one.crowd for one in objects], np.bool_),
        difficult=np.array([one.difficult for one in objects], np.bool_),
    )


def _box_fault(box: tuple[float, ...], size: tuple[int, int]) -> str | None:
    """What is wrong with a box in pixels."""
    left, top, right, bottom = box
    words = f"box {left:g},{top:g},{right:g},{bottom:g}"
    if not np.isfinite(box).all():
        return f"{words} is not finite"
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0:
        return f"{words} has no area (width {width:g}, height {height:g})"
    inside = max(min(right, size[1]) - max(left, 0), 0) / width * (max(min(bottom, size[0]) - max(top, 0), 0) / height)
    where = f"its picture of {size[1]} x {size[0]} (width x height)"
    if inside == 0:
        return f"{words} lies outside {where}"
    return f"{words} lies mostly outside {where}" if inside < _LEAST_INSIDE else None


def _label_fault(one: Found, classes: tuple[str, ...]) -> str | None:
    if 0 <= one.label < len(classes):
        return None
    return f"unknown class {one.label}; there are {len(classes)}, counted from 0"
