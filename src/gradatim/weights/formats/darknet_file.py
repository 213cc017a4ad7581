"""Darknet files (`.weights`, `.conv.74`): a short header, then all numbers in a row without names or shapes."""

import struct
from pathlib import Path

import numpy as np
import torch

from gradatim.errors import FormatError
from gradatim.weights.formats.base import Format, Weights

_VERSION = struct.Struct("<3i")
_LATEST = 10


def _recognises(path: Path, head: bytes) -> bool:
    if len(head) < _VERSION.size or path.suffix in (".safetensors", ".npz", ".pt", ".pth", ".h5"):
        return False
    major, minor, revision = _VERSION.unpack(head[: _VERSION.size])
    return bool(major == 0 and 1 <= minor <= _LATEST and 0 <= revision <= _LATEST)


def _read(path: Path) -> Weights:
    content = path.read_bytes()
    major, minor, _ = _VERSION.unpack(content[: _VERSION.size])
    # The number of images seen grew to eight bytes with version 0.2.
    start = _VERSION.size + (8 if major * 10 + minor >= 2 else 4)
    rest = len(content) - start
    if rest <= 0 or rest % 4:
        raise FormatError(f"{path}: a Darknet file whose {len(content)} bytes end inside a number; copy it again")
    values = torch.from_numpy(np.frombuffer(content, "<f4", offset=start).astype(np.float32))
    seen = int.from_bytes(content[_VERSION.size : start], "little")
    return Weights(
        path=path, format=DARKNET.name, arrays={"values": values}, notes=(f"trained on {seen:,} images",)
    )  # fmt: skip


DARKNET = Format(name="darknet", recognises=_recognises, read=_read)
