"""Read a file of weights, whatever its format: by content, safely, with known prefixes taken off and said."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from gradatim.errors import FormatError
from gradatim.weights.formats import FORMATS, Weights

_POINTER = b"version https://"
_PREFIXES = ("module.", "_orig_mod.", "model.", "state_dict.")


def read_weights(path: str | Path) -> Weights:
    """Read the arrays of a safetensors, PyTorch, NumPy, Keras, Darknet or Flax file.

    Raises:
        FormatError: no such file, a damaged one, none of these formats, or a pickle with a foreign class.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "no such file"
        raise FormatError(f"{path}: {what}")
    with path.open("rb") as file:
        head = file.read(16)
    for kind in FORMATS:
        if kind.recognises(path, head):
            weights = kind.read(path)
            break
    else:
        known = ", ".join(kind.name for kind in FORMATS)
        found = "an empty file" if not head else f"it begins with {head[:8]!r}"
        if head.startswith(_POINTER):
            raise FormatError(f"{path}: a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`")
        raise FormatError(f"{path}: not a file of weights ({known}): {found}")
    if not weights.arrays:
        raise FormatError(f"{path}: holds no arrays")
    return weights if "gradatim" in weights.metadata else _stripped(weights)


def _stripped(weights: Weights) -> Weights:
    arrays: Mapping[str, Tensor] = weights.arrays
    notes = list(weights.notes)
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) and n != p for n in arrays)), None):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        notes.append(f"prefix {prefix!r} taken off every name")
    return replace(weights, arrays=arrays, notes=tuple(notes))
