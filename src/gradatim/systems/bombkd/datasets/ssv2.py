"""Something-Something V2: clips by number, templates with blanks as classes."""

import re
from pathlib import Path
from typing import Any

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets.listing import (
    NO_LABEL,
    Labels,
    Listing,
    VideoSample,
    read_json,
    read_lines,
    refuse_problems,
    with_suffix_found,
    wrong_split,
)

VIDEOS = "20bn-something-something-v2"
ANSWERS = ("test-answers.csv", "test_answers.csv", "test-answers.txt")
SPLITS = ("train", "validation", "test")


def list_ssv2(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips of Something-Something V2.

    Args:
        root: holds `20bn-something-something-v2/{id}.webm` (or .mp4) and `labels/` with labels.json, train.json,
            validation.json, test.json and, for the test split, test-answers.csv.
        split: "train", "validation" (or "val") or "test".
        labels: "corrected" takes the brackets off every blank of a template. "original" does so for `[something]`
            only, keeps clips of other templates with label -1 and leaves out clips without a template.

    Raises:
        DataError: a file is missing, the split does not exist, or a clip has no template or one without a number.
    """
    known = "validation" if split == "val" else split
    if known not in SPLITS:
        raise wrong_split("ssv2", split, SPLITS)
    names = _classes(root / "labels" / "labels.json")
    ids = {_plain(name, labels): number for number, name in names.items()}
    source = root / "labels" / f"{known}.json"
    answers = _answers(root / "labels") if known == "test" else {}
    samples, wrong = [], []
    for item in read_json(source):
        item = item if isinstance(item, dict) else {"id": item}
        clip = str(item.get("id"))
        template = answers.get(clip) if known == "test" else item.get("template")
        if not template:
            wrong.append(f"clip {clip}: has no {'answer' if known == 'test' else 'template'}.")
            continue
        label = ids.get(_plain(template, labels), NO_LABEL)
        if label == NO_LABEL:
            wrong.append(f"clip {clip}: template {template!r} does not stand in labels.json.")
        path = with_suffix_found(root, f"{VIDEOS}/{clip}", (".webm", ".mp4"))
        samples.append(VideoSample(path=path, label=label))
    if labels == "corrected":
        refuse_problems(str(source), wrong)
    classes = tuple(names.get(number, str(number)) for number in range(1 + max(names, default=-1)))
    return Listing(dataset="ssv2", split=split, root=root, classes=classes, samples=tuple(samples))


def _plain(template: str, labels: Labels) -> str:
    """A template as it is compared: without brackets, in small letters, single spaces."""
    brackets = r"\[(something)\]" if labels == "original" else r"\[([^\]]*)\]"
    bare = re.sub(brackets, r"\1", template, flags=re.IGNORECASE)
    return " ".join(bare.split()).lower()


def _classes(path: Path) -> dict[int, str]:
    """Name of each class by number; the file maps names to numbers, numbers to names, or lists names."""
    content: Any = read_json(path)
    if isinstance(content, list):
        return dict(enumerate(map(str, content)))
    if isinstance(content, dict):
        if all(str(value).isdigit() for value in content.values()):
            return {int(number): name for name, number in content.items()}
        if all(key.isdigit() for key in content):
            return {int(number): str(name) for number, name in content.items()}
    raise DataError(f"{path}: neither names with numbers, nor numbers with names, nor a list of names.")


def _answers(folder: Path) -> dict[str, str]:
    """Template of each clip of the test split."""
    found = next((folder / name for name in ANSWERS if (folder / name).is_file()), None)
    if found is None:
        raise DataError(f"{folder / ANSWERS[0]}: no such file; without it the clips of the test split have no labels.")
    answers = {}
    for line in read_lines(found):
        clip, _, text = line.partition(";" if ";" in line else ",")
        answers[clip.strip()] = text.strip()
    return answers
