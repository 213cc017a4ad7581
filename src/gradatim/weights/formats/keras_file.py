"""Keras files: weights of Keras 2 and 3 and whole models, through h5py alone, without TensorFlow.

Arrays are named `LAYER/ARRAY`, such as `conv2d_7/kernel`. A layer's name is what the file says it is, never what the
place of the array suggests: Keras 3 numbers its groups by class in the order of the model, which is another order than
that of the names, and some files keep all normalizations in groups of one inner name.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatim.errors import FormatError, MissingExtraError
from gradatim.weights.formats.base import Format, Weights

_HEAD = b"\x89HDF\r\n\x1a\n"
_ARRAYS: Mapping[str, tuple[str, ...]] = {
    "conv1d": ("kernel", "bias"),
    "conv2d": ("kernel", "bias"),
    "conv3d": ("kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "embedding": ("embeddings",),
    "p_re_lu": ("alpha",),
}
"""Names of a layer's arrays in their order, by the class's name as Keras numbers it."""
_NUMBERED = re.compile(rf"({'|'.join(_ARRAYS)})(?:_(\d+))?")


def _recognises(path: Path, head: bytes) -> bool:
    return head.startswith(_HEAD)


def _read(path: Path) -> Weights:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "keras", f"{path}: reading a Keras file") from error
    try:
        with h5py.File(path, "r") as file:
            found, notes = _layers(file)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    except Exception as error:  # A damaged HDF5 file can raise anything.
        first = str(error).strip().split("\n")[0]
        raise FormatError(f"{path}: a Keras (HDF5) file that cannot be read, damaged or truncated: {first}") from error
    names, renumbered = _from_zero(list(dict.fromkeys(layer for layer, _ in found)))
    arrays: dict[str, Tensor] = {}
    for (layer, array), value in found.items():
        arrays[f"{names[layer]}/{array}"] = value
    return Weights(path=path, format=KERAS.name, arrays=arrays, notes=(*notes, *renumbered))


Found = dict[tuple[str, str], Tensor]


def _layers(file: Any) -> tuple[Found, list[str]]:
    """Arrays by (layer, array), and what was not read."""
    if "model_weights" in file:
        beside = [name for name in file if name != "model_weights"]
        return _legacy(file["model_weights"]), _left(beside)
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        return _legacy(file), []
    if "layers" in file:
        beside = [name for name in file if name != "layers" and _has_arrays(file[name])]
        return _keras3(file["layers"]), _left(beside)
    raise FormatError(f"an HDF5 file, but not one of Keras: it holds {', '.join(map(repr, file)) or 'nothing'}")


def _left(names: list[str]) -> list[str]:
    return [f"not read: {', '.join(map(repr, names))}"] if names else []


def _has_arrays(item: Any) -> bool:
    return hasattr(item, "shape") or any(_has_arrays(one) for one in item.values())


def _words(group: Any, name: str) -> list[str]:
    """A list of names in the attributes of a group; long ones are stored in pieces."""
    attributes = group.attrs
    pieces = [name] if name in attributes else []
    while not (pieces and pieces[0] == name) and f"{name}{len(pieces)}" in attributes:
        pieces.append(f"{name}{len(pieces)}")
    values = [value for piece in pieces for value in np.asarray(attributes[piece]).reshape(-1).tolist()]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _legacy(root: Any) -> Found:
    found: Found = {}
    for layer in _words(root, "layer_names"):
        if layer not in root:
            raise FormatError(f"layer {layer!r} is listed, but has no group; the file is incomplete")
        group = root[layer]
        names = _words(group, "weight_names") or [name for name, _ in _datasets(group)]
        for name in names:
            if name not in group:
                raise FormatError(f"layer {layer!r}: array {name!r} is listed, but absent; the file is incomplete")
            _put(found, layer, name.rpartition("/")[2].partition(":")[0], group[name])
    return found


def _datasets(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in group.items():
        if hasattr(item, "shape"):
            yield f"{prefix}{name}", item
        else:
            yield from _datasets(item, f"{prefix}{name}/")


def _keras3(root: Any, place: str = "") -> Found:
    """Groups of layers, each with its arrays in `vars` under their numbers, and its name as an attribute of that."""
    found: Found = {}
    for name, group in root.items():
        if hasattr(group, "shape"):
            continue
        if "vars" in group and len(group["vars"]):
            told = group["vars"].attrs.get("name")
            # Without its name a layer can only be known by its place, which a layout of its own translates.
            layer = told.decode() if isinstance(told, bytes) else str(told or f"layers/{place}{name}")
            numbered = _NUMBERED.fullmatch(name)
            roles = _ARRAYS[numbered[1]] if numbered else ()
            for key in sorted(group["vars"], key=int):
                role = roles[int(key)] if int(key) < len(roles) else key
                _put(found, layer, role, group["vars"][key])
        inner = {key: item for key, item in group.items() if key != "vars" and not hasattr(item, "shape")}
        found |= _keras3(inner, f"{place}{name}/") if inner else {}
    return found


def _put(found: Found, layer: str, array: str, data: Any) -> None:
    if (layer, array) in found:
        raise FormatError(f"array {layer}/{array} stands twice")
    value = np.array(data)
    if value.dtype.kind not in "fiub":
        raise FormatError(f"array {layer}/{array} is of type {value.dtype}, not numbers")
    found[layer, array] = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))))


def _from_zero(layers: list[str]) -> tuple[dict[str, str], list[str]]:
    """Names numbered from 0, as in the first model of a session; and what was renumbered.

    Keras counts the layers of a class through a whole session, and stand-alone Keras from 1, so the same network is
    saved under shifted names. Only names that Keras itself gives are numbers; others stay.
    """
    numbers: dict[str, list[int]] = {}
    for layer in layers:
        if match := _NUMBERED.fullmatch(layer):
            numbers.setdefault(match[1], []).append(int(match[2] or 0))
    first = {base: min(found) for base, found in numbers.items()}
    notes = [
        f"layers {base}_{start} to {base}_{max(numbers[base])} are numbered from 0"
        for base, start in first.items()
        if start
    ]
    names = {}
    for layer in layers:
        match = _NUMBERED.fullmatch(layer)
        number = int(match[2] or 0) - first[match[1]] if match else 0
        names[layer] = layer if match is None else match[1] + (f"_{number}" if number else "")
    return names, notes


KERAS = Format(name="keras", recognises=_recognises, read=_read)
