"""Safetensors files of ours: names `part.array`, and a header that says where every part came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from gradatim.errors import FormatError
from gradatim.files import replace_file
from gradatim.weights.formats import Weights


def write_weights(path: Path, parts: Mapping[str, Mapping[str, Tensor]], header: Mapping[str, Any]) -> None:
    """Write the arrays of parts, complete or not at all.

    Args:
        path: the file, replaced in one step.
        parts: state dict of each part.
        header: JSON values: system, model settings, lineage of each part.
    """
    arrays = {
        f"{part}.{name}": array.detach().cpu().contiguous()
        for part, state in parts.items()
        for name, array in state.items()
    }
    metadata = {"format": "pt", "gradatim": json.dumps(header, default=str)}
    # Arrays that share memory are refused by the format; each is written on its own.
    unshared = {name: array.clone() for name, array in arrays.items()} if _shares(arrays) else arrays
    replace_file(path, lambda temporary: save_file(unshared, temporary, metadata=metadata))


def _shares(arrays: Mapping[str, Tensor]) -> bool:
    places = [array.untyped_storage().data_ptr() for array in arrays.values() if array.numel()]
    return len(set(places)) < len(places)


def header_of(weights: Weights) -> dict[str, Any]:
    """The header of a file that `write_weights` wrote; empty for a foreign file.

    Raises:
        FormatError: the header is not what we write.
    """
    text = weights.metadata.get("gradatim")
    if text is None:
        return {}
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{weights.path}: its gradatim header is damaged: {error}") from error
    if not isinstance(header, dict):
        raise FormatError(f"{weights.path}: its gradatim header is damaged: it holds no mapping")
    return header


def parts_of(weights: Weights) -> dict[str, dict[str, Tensor]]:
    """State dict of each part in a file of ours."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, array in weights.arrays.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    return parts
