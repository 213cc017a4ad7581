"""COCO files: `instances_*.json` with images, categories and boxes by left, top, width and height.

Category numbers, which may leave gaps, become 0 to n - 1 in their order. Objects that are marked `iscrowd` keep the
mark: they are not learned, and evaluation knows what to do with them.
"""

import json
from pathlib import Path
from typing import Any

from gradatim.errors import DataError, unknown
from gradatim.systems.multigriddet.formats.entry import Entry, Found, Reading, Wanted, is_file, split_for
from gradatim.systems.multigriddet.formats.text import read_text

_PREFIX = "instances_"


def read_coco(wanted: Wanted) -> Reading | None:
    """Read a COCO file, or that of a folder's split; None if there is none for the wanted role.

    Raises:
        DataError: the file is missing, no JSON, or has not the structure of COCO's.
    """
    path = _file_of(wanted)
    if path is None:
        return None
    tree = _tree(path)
    reading = Reading()
    labels = _categories(tree, path, wanted, reading)
    images = _images(tree, path, reading)
    objects: dict[Any, list[Found]] = {number: [] for number in images}
    for place, one in enumerate(tree["annotations"]):
        where = f"{path}, annotations[{place}]"
        if not isinstance(one, dict):
            reading.wrong.append(f"{where}: is no object with keys.")
            continue
        where += f" (id {one['id']})" if isinstance(one.get("id"), int) else ""
        found = _object(where, one, images, labels)
        if isinstance(found, str):
            reading.wrong.append(found)
        else:
            objects[one["image_id"]].append(found)
    base = _base(path, wanted, [image["file_name"] for image in images.values()])
    for number, image in images.items():
        where = f"{path}, image {number}"
        reading.entries.append(
            Entry(where, base / image["file_name"], tuple(objects[number]), size=_claimed_size(image))
        )
    return reading


def annotation_files(root: Path) -> dict[str, Path]:
    """Files of a folder by their split, which is the name behind `instances_`."""
    found = [path for folder in (root, root / "annotations") for path in sorted(folder.glob("*.json"))]
    instances = [path for path in found if path.name.startswith(_PREFIX)] or found
    return {path.stem.removeprefix(_PREFIX): path for path in instances}


def _file_of(wanted: Wanted) -> Path | None:
    if wanted.root.is_file():
        return wanted.root if wanted.role == "train" or wanted.split is not None else None
    files = annotation_files(wanted.root)
    name = split_for(wanted, list(files))
    if name is not None:
        return files[name]
    if wanted.split is None and (wanted.role == "validate" or len(files) == 1):
        return None if wanted.role == "validate" else next(iter(files.values()))
    raise DataError(f"{wanted.root}: {unknown('split', wanted.split or wanted.role, files)}")


def _tree(path: Path) -> dict[str, Any]:
    text, _ = read_text(path)
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON ({error.msg}, column {error.colno}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(tree, dict) or not isinstance(tree.get(key), list)]
    if missing:
        raise DataError(f"{path}: no COCO file: has no list {', '.join(repr(key) for key in missing)}.")
    return dict(tree)


def _categories(tree: dict[str, Any], path: Path, wanted: Wanted, reading: Reading) -> dict[int, int | str]:
    """Class by category number; where the given classes lack a category, what is wrong with that."""
    names: dict[int, str] = {}
    for place, one in enumerate(tree["categories"]):
        number, name = (one.get("id"), one.get("name")) if isinstance(one, dict) else (None, None)
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(name, str):
            reading.wrong.append(f"{path}, categories[{place}]: needs a whole `id` and a `name`.")
        elif number in names or name in names.values():
            reading.wrong.append(f"{path}, categories[{place}]: category {number} {name!r} stands there twice.")
        else:
            names[number] = name
    ordered = tuple(names[number] for number in sorted(names))
    reading.classes = wanted.classes or ordered
    if not reading.classes:
        raise DataError(f"{path}: has no category.")
    position = {name: place for place, name in enumerate(reading.classes)}
    return {number: position.get(name, unknown("class", name, reading.classes)) for number, name in names.items()}


def _images(tree: dict[str, Any], path: Path, reading: Reading) -> dict[int, dict[str, Any]]:
    """Images by their number."""
    images: dict[int, dict[str, Any]] = {}
    for place, one in enumerate(tree["images"]):
        where = f"{path}, images[{place}]"
        if not isinstance(one, dict) or not _is_whole(one.get("id")) or not isinstance(one.get("file_name"), str):
            reading.wrong.append(f"{where}: needs a whole `id` and a `file_name`.")
        elif one["id"] in images:
            reading.wrong.append(f"{where}: image {one['id']} stands there twice.")
        else:
            images[one["id"]] = one
    return images


def _object(
    where: str, one: dict[str, Any], images: dict[int, dict[str, Any]], labels: dict[int, int | str]
) -> Found | str:
    """An annotation, or what is wrong with it."""
    image, category, box = one.get("image_id"), one.get("category_id"), one.get("bbox")
    if not _is_whole(image) or image not in images:
        return f"{where}: image {image!r} is not among the images."
    if not _is_whole(category) or category not in labels:
        return f"{where}: category {category!r} is not among the categories."
    label = labels[category]
    if isinstance(label, str):
        return f"{where}: {label}"
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return f"{where}: bbox {box!r} is not [left, top, width, height]."
    left, top, width, height = (_as_float(value) for value in box)
    return Found(where, (left, top, left + width, top + height), label, crowd=bool(one.get("iscrowd", 0)))


def _claimed_size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _base(path: Path, wanted: Wanted, names: list[str]) -> Path:
    """Folder that names of images start from: the first of the usual ones that holds the first image."""
    if wanted.images is not None:
        return wanted.images
    split = path.stem.removeprefix(_PREFIX)
    above = path.parent.parent if path.parent.name == "annotations" else path.parent
    usual = [above / "images" / split, above / split, above / "images", path.parent, above]
    return next((folder for folder in usual for name in names[:1] if is_file(folder / name)), usual[0])


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_float(value: float) -> float:
    """A number as one of floating point, however many digits it has."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")
