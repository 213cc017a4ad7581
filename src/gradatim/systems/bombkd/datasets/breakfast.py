"""Breakfast: ten dishes, cooked by 52 people, seen by several cameras."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gradatim.systems.bombkd.datasets.listing import (
    NO_LABEL,
    Labels,
    Listing,
    VideoSample,
    below,
    read_lines,
    refuse_problems,
    wrong_split,
)

CLASSES = (
    "Bowl of cereals", "Coffee", "Chocolate milk", "Orange juice", "Fried eggs", "Fruit salad", "Pancakes",
    "Scrambled eggs", "Sandwich", "Tea",
)  # fmt: skip
CAMERAS = ("cam01", "webcam01", "webcam02")
PEOPLE = range(3, 55)
TEST_PEOPLE = (range(3, 16), range(16, 29), range(29, 42), range(42, 55))
DISHES = {
    "cereals": 0, "coffee": 1, "milk": 2, "juice": 3, "friedegg": 4, "salat": 5, "pancake": 6, "scrambledegg": 7,
    "sandwich": 8, "tea": 9,
}  # fmt: skip
# The order matters: of several words in a name the first of this list counts.
KEYWORDS = {
    "cereal": 0, "cereals": 0, "coffee": 1, "chocolate": 2, "milk": 2, "orange": 3, "juice": 3, "fried": 4, "egg": 4,
    "eggs": 4, "fruit": 5, "salad": 5, "pancake": 6, "pancakes": 6, "scrambled": 7, "sandwich": 8, "tea": 9,
}  # fmt: skip


def list_breakfast(
    root: Path,
    split: str,
    *,
    labels: Labels = "corrected",
    fold: Annotated[int, Field(ge=1, le=4)] = 4,
    cameras: tuple[str, ...] = CAMERAS,
) -> Listing:
    """Clips of Breakfast.

    Args:
        root: holds `P{03..54}/{camera}/P.._dish.avi`; the first line of `P.._dish.avi.labels` may tell the class by
            its number or its name.
        split: "train", "test" or "validation" (the test people: there is no third).
        labels: "corrected" reads the dish behind the person in the file's name. "original" looks for English words
            in it, which takes scrambled eggs for fried ones and gives -1 to fruit salad, spelled `salat`.
        fold: which quarter of the people is the test: 1 is P03 to P15, 4 is P42 to P54.
        cameras: folders that are looked into.

    Raises:
        DataError: the split does not exist, or a clip's class cannot be told.
    """
    if split not in ("train", "test", "validation"):
        raise wrong_split("breakfast", split, ("train", "test", "validation"))
    test = TEST_PEOPLE[fold - 1]
    people = [number for number in PEOPLE if (number in test) == (split != "train")]
    samples, wrong = [], []
    for video in _videos(root, people, cameras):
        label = _label(video, KEYWORDS) if labels == "original" else _label(video, DISHES)
        if label == NO_LABEL:
            wrong.append(f"{below(video, root)}: names no dish; known: {', '.join(DISHES)}.")
        group = f"{video.parent.parent.name}/{video.stem}"
        samples.append(VideoSample(path=below(video, root), label=label, group=group))
    if labels == "corrected":
        refuse_problems(str(root), wrong)
    notes = ("Breakfast has no validation split; its test people are used.",) if split == "validation" else ()
    return Listing(dataset="breakfast", split=split, root=root, classes=CLASSES, samples=tuple(samples), notes=notes)


def _videos(root: Path, people: list[int], cameras: tuple[str, ...]) -> list[Path]:
    folders = [root / f"P{number:02d}" / camera for number in people for camera in cameras]
    return [video for folder in folders for video in sorted(folder.glob("*.avi"))]


def _label(video: Path, words: Mapping[str, int]) -> int:
    """Class told by the file beside the video, else by the video's name."""
    beside = video.with_name(video.name + ".labels")
    lines = read_lines(beside) if beside.is_file() else []
    told = _told(lines[0], words) if lines else NO_LABEL
    return told if told != NO_LABEL else _dish(video.stem, words)


def _told(line: str, words: Mapping[str, int]) -> int:
    """Class of a line: its number, its name, or a word in it."""
    if line.isdigit() and int(line) < len(CLASSES):
        return int(line)
    names = [name.lower() for name in CLASSES]
    return names.index(line.lower()) if line.lower() in names else _dish(line, words)


def _dish(text: str, words: Mapping[str, int]) -> int:
    text = text.lower()
    if words is KEYWORDS:
        return next((label for word, label in words.items() if word in text), NO_LABEL)
    # Behind the person stands the dish; a stereo camera adds its channel.
    dish = text.partition("_")[2] or text
    return words.get(dish.partition("_")[0], NO_LABEL)
