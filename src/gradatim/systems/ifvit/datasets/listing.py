"""What a folder of prints holds, and how its people are parted for training and validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradatim.data.image import verify_image
from gradatim.data.random import keyed_seed
from gradatim.errors import DataError, problems

Part = Literal["train", "test", ""]

_SHOWN = 20


@dataclass(frozen=True)
class PrintFile:
    """A print in a file.

    Args:
        path: of the file.
        finger: whose print it is, across all files of a data set.
        impression: which of the finger's prints.
        subject: the person, whose fingers are never split between training and validation; the finger itself where
            nobody knows the person.
        part: "train" or "test" by the data set's own split; empty where it has none.
    """

    path: Path
    finger: str
    impression: str
    subject: str
    part: Part = ""


@dataclass(frozen=True)
class Listing:
    """The prints of a folder.

    Args:
        files: sorted by finger, then by impression.
        notes: what a user should know, one sentence each.
    """

    files: tuple[PrintFile, ...]
    notes: tuple[str, ...] = ()


def parted(
    files: Sequence[PrintFile], split: Literal["train", "validate", "all"], *, holdout: float, seed: int
) -> tuple[PrintFile, ...]:
    """The files of a split; no person is on both sides.

    Whether a person is held out depends on the seed and on their name, not on who else is there: a filter of devices or
    of fingers moves nobody from one side to the other.

    Args:
        files: of the data set.
        split: "train", "validate", or "all" of training, what is held out included.
        holdout: share of the people that are held out; at least one where it is above 0. A data set's own part for
            tests is taken instead, if it has one.
        seed: of the choice.
    """
    if any(file.part == "test" for file in files):
        return tuple(file for file in files if (file.part == "test") == (split == "validate"))
    if split == "all":
        return tuple(files)
    held = _held({file.subject for file in files}, holdout, seed)
    return tuple(file for file in files if (file.subject in held) == (split == "validate"))


def _held(subjects: set[str], share: float, seed: int) -> frozenset[str]:
    places = {subject: keyed_seed(seed, "held out", subject) / 2**63 for subject in subjects}
    held = {subject for subject, place in places.items() if place < share}
    if share > 0 and not held:
        held = {min(subjects, key=places.__getitem__)}
    if len(held) == len(subjects):
        held.remove(max(held, key=places.__getitem__))
    return frozenset(held)


def verify_prints(root: Path, files: Sequence[PrintFile]) -> None:
    """Decode every file to its end.

    Raises:
        DataError: all files that cannot be read, one line each.
    """
    wrong = []
    for file in files:
        try:
            verify_image(file.path)
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        more = [f"... and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise DataError(
            problems(f"{root}: {len(wrong)} of {len(files)} prints cannot be read:", [*wrong[:_SHOWN], *more])
        )
