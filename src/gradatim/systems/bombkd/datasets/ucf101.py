"""UCF101: `{Class}/v_*.avi` and three pairs of lists in `ucfTrainTestlist/`."""

import re
from pathlib import Path

from gradatim.systems.bombkd.datasets.listing import (
    NO_LABEL,
    Labels,
    Listing,
    VideoSample,
    read_lines,
    refuse_problems,
    with_suffix_found,
    wrong_split,
)

FOLDER = "ucfTrainTestlist"
SPLITS = ("train", "test", "validation")


def list_ucf101(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips of UCF101.

    Args:
        root: holds the classes' folders and `ucfTrainTestlist/`; a clip may be .mp4 instead of .avi.
        split: "train", "test" or "validation" (the test list: there is no third), with the number of the list, 1 to 3,
            behind it; without a number the first list.
        labels: "original" takes any other word for "train", and keeps clips of unknown classes with label -1.

    Raises:
        DataError: a list is missing, the split does not exist, or a clip's class stands in no list of classes.
    """
    kind, number = _split(split, labels)
    ids = _class_ids(root)
    source = root / FOLDER / f"{kind}list{number:02d}.txt"
    samples, wrong = [], []
    for line in read_lines(source):
        path, _, told = line.partition(" ")
        name = path.partition("/")[0]
        label = ids.get(name, NO_LABEL)
        if label == NO_LABEL:
            wrong.append(f"{path}: class {name!r} does not stand in classInd.txt.")
        elif told.strip().isdigit() and int(told) != label + 1:
            wrong.append(f"{path}: has number {told.strip()}, but class {name!r} has {label + 1} in classInd.txt.")
        stem, dot, suffix = path.rpartition(".")
        found = with_suffix_found(root, stem, (dot + suffix, ".mp4")) if dot else path
        # v_{Class}_g08_c01: clips of one group are cut out of one video.
        samples.append(VideoSample(path=found, label=label, group=stem.rpartition("_c")[0]))
    if labels == "corrected":
        refuse_problems(str(source), wrong)
    notes = ("UCF101 has no validation split; its test list is used.",) if split.startswith("val") else ()
    classes = tuple(sorted(ids, key=lambda name: ids[name]))
    return Listing(dataset="ucf101", split=split, root=root, classes=classes, samples=tuple(samples), notes=notes)


def _split(split: str, labels: Labels) -> tuple[str, int]:
    """Kind and number of the list."""
    if labels == "original":
        kind = "test" if split.startswith(("test", "val")) else "train"
        number = next((n for n in (1, 2, 3) if f"{n:02d}" in split), 1)
        return kind, number
    match = re.fullmatch(r"(train|test|validation|val)[-_]?(?:0?([123]))?", split)
    if match is None:
        raise wrong_split("ucf101", split, [f"{kind}{number}" for kind in SPLITS for number in ("", "01", "02", "03")])
    return "train" if match[1] == "train" else "test", int(match[2] or 1)


def _class_ids(root: Path) -> dict[str, int]:
    """Number of each class from 0."""
    path = root / FOLDER / "classInd.txt"
    ids, wrong = {}, []
    for line in read_lines(path):
        number, _, name = line.partition(" ")
        if number.isdigit() and name.strip():
            ids[name.strip()] = int(number) - 1
        else:
            wrong.append(f"line {line!r} is not a number and a name.")
    refuse_problems(str(path), wrong)
    return ids
