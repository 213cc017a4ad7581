"""UAV-Human: actions seen from a drone, split by people."""

import re
from pathlib import Path

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets.listing import (
    NO_LABEL,
    Labels,
    Listing,
    VideoSample,
    below,
    read_json,
    read_lines,
    refuse_problems,
    wrong_split,
)

SUFFIXES = (".avi", ".mp4", ".webm")
SPLITS = tuple(f"{kind}{version}" for kind in ("train", "test", "validation") for version in ("", "-v1", "-v2"))


def list_uav(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips of UAV-Human.

    Args:
        root: holds `all_rgb/*`, classes_map.csv (`A000,name`; the row is the class's number) and split.json with the
            people of Cross-Subject-v1 and -v2.
        split: "train", "test" or "validation" (the test people: there is no third), with "-v2" for the second way to
            part the people.
        labels: "original" keeps clips of unknown actions with label -1, and reads a split from parts of its name.

    Raises:
        DataError: a file is missing, the split does not exist, or a clip's name tells no known action and person.
    """
    version, kind = _split(split, labels)
    people = _people(root / "split.json", version, kind)
    codes, classes = _classes(root / "classes_map.csv")
    samples, wrong = [], []
    for video in _videos(root):
        person, action = re.search(r"P(\d{3})", video.name), re.search(r"A\d{3}", video.name)
        if person is None or action is None or action[0] not in codes:
            wrong.append(f"{below(video, root)}: tells no person (P and 3 digits) and known action (A and 3 digits).")
        if person is not None and int(person[1]) in people:
            label = codes.get(action[0], NO_LABEL) if action else NO_LABEL
            samples.append(VideoSample(path=below(video, root), label=label))
    if labels == "corrected":
        refuse_problems(str(root), wrong)
    notes = ("UAV-Human has no validation split; its test people are used.",) if split.startswith("val") else ()
    return Listing(dataset="uav", split=split, root=root, classes=classes, samples=tuple(samples), notes=notes)


def _split(split: str, labels: Labels) -> tuple[str, str]:
    """Name of the way to part the people, and which side."""
    second = "v2" in split or "cs2" in split
    kind = "test" if split.startswith(("test", "val")) else "train"
    if labels == "corrected" and re.fullmatch(r"(train|test|validation|val)([-_](v|cs)[12])?", split) is None:
        raise wrong_split("uav", split, SPLITS)
    return f"Cross-Subject-v{2 if second else 1}", kind


def _people(path: Path, version: str, kind: str) -> frozenset[int]:
    content = read_json(path)
    try:
        return frozenset(int(person) for person in content[version][kind])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: has no list of numbers under {version!r}, {kind!r}.") from error


def _classes(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Number of each code such as A000, and names by number; a name may hold commas."""
    rows = [line.partition(",") for line in read_lines(path)]
    rows = [row for row in rows if re.fullmatch(r"A\d{3}", row[0].strip())]
    return {code.strip(): number for number, (code, _, _) in enumerate(rows)}, tuple(row[2].strip() for row in rows)


def _videos(root: Path) -> list[Path]:
    folder = root / "all_rgb"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
