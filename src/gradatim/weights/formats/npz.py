"""NumPy archives, read without pickle."""

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
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = torch.from_numpy(np.array(archive[name], order="C"))
    except Exception as error:  # A damaged archive can raise anything.
        raise FormatError(f"{path}: an .npz archive with an array that cannot be read: {error}") from error
    return Weights(path=path, format=NPZ.name, arrays=arrays)


NPZ = Format(name="npz", recognises=_recognises, read=_read)
