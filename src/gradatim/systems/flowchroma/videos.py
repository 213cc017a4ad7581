"""Videos as lists of pictures, and the windows that samples are cut from.

A picture is told by a source: a file, or a drawing of `gradatim.systems.flowchroma.synthetic`. Sources can be compared
and hashed, so that what many windows share is read, kept and digested once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gradatim.data.image import IMAGE_SUFFIXES, Picture, read_image
from gradatim.weights.digest import file_digest

_MOST_LINES = 20


class Source(Protocol):
    """Where a picture comes from; hashable."""

    @property
    def name(self) -> str:
        """Name of the picture in its video."""
        ...

    def read(self) -> Picture:
        """The picture, RGB, (H, W, 3) uint8."""
        ...

    def digest(self) -> str:
        """Hexadecimal digest of what the picture is made of."""
        ...


@dataclass(frozen=True)
class PictureFile:
    """A picture on disk; a `Source`.

    Args:
        path: of an image file.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> Picture:
        """The picture, RGB, (H, W, 3) uint8.

        Raises:
            DataError: the file is missing or damaged.
        """
        return read_image(self.path)

    def digest(self) -> str:
        """Digest of the file's bytes."""
        return file_digest(self.path)


@dataclass(frozen=True)
class Video:
    """Frames in their order.

    Args:
        name: unique among the videos.
        frames: in the order of time.
        references: of each frame, the pictures that its colors may be taken from; none for the video's first frame.
    """

    name: str
    frames: tuple[Source, ...]
    references: tuple[tuple[Source, ...], ...]


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Args:
        videos: sorted by name.
        wrong: what is wrong, one line each; anything here forbids the use of the videos.
        notes: what a user should know, one sentence each.
    """

    videos: tuple[Video, ...] = ()
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Neighboring frames of a video.

    Args:
        video: which one.
        start: number of the first frame.
        length: number of frames.
    """

    video: Video
    start: int
    length: int

    @property
    def name(self) -> str:
        """VIDEO/FRAME, the first frame's; unique among windows of one length."""
        return f"{self.video.name}/{self.frames[0].name}"

    @property
    def frames(self) -> tuple[Source, ...]:
        """The frames."""
        return self.video.frames[self.start : self.start + self.length]

    @property
    def references(self) -> tuple[tuple[Source, ...], ...]:
        """Of each frame, the pictures that its colors may be taken from."""
        return self.video.references[self.start : self.start + self.length]


def windows(videos: Sequence[Video], length: int) -> list[Window]:
    """Every `length` neighboring frames, by video and then by frame; none of a video that is shorter."""
    return [Window(video, start, length) for video in videos for start in range(max(len(video.frames) - length + 1, 0))]


def frame_order(name: str) -> tuple[tuple[int, str], ...]:
    """Key that sorts names as their numbers count: `f9.png` before `f10.png`."""
    parts = re.split(r"([0-9]+)", name)
    return (*((int(part), "") if part.isdecimal() else (-1, part) for part in parts), (-1, name))


def pictures_in(folder: Path) -> list[Path]:
    """Image files of a folder in the order of their numbers; hidden files and others are not looked at."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((path for path in files if not path.name.startswith(".") and path.is_file()), key=_order_of)


def folders_in(folder: Path) -> list[Path]:
    """Folders of a folder, sorted by name; hidden ones are not looked at."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def shortened(lines: Sequence[str]) -> tuple[str, ...]:
    """The first lines, and how many more there are."""
    if len(lines) <= _MOST_LINES:
        return tuple(lines)
    return (*lines[:_MOST_LINES], f"... and {len(lines) - _MOST_LINES:,} more like these.")


def _order_of(path: Path) -> tuple[tuple[int, str], ...]:
    return frame_order(path.name)
