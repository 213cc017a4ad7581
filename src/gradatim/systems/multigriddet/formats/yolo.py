"""YOLO folders: pictures below `images`, and a text file for each below `labels` with one object a line.

A line is `class cx cy w h`, the box by its center and sides in shares of the image. An image without such a
file, or with an empty one, shows no object. Splits are folders below `images` and `labels` (`images/train`), above
them (`train/images`), or what a `data.yaml` calls so; without any, all pictures belong to training.
"""

from pathlib import Path
from typing import Any

from gradatim.data.image import IMAGE_SUFFIXES
from gradatim.errors import DataError, unknown
from gradatim.systems.multigriddet.formats.entry import (
    Entry,
    Found,
    Reading,
    Wanted,
    is_file,
    is_folder,
    number,
    split_for,
    whole,
)
from gradatim.systems.multigriddet.formats.text import (
    CLASS_FILES,
    NAME_FILES,
    names_of,
    read_classes,
    read_lines,
    read_yaml,
)


def read_yolo(wanted: Wanted) -> Reading | None:
    """Read a YOLO folder, or the YAML file that describes one; None if it has no split for the wanted role.

    Raises:
        DataError: the folder has not the layout of one, or its YAML or class file cannot be read.
    """
    if wanted.images is not None:
        raise DataError(f"{wanted.root}: `images` is for lists and files; a YOLO folder says where its pictures are.")
    root, tree = _described(wanted.root)
    classes, notes = _classes(root, tree, wanted.root) if wanted.classes is None else (wanted.classes, [])
    reading = Reading(classes=classes, notes=notes)
    splits = _splits(root, tree)
    if not splits:
        place = f"{root}" if root == wanted.root else f"{root}, which {wanted.root} leads to"
        raise DataError(f"{place}: no YOLO folder: has neither images/ nor SPLIT/images/.")
    name = split_for(wanted, list(splits))
    if name is None and wanted.split is None and set(splits) == {""}:
        name = "" if wanted.role == "train" else None
    if name is None:
        if wanted.split is None and wanted.role == "validate":
            return None
        asked = wanted.split or wanted.role
        raise DataError(f"{wanted.root}: {unknown('split', asked, [split or '(all)' for split in splits])}")
    pictures = _pictures(splits[name], reading)
    for picture in pictures:
        _read_label(picture, reading)
    _report_strays(pictures, splits[name], reading)
    return reading


def label_file(picture: Path) -> Path:
    """Where the objects of a picture stand: `labels` in the place of the last `images` of its path."""
    parts = list(picture.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _described(path: Path) -> tuple[Path, dict[str, Any]]:
    """Folder of a data set, and its YAML file's content."""
    if path.is_file():
        tree = read_yaml(path)
        root = path.parent
    else:
        found = next((path / name for name in NAME_FILES if (path / name).is_file()), None)
        root, tree = path, read_yaml(found) if found else {}
    inner = tree.get("path")
    if isinstance(inner, str) and is_folder(root / inner):
        # A folder that is not there is that of another computer; then the YAML file's own counts.
        root = root / inner
    return root, tree


def _classes(root: Path, tree: dict[str, Any], named: Path) -> tuple[tuple[str, ...] | None, list[str]]:
    """Names of the classes, if any file tells them, and notes."""
    names = names_of(tree, named)
    found = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    return read_classes(found) if names is None and found is not None else (names, [])


def _splits(root: Path, tree: dict[str, Any]) -> dict[str, list[Path]]:
    """Folders of pictures, or lists of them, by split; the split is empty where all pictures lie together."""
    below = {path.name: [path] for path in _folders(root / "images") if not path.name.startswith(".")}
    above = {path.name: [path / "images"] for path in _folders(root) if (path / "images").is_dir()}
    splits = below or above or ({"": [root / "images"]} if (root / "images").is_dir() else {})
    for name in ("train", "val", "valid", "test"):
        told = tree.get(name)
        places = [told] if isinstance(told, str) else told if isinstance(told, list) else []
        paths = [path for place in places if (path := _place(root, str(place))) is not None]
        if paths and paths not in splits.values():
            splits = {**splits, name: paths}
    return splits


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir()) if path.is_dir() else []


def _place(root: Path, told: str) -> Path | None:
    """Where a YAML file's path leads; such files often name a folder too far above."""
    candidates = (root / told, root / told.removeprefix("../"))
    return next(
        (path.resolve() if ".." in path.parts else path for path in candidates if is_file(path) or is_folder(path)),
        None,
    )


def _pictures(places: list[Path], reading: Reading) -> list[Path]:
    pictures: list[Path] = []
    for place in places:
        if place.is_file():
            lines, notes = read_lines(place)
            reading.notes += notes
            pictures += [place.parent / line for _, line in lines]
        else:
            inside = (path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            pictures += sorted(path for path in inside if not path.name.startswith(".") and path.is_file())
    if not pictures:
        reading.wrong.append(f"{', '.join(map(str, places))}: holds no image.")
    return pictures


def _read_label(picture: Path, reading: Reading) -> None:
    path = label_file(picture)
    objects: list[Found] = []
    if is_file(path):
        try:
            lines, notes = read_lines(path)
        except DataError as error:
            reading.wrong.append(str(error))
            return
        reading.notes += notes
        for line, text in lines:
            found = _object(f"{path}:{line}", text)
            if isinstance(found, str):
                reading.wrong.append(found)
            else:
                objects.append(found)
    reading.entries.append(Entry(str(path), picture, tuple(objects), relative=True))


def _object(where: str, text: str) -> Found | str:
    """The object of a line, or what is wrong with it."""
    words = text.split()
    values = [number(word) for word in words]
    if len(words) != 5:
        return f"{where}: has {len(words)} values; needs 5: class, center x, center y, width, height."
    label = whole(words[0])
    if label is None:
        return f"{where}: class {words[0]!r} is not a whole number."
    wrong = next((word for word, value in zip(words, values, strict=True) if value is None), None)
    if wrong is not None:
        return f"{where}: {wrong!r} is not a number."
    _, x, y, width, height = (value for value in values if value is not None)
    return Found(where, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), label)


def _report_strays(pictures: list[Path], places: list[Path], reading: Reading) -> None:
    """Label files without a picture are objects that nobody would see: that is wrong."""
    known = {label_file(picture) for picture in pictures}
    for place in places:
        if not place.is_dir():
            continue
        folder = label_file(place / "x").parent
        if folder == place or not folder.is_dir():
            continue
        strays = (path for path in folder.rglob("*.txt") if path not in known and path.name != "classes.txt")
        reading.wrong += [f"{path}: there is no picture for it in {place}." for path in sorted(strays)]
