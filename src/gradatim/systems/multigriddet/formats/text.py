"""Text files of annotations, in UTF-8 with or without mark, UTF-16, or as the last resort Latin-1."""

import codecs
from pathlib import Path
from typing import Any

import yaml

from gradatim.errors import DataError

NAME_FILES = ("data.yaml", "names.yaml", "dataset.yaml", "data.yml", "names.yml")
CLASS_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "names.txt")
_MOST_CLASSES = 10_000


def read_text(path: Path) -> tuple[str, str | None]:
    """Content of a text file, and a note where its encoding was guessed.

    Raises:
        DataError: the file is missing, or is not text.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}.") from error
    encoding = _encoding(content)
    try:
        text, note = content.decode(encoding), None
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise DataError(f"{path}: not text in {encoding} ({error.reason} at byte {error.start}).") from error
        text, note = content.decode("latin-1"), f"{path} is not UTF-8 and was read as Latin-1."
    bad = next((i for i, sign in enumerate(text) if sign < " " and sign not in "\t\n\r\f\v\x1a"), None)
    if bad is not None:
        line = text.count("\n", 0, bad) + 1
        raise DataError(f"{path}:{line}: not a text file: holds the byte {ord(text[bad])}.")
    return text, note


def read_lines(path: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """Lines that are not blank, with their numbers from 1 and without surrounding blanks; and notes.

    Raises:
        DataError: as `read_text`.
    """
    text, note = read_text(path)
    # Not `splitlines`: names may hold what it takes for the end of a line.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbered = [(n, line.strip().strip("\x1a")) for n, line in enumerate(lines, 1)]
    return [(n, line) for n, line in numbered if line], [note] if note else []


def read_classes(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Names of classes by number, one a line or in the `names` of a YAML file; and notes.

    Raises:
        DataError: the file is missing, empty or no such file, or a name occurs twice.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        names, notes = names_of(read_yaml(path), path), list[str]()
    else:
        lines, notes = read_lines(path)
        names = tuple(line for _, line in lines)
    if not names:
        raise DataError(f"{path}: holds no class.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: class {twice[0]!r} stands there twice.")
    return names, notes


def read_yaml(path: Path) -> dict[str, Any]:
    """Top level of a YAML file.

    Raises:
        DataError: the file is missing, not YAML, or no mapping.
    """
    text, _ = read_text(path)
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise DataError(
            f"{where}: not valid YAML: {getattr(error, 'problem', None) or type(error).__name__}."
        ) from error
    if not isinstance(tree, dict):
        raise DataError(f"{path}: holds no keys.")
    return {str(key): value for key, value in tree.items()}


def names_of(tree: dict[str, Any], path: Path) -> tuple[str, ...] | None:
    """The `names` of a YOLO data file, a list or a mapping from numbers; None if it has none.

    Raises:
        DataError: they are something else, or numbers are left out.
    """
    names = tree.get("names")
    if names is None:
        return None
    if isinstance(names, list):
        return tuple(str(name) for name in names)
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        by_number = {str(number): str(name) for number, name in names.items()}
        return tuple(by_number[str(number)] for number in range(len(names)))
    raise DataError(f"{path}: `names` must be a list, or a mapping from 0, 1, 2, ... to names.")


def unnamed(highest: int) -> tuple[str, ...] | None:
    """Names for classes 0 to `highest` that no file names; None if there are absurdly many."""
    return tuple(f"class {number}" for number in range(highest + 1)) if highest < _MOST_CLASSES else None


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = content[:512]
    if b"\0" in start:
        # Latin letters in UTF-16 leave every second byte zero.
        odd, even = start[1::2].count(0), start[::2].count(0)
        if max(odd, even) > len(start) // 4 and min(odd, even) == 0:
            return "utf-16-le" if odd else "utf-16-be"
    return "utf-8-sig"
