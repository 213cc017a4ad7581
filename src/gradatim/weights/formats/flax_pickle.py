"""Pickle files of JAX and Flax: `params`, `batch_stats` and their like, read without either and without running them.

JAX arrays become NumPy's, the optimizer's records plain tuples, a FrozenDict a dict; every other class is refused by
name. Arrays are named by their path, `params/Dense_0/kernel`. A training state may lie under `state`, beside other
fields, which are kept.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from gradatim.errors import FormatError
from gradatim.weights.formats.base import FIELDS, Format, Weights, is_plain
from gradatim.weights.formats.restricted_pickle import BFLOAT16, Builder, load_pickle, numpy_array

_LEGACY_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""The number at the start of PyTorch files of before they were archives, which are pickles too."""
_NO_ARRAYS = ("opt_state", "step")


class _Sealed(type):
    """A class that a file cannot change."""

    def __setstate__(cls, state: Any) -> NoReturn:
        raise FormatError("an attempt to change a class")


class _Record(tuple[Any, ...], metaclass=_Sealed):
    """Makes plain tuples: what an optimizer's records become."""

    __slots__ = ()

    def __new__(cls, *fields: Any) -> Any:
        return tuple(fields)


def _jax_array(build: Any, arguments: Any, state: Any, aval_state: Any = None) -> Any:
    return numpy_array(build, arguments, state)


def _frozen_dict(content: Any) -> dict[Any, Any]:
    if type(content) is not dict:
        raise FormatError("a FrozenDict of something else than a dict")
    return content


_BUILDERS: Mapping[tuple[str, str], Any] = {
    ("jax._src.array", "_reconstruct_array"): Builder(_jax_array),
    ("flax.core.frozen_dict", "FrozenDict"): Builder(_frozen_dict),
    ("ml_dtypes", "bfloat16"): BFLOAT16,
}


def _builder(module: str, name: str) -> Any:
    """What stands for a name in the file; None for one that is refused."""
    if module.startswith("optax.") and name.isidentifier() and name.endswith("State"):
        return _Record
    return _BUILDERS.get((module, name))


def _recognises(path: Path, head: bytes) -> bool:
    if not head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return False
    with path.open("rb") as file:
        return _LEGACY_TORCH not in file.read(32)


def _read(path: Path) -> Weights:
    content = load_pickle(path, builders=_builder)
    state = content.get("state", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not isinstance(state.get("params"), dict):
        inside = ", ".join(map(repr, state)) if isinstance(state, dict) else type(state).__name__
        raise FormatError(f"{path}: a pickle file without `params`; it holds {inside or 'nothing'}")
    groups = {group: value for group, value in state.items() if isinstance(value, dict) and group not in _NO_ARRAYS}
    if state is content:
        groups.pop("metadata", None)
    try:
        arrays = {name: _tensor(path, name, value) for name, value in _leaves(groups)}
        fields = _fields({name: value for name, value in content.items() if name not in (*groups, "state")})
    except RecursionError as error:
        raise FormatError(f"{path}: nested too deeply to be a file of arrays.") from error
    return Weights(
        path=path,
        format=FLAX.name,
        arrays=arrays,
        metadata={FIELDS: json.dumps(fields)} if fields else {},
        notes=tuple(_notes(state)),
    )


def _leaves(tree: Mapping[Any, Any], root: str = "") -> Iterator[tuple[str, Any]]:
    """What a tree holds, by its path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{root}{key}/")
        else:
            yield f"{root}{key}", value


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
    if array is None or array.dtype.kind not in "biufc":
        found = type(value).__name__ if array is None else array.dtype
        raise FormatError(f"{path}: {name} is no array of numbers, but of {found}")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _fields(content: Mapping[Any, Any]) -> dict[str, Any]:
    """What lies beside the arrays, the entries of `metadata` among it."""
    metadata = content.get("metadata")
    beside = {**content, **metadata} if isinstance(metadata, dict) else content
    return {str(name): value for name, value in beside.items() if name != "metadata" and is_plain(value)}


def _notes(state: Mapping[Any, Any]) -> Iterator[str]:
    left = [repr(group) for group in _NO_ARRAYS if group in state]
    if left:
        yield f"not read: {' and '.join(left)}"
    if "batch_stats" not in state:
        yield (
            "it holds no `batch_stats`, without which batch normalizations cannot be evaluated; to train from its "
            "weights all the same, say `allow_missing: ['.*running_.*']`"
        )


FLAX = Format(name="flax", recognises=_recognises, read=_read)
