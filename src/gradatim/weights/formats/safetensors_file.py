"""Safetensors files: a JSON header and raw arrays, nothing that could run."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from gradatim.errors import FormatError
from gradatim.weights.formats.base import Format, Weights


def _recognises(path: Path, head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{"


def _read(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise FormatError(f"{path}: a damaged or truncated safetensors file: {error}") from error
    return Weights(path=path, format=SAFETENSORS.name, arrays=arrays, metadata=metadata)


SAFETENSORS = Format(name="safetensors", recognises=_recognises, read=_read)
