"""PyTorch files, always through the loader that builds tensors and plain containers only.

`argparse.Namespace` is admitted beside them: many training scripts keep their options in the file, and the class
holds nothing but attributes. Any other class is refused by name.
"""

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradatim.errors import FormatError
from gradatim.weights.formats.base import FIELDS, Format, Weights, is_plain

_KNOWN = ("model", "state_dict", "model_state_dict", "module", "net", "params", "weights")


def _recognises(path: Path, head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def _read(path: Path) -> Weights:
    content = _load(path)
    arrays, notes = _arrays(content, path)
    fields = {str(key): value for key, value in content.items() if is_plain(value)}
    return Weights(
        path=path,
        format=TORCH.name,
        arrays=arrays,
        metadata={FIELDS: json.dumps(fields)} if fields else {},
        notes=notes,
    )


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped and not zipfile.is_zipfile(path):
        raise FormatError(f"{path}: truncated: the end of its archive is missing; copy it again")
    mapped = zipped and path.suffix != ".safetensors"  # By path, torch takes such a file for one of that format.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise FormatError(_refusal(path, str(error))) from error
    except Exception as error:  # A damaged pickle can raise anything.
        first = str(error).strip().split("\n")[0]
        raise FormatError(f"{path}: not a PyTorch file of weights, or a damaged one: {first}") from error


def _refusal(path: Path, reason: str) -> str:
    """Word what the safe loader refused: the class, where its message names one."""
    named = re.search(r"(?:GLOBAL|global) ([\w.]+)", reason) or re.search(r"class ([\w.]+)", reason)
    if named is None:
        first = reason.strip().split("\n")[0]
        return f"{path}: not a file of weights, or a damaged one: {first}"
    return (
        f"{path}: refused, because it holds an object of class {named[1]!r}; only tensors and plain containers are "
        "read. If you trust the file, load it where it was made and save its `state_dict()` alone."
    )


def _arrays(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the state dict in what a file holds."""
    if isinstance(content, Tensor):
        raise FormatError(f"{path}: holds one tensor without a name, not a state dict")
    if not isinstance(content, Mapping):
        raise FormatError(f"{path}: holds a {type(content).__name__}, not a state dict")
    flat = _tensors(content)
    found = {key: arrays for key, value in content.items() if (arrays := _tensors(value))}
    chosen = [key for key in _KNOWN if key in found] or (list(found) if len(found) == 1 and not flat else [])
    if not chosen and flat:
        return flat, ()
    if not chosen and len(found) > 1:
        joined = {f"{group}.{name}": array for group, arrays in found.items() for name, array in arrays.items()}
        return joined, (f"names begin with those of the groups {', '.join(map(repr, found))}",)
    if not chosen:
        inside = ", ".join(map(repr, content)) or "nothing"
        raise FormatError(f"{path}: no state dict in it; its keys are {inside}")
    others = ", ".join(repr(key) for key in (*flat, *found) if key != chosen[0])
    left = (f"not read: the arrays of {others}",) if others else ()
    return found[chosen[0]], (f"arrays lie under {chosen[0]!r}", *left)


def _tensors(value: Any) -> dict[str, Tensor]:
    return dict(_named(value)) if isinstance(value, Mapping) else {}


def _named(value: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    for key, item in value.items():
        if isinstance(key, str) and isinstance(item, Tensor):
            yield key, item


TORCH = Format(name="torch", recognises=_recognises, read=_read)
