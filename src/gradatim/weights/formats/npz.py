"""NumPy archives, read without pickle; text in them is left, and said."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from gradatim.errors import FormatError
from gradatim.weights.formats.base import Format, Weights


def _recognises(path: Path, head: bytes) -> bool:
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read(path: Path) -> Weights:
    arrays, texts = {}, []
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                value = np.array(archive[name], order="C")
                if value.dtype.kind in "US":
                    texts.append(name)
                else:
                    arrays[name] = torch.from_numpy(value)
    except Exception as error:  # A damaged archive can raise anything.
        raise FormatError(f"{path}: an .npz archive with an array that cannot be read: {error}") from error
    return Weights(path=path, format=NPZ.name, arrays=arrays, notes=_left(texts))


def _left(texts: list[str]) -> tuple[str, ...]:
    more = f", ... and {len(texts) - 1} more" if len(texts) > 1 else ""
    return (f"not read, since it is text: {texts[0]!r}{more}",) if texts else ()


NPZ = Format(name="npz", recognises=_recognises, read=_read)
