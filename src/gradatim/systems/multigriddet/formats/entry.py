"""What a reader of annotations hands on: entries of images with boxes as they stand in the file, and what is wrong."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["train", "validate"]

_ROLES = {"train": re.compile(r"train(ing|val)?\d*"), "validate": re.compile(r"val(id(ation)?)?\d*")}


@dataclass(frozen=True)
class Found:
    """One object as its file tells it.

    Args:
        where: file and line, or what else finds it again.
        box: left, top, right and bottom; perhaps not finite, inverted or outside.
        label: number of its class, not yet compared with the classes.
        crowd: whether it is a group that is marked as one.
        difficult: whether it is marked as hard to recognize.
    """

    where: str
    box: tuple[float, float, float, float]
    label: int
    crowd: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class Entry:
    """One image with its objects.

    Args:
        where: what tells of it, for messages.
        image: the file; perhaps missing.
        objects: in their order.
        relative: whether boxes are shares of the image's sides instead of pixels.
        size: (height, width) that the annotations claim, None where they do not.
    """

    where: str
    image: Path
    objects: tuple[Found, ...]
    relative: bool = False
    size: tuple[int, int] | None = None


@dataclass
class Reading:
    """All that was read; changes while a reader works.

    Args:
        entries: in the order of the files.
        classes: names by number, None where the files tell none.
        wrong: what is wrong, one line each.
        notes: what a user should know, one sentence each.
    """

    entries: list[Entry] = field(default_factory=list)
    classes: tuple[str, ...] | None = None
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What a reader is asked for.

    Args:
        root: a file or a folder.
        role: what the images are for; a reader chooses the split whose name says so.
        split: name of a split instead, None to choose by `role`.
        images: folder that names of images start from, None for the format's own place.
        classes: names by number that the user gave, None for the format's own.
    """

    root: Path
    role: Role = "train"
    split: str | None = None
    images: Path | None = None
    classes: tuple[str, ...] | None = None


def split_for(wanted: Wanted, names: list[str]) -> str | None:
    """The split of these names that is wanted; None if there is none."""
    if wanted.split is not None:
        return wanted.split if wanted.split in names else None
    return next((name for name in sorted(names) if _ROLES[wanted.role].fullmatch(name.lower())), None)


def number(text: str) -> float | None:
    """A number, perhaps infinite or not a number; None if the text is none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def whole(text: str) -> int | None:
    """A whole number; None if the text is none, or one with a fraction."""
    value = number(text)
    return int(value) if value is not None and value.is_integer() else None


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have, as it may stand in damaged annotations, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; see `is_file`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
