"""The published program's annotation lists: one line an image, `path x1,y1,x2,y2,class x1,y1,x2,y2,class ...`.

Corners are in pixels, classes count from 0. A line without boxes is an image without objects; it counts, too. A path
may hold blanks: it ends where the first box begins.
"""

import re
from pathlib import Path

from gradatim.systems.multigriddet.formats.entry import Entry, Found, Reading, Wanted, is_file, number, whole
from gradatim.systems.multigriddet.formats.text import CLASS_FILES, read_classes, read_lines

_LEAST_COMMAS = 3
_DRIVE = re.compile(r"[A-Za-z]:/")


def read_annotation_lines(wanted: Wanted) -> Reading | None:
    """Read a list; None for validation, for which a list of its own is given.

    Raises:
        DataError: the file is missing, or is not text.
    """
    if wanted.role == "validate":
        return None
    lines, notes = read_lines(wanted.root)
    reading = Reading(classes=wanted.classes, notes=notes)
    if reading.classes is None:
        found = next((wanted.root.parent / name for name in CLASS_FILES if (wanted.root.parent / name).is_file()), None)
        if found is not None:
            reading.classes, more = read_classes(found)
            reading.notes += more
    if not lines:
        reading.wrong.append(f"{wanted.root}: holds no line.")
    for line, text in lines:
        _read_line(f"{wanted.root}:{line}", text, wanted, reading)
    return reading


def _read_line(where: str, text: str, wanted: Wanted, reading: Reading) -> None:
    words = text.split()
    first = next((i for i, word in enumerate(words) if _resembles_box(word)), len(words))
    if first == 0:
        reading.wrong.append(f"{where}: begins with a box; the path of an image comes first.")
        return
    objects = []
    for count, word in enumerate(words[first:], 1):
        found = _object(f"{where}, box {count}", word)
        if isinstance(found, str):
            reading.wrong.append(found)
        else:
            objects.append(found)
    # Blanks inside of the path stay as they are, however many.
    path = text if first == len(words) else _before(text, words[first:])
    reading.entries.append(Entry(where, _image(path, wanted), tuple(objects)))


def _before(text: str, words: list[str]) -> str:
    """What stands before some words at the end of a text."""
    for word in reversed(words):
        text = text.rstrip().removesuffix(word)
    return text.rstrip()


def _resembles_box(word: str) -> bool:
    """Whether a word is numbers between commas, perhaps too few or too many, or empty ones."""
    parts = word.split(",")
    return len(parts) > _LEAST_COMMAS and all(not part or number(part) is not None for part in parts)


def _object(where: str, word: str) -> Found | str:
    """The object of a word, or what is wrong with it."""
    parts = word.split(",")
    values = [number(part) for part in parts]
    if len(parts) != 5:
        return f"{where}: {word!r} has {len(parts)} values; needs 5: x1,y1,x2,y2,class."
    if None in values:
        return f"{where}: {word!r} is no box x1,y1,x2,y2,class."
    label = whole(parts[4])
    if label is None:
        return f"{where}: class {parts[4]!r} is not a whole number."
    left, top, right, bottom = (value for value in values[:4] if value is not None)
    return Found(where, (left, top, right, bottom), label)


def _image(told: str, wanted: Wanted) -> Path:
    """The file that a path names, beside the list or below `images`.

    A path from the root of another computer's disk keeps only its end below `images`: as much of it as is found there.
    """
    base = wanted.images or wanted.root.parent
    if "\\" in told and not is_file(base / told):
        told = told.replace("\\", "/")
    absolute = told.startswith("/") or _DRIVE.match(told) is not None
    if not absolute:
        return base / told
    if wanted.images is None:
        return Path(told)
    parts = [part for part in told.split("/") if part]
    ends = [base.joinpath(*parts[start:]) for start in range(len(parts))]
    return next((end for end in ends if is_file(end)), ends[-1] if ends else base)
