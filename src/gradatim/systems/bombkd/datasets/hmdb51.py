"""HMDB51 in folders of splits: `{split}/metadata.csv` and the clips beside it."""

import csv
from pathlib import Path

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets.listing import (
    Labels,
    Listing,
    VideoSample,
    read_lines,
    refuse_problems,
)

SPLITS = ("train", "validation", "test")
TABLE = "metadata.csv"


def list_hmdb51(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips of HMDB51.

    Args:
        root: holds `train/`, `validation/` and `test/`, or some of them, each with a `metadata.csv` whose columns
            `file_name` and `label` are found by its first line (without them: the second and third).
        split: name of such a folder; "val" is "validation".
        labels: numbers are kept. "corrected" numbers names in the order of the alphabet over all splits. "original"
            numbers them as they first appear in the split's own file, so that numbers of two splits disagree, and
            leaves out lines that are too short; features that the published program wrote have such labels.

    Raises:
        DataError: a table is missing or has lines without a file name and a label.
    """
    split_folder = "validation" if split == "val" and labels == "corrected" else split
    rows, wrong = _rows(root / split_folder / TABLE, quoted=labels == "corrected")
    if labels == "original":
        names = list(dict.fromkeys(label for _, label in rows if not label.isdigit()))
    else:
        refuse_problems(str(root / split_folder / TABLE), wrong)
        names = _names_of_all_splits(root, split_folder)
    ids = {name: number for number, name in enumerate(names)}
    samples = tuple(
        VideoSample(path=f"{split_folder}/{file}", label=int(label) if label.isdigit() else ids[label])
        for file, label in rows
    )
    classes = tuple(names) or tuple(map(str, range(1 + max((sample.label for sample in samples), default=-1))))
    return Listing(dataset="hmdb51", split=split, root=root, classes=classes, samples=samples)


def _rows(path: Path, *, quoted: bool) -> tuple[list[tuple[str, str]], list[str]]:
    """(file, label) of each line of a table, and the lines that lack them."""
    lines = read_lines(path)
    cells = list(csv.reader(lines)) if quoted else [line.split(",") for line in lines]
    header = [cell.strip() for cell in cells[0]] if cells else []
    named = "file_name" in header and "label" in header
    file_at, label_at = (header.index("file_name"), header.index("label")) if named else (1, 2)
    rows, wrong = [], []
    for row in cells[1:]:
        if len(row) > max(file_at, label_at):
            rows.append((row[file_at].strip(), row[label_at].strip()))
        else:
            wrong.append(f"line {','.join(row)!r} has no file name and label.")
    return rows, wrong


def _names_of_all_splits(root: Path, split: str) -> list[str]:
    """Names of classes in the order of the alphabet; none where labels are numbers."""
    tables = {name: root / name / TABLE for name in dict.fromkeys((*SPLITS, split))}
    found = {
        name: {label for _, label in _rows(path, quoted=True)[0]} for name, path in tables.items() if path.exists()
    }
    numbers = [name for name, labels in found.items() if labels and all(label.isdigit() for label in labels)]
    if numbers and len(numbers) < len(found):
        others = [name for name in found if name not in numbers]
        raise DataError(
            f"{root}: labels are numbers in {', '.join(numbers)}, but names in {', '.join(others)}; "
            "write names in all tables, or numbers in all."
        )
    return [] if numbers else sorted(set().union(*found.values()))
