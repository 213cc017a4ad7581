"""Files that take long to draw: drawn once in a session, then written again byte for byte for whoever asks."""

import tempfile
from functools import cache
from pathlib import Path


@cache
def _drawn(write, *arguments):
    """Files that a function writes into a folder, by their place in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "drawn"
        write(folder, *arguments)
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def drawn(folder, write, *arguments):
    """The files of `write(folder, *arguments)`, in a folder of the caller's own; returns it."""
    for name, content in _drawn(write, *arguments).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
