"""Finding registered pairs in folders, and everything that can be wrong with them.

A root holds `vi/` and `ir/` (or `visible/` and `infrared/`, in any case). Files belong together if their
names without suffix are equal, whatever their formats. All that is wrong with all roots comes as a list,
so that it is mended in one go. (The original pairs two unsorted folder listings by position and
compares only their lengths; a bug that is not copied.)
"""

import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from gradatim.data.image import IMAGE_SUFFIXES, Deep, image_size, verify_image
from gradatim.errors import DataError

Check = Literal["full", "headers"]
Source = Literal["visible", "infrared", "plain"]

VISIBLE_FOLDERS = ("vi", "visible")
INFRARED_FOLDERS = ("ir", "infrared")
IMAGES_FOLDER = "images"


@dataclass(frozen=True)
class Pair:
    """Two registered pictures.

    Args:
        name: unique among the pairs; the file name without suffix, after `ROOT/` if there are several roots.
        visible: file of the visible picture.
        infrared: file of the infrared picture.
    """

    name: str
    visible: Path
    infrared: Path


@dataclass(frozen=True)
class Single:
    """One picture on its own.

    Args:
        name: unique among the pictures.
        group: name of the pair it belongs to, so that a pair is held out as a whole.
        file: the picture.
        source: what it shows; "plain" if its folder does not tell.
    """

    name: str
    group: str
    file: Path
    source: Source


def find_pairs(roots: Sequence[Path]) -> tuple[list[Pair], list[str]]:
    """Pairs of all roots, sorted by name, and what is wrong, one line each; reads no picture."""
    pairs: list[Pair] = []
    wrong: list[str] = []
    roots = expanded(roots)
    for root, label in zip(roots, root_labels(roots), strict=True):
        folders = _modality_folders(root)
        if isinstance(folders, str):
            wrong.append(folders)
            continue
        visible, infrared = folders
        found, problems = match_files(visible, infrared)
        pairs += [Pair(label + pair.name, pair.visible, pair.infrared) for pair in found]
        wrong += problems
    return sorted(pairs, key=lambda pair: pair.name), wrong


def find_singles(roots: Sequence[Path]) -> tuple[list[Single], list[str]]:
    """Every picture of all roots, sorted by name, and what is wrong; reads no picture.

    A root holds one or both folders of a paired root, or `images/`, or the pictures themselves.
    """
    singles: list[Single] = []
    wrong: list[str] = []
    roots = expanded(roots)
    for root, label in zip(roots, root_labels(roots), strict=True):
        if not root.is_dir():
            wrong.append(f"{root}: no such folder.")
            continue
        for folder, source in _single_folders(root):
            files, problems = list_images(folder)
            wrong += problems
            prefix = label if source == "plain" else f"{label}{source}/"
            singles += [Single(prefix + path.stem, label + key, path, source) for key, path in files.items()]
    return sorted(singles, key=lambda single: single.name), wrong


def expanded(roots: Sequence[Path]) -> list[Path]:
    """Put the paired folders inside a root in its place, where it is none itself but holds some."""
    result: list[Path] = []
    for root in roots:
        inside = sorted(root.iterdir()) if root.is_dir() and isinstance(_modality_folders(root), str) else []
        paired = [path for path in inside if path.is_dir() and not isinstance(_modality_folders(path), str)]
        result += paired or [root]
    return result


def match_files(visible: Path, infrared: Path) -> tuple[list[Pair], list[str]]:
    """Pairs of two folders by name without suffix, and what is wrong, one line each."""
    visible_files, wrong = list_images(visible)
    infrared_files, more = list_images(infrared)
    wrong += more
    for folder, files, other in ((visible, visible_files, infrared_files), (infrared, infrared_files, visible_files)):
        missing = [other[key].name for key in other if key not in files]
        if files:
            wrong += [f"{folder}: no partner for {name!r}." for name in missing]
    both = [key for key in visible_files if key in infrared_files]
    return [Pair(visible_files[key].stem, visible_files[key], infrared_files[key]) for key in both], wrong


def list_images(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Pictures of a folder by their name without suffix and case, sorted, and what is wrong.

    Files without the suffix of an image, and hidden ones, are not looked at.
    """
    if not folder.is_dir():
        return {}, [f"{folder}: no such folder."]
    files: dict[str, Path] = {}
    wrong = []
    others = 0
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            others += 1
            continue
        key = name_key(path.stem)
        if key in files:
            wrong.append(f"{folder}: {files[key].name!r} and {path.name!r} have the same name; keep one of them.")
        else:
            files[key] = path
    if not files:
        wrong.append(f"{folder}: holds no image" + (f", only {others} other files." if others else "."))
    return files, wrong


def check_pictures(files: Iterable[Path], *, check: Check, deep: Deep) -> tuple[dict[Path, tuple[int, int]], list[str]]:
    """(height, width) of each readable picture, and what is wrong with the others.

    Args:
        files: pictures.
        check: "full" decodes each picture to its end; "headers" looks at the first bytes, so that it
            finds empty files and files of another kind, but not truncated ones.
        deep: as for `read_image`.
    """
    look = partial(verify_image, deep=deep) if check == "full" else image_size

    def attempt(path: Path) -> tuple[int, int] | str:
        try:
            return look(path)
        except DataError as error:
            return str(error)

    files = list(dict.fromkeys(files))
    # Pillow decodes without holding the interpreter's lock, so threads help.
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = dict(zip(files, pool.map(attempt, files), strict=True))
    sizes = {path: answer for path, answer in answers.items() if not isinstance(answer, str)}
    return sizes, [answer for answer in answers.values() if isinstance(answer, str)]


def check_pairs(pairs: Sequence[Pair], *, check: Check, deep: Deep) -> tuple[dict[Path, tuple[int, int]], list[str]]:
    """(height, width) of each readable picture; unreadable pictures and pairs of unequal size."""
    sizes, wrong = check_pictures(
        (path for pair in pairs for path in (pair.visible, pair.infrared)), check=check, deep=deep
    )
    for pair in pairs:
        visible, infrared = sizes.get(pair.visible), sizes.get(pair.infrared)
        if visible and infrared and visible != infrared:
            wrong.append(
                f"pair {pair.name!r}: visible is {_by(visible)}, infrared is {_by(infrared)} (height x width); "
                "registered pictures have one size."
            )
    return sizes, wrong


def name_key(stem: str) -> str:
    """What two names must share to mean the same: letters in whichever case and encoding."""
    return unicodedata.normalize("NFC", stem).casefold()


def root_labels(roots: Sequence[Path]) -> list[str]:
    """Prefix of the names of each root: none for a single root, else the shortest end of its path that is unique."""
    if len(roots) == 1:
        return [""]
    for parts in range(1, max((len(root.parts) for root in roots), default=1) + 1):
        labels = ["/".join(root.parts[-parts:]) + "/" for root in roots]
        if len(set(labels)) == len(labels):
            return labels
    raise DataError(f"a root is named twice: {', '.join(str(root) for root in roots)}.")


def _modality_folders(root: Path) -> tuple[Path, Path] | str:
    """The two folders of a root, or what is wrong with it."""
    if not root.is_dir():
        return f"{root}: no such folder."
    found = []
    for names in (VISIBLE_FOLDERS, INFRARED_FOLDERS):
        folders = _subfolders(root, names)
        if len(folders) != 1:
            have = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
            count = "no folder" if not folders else "more than one folder"
            return f"{root}: {count} named {' or '.join(f'{name}/' for name in names)}; its folders: {have}."
        found.append(folders[0])
    return found[0], found[1]


def _single_folders(root: Path) -> list[tuple[Path, Source]]:
    kinds: tuple[tuple[tuple[str, ...], Source], ...] = ((VISIBLE_FOLDERS, "visible"), (INFRARED_FOLDERS, "infrared"))
    found = [(folder, source) for names, source in kinds for folder in _subfolders(root, names)]
    return found or [(folder, "plain") for folder in _subfolders(root, (IMAGES_FOLDER,)) or [root]]


def _subfolders(root: Path, names: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in names)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
