"""Data sets of fingerprints as they lie on disk: which finger each file shows, and which print of it.

A finger is a finger, not a person or a device: two fingers of one person are no genuine pair, and one finger on two
devices is. Each layout is told by the names of its files alone.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from re import Match

from gradatim.data.image import IMAGE_SUFFIXES
from gradatim.errors import DataError, problems, unknown
from gradatim.systems.ifvit.datasets.listing import Listing, Part, PrintFile, parted, verify_prints

_THUMBS = {11: 1, 12: 6}
"""Numbers of thumbs that were printed plainly, as those of the rolled ones; 13 and above are several fingers."""
_SHOWN = 10

Names = tuple[str, str, str, Part]
"""Finger, impression, subject and part of a file."""


@dataclass(frozen=True)
class DataSet:
    """A layout.

    Args:
        pattern: of a file's path below the root, without its suffix; letters' case does not matter.
        names: what the pattern found -> finger, impression, subject and part; None for files that show no single
            finger.
        example: a path that follows the layout, for messages.
    """

    pattern: str
    names: Callable[[Match[str]], Names | None]
    example: str


def _plain(found: Match[str]) -> Names:
    return found["finger"], found["impression"], found["finger"], ""


def _fvc2002(found: Match[str]) -> Names:
    finger = f"db{found['base']}_{int(found['finger']):03d}"
    return finger, found["impression"], finger, "train" if found["part"].lower() == "a" else "test"


def _fvc2004(found: Match[str]) -> Names:
    finger = f"db{found['base']}_{int(found['finger']):03d}"
    return finger, found["impression"], finger, ""


def _sd4(found: Match[str]) -> Names:
    return f"{found['number']}_{found['finger']}", found["rolling"].lower(), found["number"], ""


def _sd300(found: Match[str]) -> Names | None:
    return _single(found, found["kind"].lower())


def _sd301a(found: Match[str]) -> Names | None:
    kind = found["kind"].lower()
    if kind in ("slap", "palm") or kind.startswith("palm"):
        return None
    return _single(found, f"{found['device']}_{found['capture']}_{found['encounter']}")


def _sd302a(found: Match[str]) -> Names | None:
    return _single(found, found["device"].upper())


def _single(found: Match[str], impression: str) -> Names | None:
    """Names by person and finger position; None for positions that are several fingers."""
    position = int(found["finger"])
    position = _THUMBS.get(position, position)
    if not 1 <= position <= 10:
        return None
    return f"{found['subject']}_{position:02d}", impression, found["subject"], ""


_FVC = r"(?:.*/)?db(?P<base>[1-3])_(?P<part>[{parts}])/(?P<finger>\d+)_(?P<impression>\d+)"

DATASETS: Mapping[str, DataSet] = {
    "plain": DataSet(r"(?P<finger>[^/]+)_(?P<impression>[^/_]+)", _plain, "101_1.tif"),
    "fvc2002": DataSet(_FVC.format(parts="ab"), _fvc2002, "Dbs/Db1_a/1_1.tif"),
    "fvc2004": DataSet(_FVC.format(parts="a"), _fvc2004, "Dbs/DB1_A/1_1.tif"),
    "sd4": DataSet(r"(?:.*/)?(?P<rolling>[fs])(?P<number>\d{4})_(?P<finger>\d{2})", _sd4, "figs_0/f0001_01.png"),
    "sd300": DataSet(
        r"(?:.*/)?images/500/png/[^/]+/(?P<subject>[^/_]+)_(?P<kind>roll|plain)_500_(?P<finger>\d{1,2})",
        _sd300,
        "images/500/png/roll/00001000_roll_500_01.png",
    ),
    "sd301a": DataSet(
        r"(?:.*/)?friction-ridge/[^/]+/500/(?P<kind>[^/]+)/png/(?P<subject>[^/_]+)_(?P<encounter>[^/_]+)"
        r"_(?P<device>[^/_]+)_500_(?P<capture>[^/_]+)_(?P<finger>\d{1,2})",
        _sd301a,
        "images/friction-ridge/dryrun-A/500/roll/png/00002300_1A_A_500_roll_01.png",
    ),
    "sd302a": DataSet(
        r"(?:.*/)?challengers/[^/]+/roll/png/(?P<subject>[^/_]+)_(?P<device>[^/_]+)_roll_(?P<finger>\d{1,2})",
        _sd302a,
        "images/challengers/A/roll/png/00002302_A_roll_01.png",
    ),
    "fpgan": DataSet(
        r"(?:.*/)?ID_(?P<finger>\d{7,8})/ID_\d+_im(?P<impression>\d+)(?:_instance\d+)?",
        _plain,
        "ID_0000001/ID_0000001_im001_instance0000001.png",
    ),
}

__all__ = [
    "DATASETS",
    "DataSet",
    "Listing",
    "PrintFile",
    "dataset_name",
    "list_prints",
    "parted",
    "verify_prints",
]


def dataset_name(name: str) -> str:
    """Our name of a layout.

    Raises:
        DataError: there is no such layout.
    """
    ours = name.lower()
    if ours not in DATASETS:
        raise DataError(unknown("layout", name, DATASETS))
    return ours


def list_prints(layout: str, root: Path) -> Listing:
    """All prints below a folder; files are not opened.

    Args:
        layout: a key of `DATASETS`.
        root: the folder.

    Raises:
        DataError: there is no such layout or folder, no file follows the layout, or two files are the same print.
    """
    chosen = DATASETS[dataset_name(layout)]
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.")
    pattern = re.compile(chosen.pattern, re.IGNORECASE)
    files, strange, several = [], [], 0
    for path in _images(root):
        found = pattern.fullmatch(path.relative_to(root).with_suffix("").as_posix())
        names = chosen.names(found) if found else None
        if names:
            finger, impression, subject, part = names
            files.append(PrintFile(path, finger, impression, subject, part))
        elif found:
            several += 1
        else:
            strange.append(path)
    if not files:
        raise DataError(
            f"{root}: none of {len(strange) + several} images follows layout {layout!r}, such as {chosen.example}."
        )
    _refuse_twins(root, files)
    files.sort(key=lambda file: (_natural(file.finger), _natural(file.impression)))
    return Listing(tuple(files), tuple(_notes(root, strange, several)))


def _images(root: Path) -> list[Path]:
    """Every image file below a folder, once, whatever the case of its suffix."""
    return sorted(
        Path(folder) / name
        for folder, _, names in os.walk(root)
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    )


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts 2 before 10."""
    return tuple((int(run), "") if run.isdigit() else (-1, run) for run in re.findall(r"\d+|\D+", text))


def _refuse_twins(root: Path, files: list[PrintFile]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    wrong = []
    for file in files:
        first = seen.setdefault((file.finger, file.impression), file.path)
        if first != file.path:
            names = (path.relative_to(root).as_posix() for path in (first, file.path))
            wrong.append(f"{' and '.join(names)}: both are print {file.impression!r} of finger {file.finger!r}")
    if wrong:
        more = [f"... and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise DataError(problems(f"{root}: files that are the same print; keep one:", [*wrong[:_SHOWN], *more]))


def _notes(root: Path, strange: list[Path], several: int) -> list[str]:
    notes = []
    if strange:
        first = strange[0].relative_to(root).as_posix()
        notes.append(f"Not read: {len(strange)} images that do not follow the layout, such as {first}.")
    if several:
        notes.append(f"Not read: {several} images of several fingers, or of palms.")
    return notes
