"""Files that are complete or absent: written under a temporary name, synced, then renamed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    A failure, or the end of the process at any moment, leaves the old file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `replace_file` had not put in place yet."""
    return path.name.startswith(".") and path.suffix == ".part"


def remove_temporary(folder: Path) -> None:
    """Remove what processes that were killed left under temporary names, at any depth."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file, UTF-8."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
