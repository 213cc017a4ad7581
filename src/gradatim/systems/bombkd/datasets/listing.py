"""What a data set's folder lists: clips with labels, before any video is opened."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradatim.errors import DataError, problems, unknown

Labels = Literal["corrected", "original"]
"""Whether known mistakes in labels and splits are mended, or made as the published program makes them."""

NO_LABEL = -1


@dataclass(frozen=True, kw_only=True)
class VideoSample:
    """One clip.

    Args:
        path: of the video, or of the folder of its frames, below the listing's root; with `/` on every system.
        label: number of its class; -1 where the data set tells none.
        start: number of its first frame.
        end: number of the frame behind its last; None for the end of the video.
        mask: file of one number a frame, above 0 where something abnormal happens, below the listing's root.
        intervals: first and last frame of each abnormal event; None where the data set has no frame labels.
        group: what shares it shows the same scene and is held out together; the path where it is empty.
    """

    path: str
    label: int
    start: int = 0
    end: int | None = None
    mask: str | None = None
    intervals: tuple[tuple[int, int], ...] | None = None
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The clips of one split.

    Args:
        dataset: name of the layout.
        split: as asked for.
        root: folder that the samples' paths start from.
        classes: names by number.
        samples: in the data set's own order.
        notes: what a user should know about this split, one sentence each.
    """

    dataset: str
    split: str
    root: Path
    classes: tuple[str, ...]
    samples: tuple[VideoSample, ...]
    notes: tuple[str, ...] = ()


def read_lines(path: Path) -> list[str]:
    """Lines of a text file without surrounding blanks, empty ones left out.

    Raises:
        DataError: the file is missing or is not text.
    """
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error


def with_suffix_found(root: Path, stem: str, suffixes: Sequence[str]) -> str:
    """The path below `root` with the first suffix that exists there; with the first of all if none does."""
    found = (stem + suffix for suffix in suffixes if (root / (stem + suffix)).exists())
    return next(found, stem + suffixes[0])


def refuse_problems(heading: str, wrong: Iterable[str], *, shown: int = 20) -> None:
    """Raise all problems as one message; of very many, the first ones and their number.

    Raises:
        DataError: there is at least one.
    """
    lines = list(wrong)
    if lines:
        more = [f"... and {len(lines) - shown} more."] if len(lines) > shown else []
        raise DataError(problems(f"{heading}: {len(lines)} problem(s):", lines[:shown] + more))


def wrong_split(dataset: str, split: str, known: Iterable[str]) -> DataError:
    """The error for a split that a data set does not have."""
    return DataError(f"{dataset}: {unknown('split', split, known)}")


def below(path: Path, root: Path) -> str:
    """Path below `root` with `/` on every system."""
    return path.relative_to(root).as_posix()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}).") from error
