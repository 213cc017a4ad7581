"""Pickle files of numbers and text, read without running anything that they contain.

Pickle is a program that builds objects by calling what it names. Here the names that NumPy's arrays need stand
for checked builders of our own; every other name is refused. So a file can hold NumPy arrays and scalars of plain
numbers and text, str, bytes, int, float, bool, None, list, tuple and dict, and nothing else.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.errors import FormatError
from gradatim.files import replace_file

PLAIN_KINDS = "biufcSU"
"""Kinds of array elements that hold no reference to anything."""

_PLAIN = (str, bytes, int, float, bool, type(None))

Builders = Callable[[str, str], Any]
"""(module, name) in a file -> what stands for it, or None where it is refused."""


class Builder:
    """A function that a file may call, and may not change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        """What the function makes of a file's arguments."""
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise FormatError("an attempt to change a function")


def _not_called(*arguments: Any) -> Any:
    raise FormatError("a number that is built by hand")


BFLOAT16 = Builder(_not_called)
"""Stands for the type bfloat16, which NumPy has not; its arrays are read as float32, which holds the same numbers."""


class _Dtype:
    """A dtype in the making: its letter and size now, its byte order with the state."""

    def __init__(self, code: Any = None, align: Any = False, copy: Any = True) -> None:
        self.widened = code is BFLOAT16
        if self.widened:
            code = "u2"
        if not isinstance(code, str):
            raise FormatError("an array type of an unknown kind")
        if np.dtype(code).hasobject:
            raise FormatError("an array of objects")
        if np.dtype(code).kind not in PLAIN_KINDS:
            raise FormatError(f"an array type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise FormatError("an array type with an unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array in the making: empty until its state comes."""

    array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.array = _built(content, dtype, shape, "F" if fortran else "C")


def load_pickle(path: Path, *, builders: Builders = lambda module, name: None) -> Any:
    """Content of a pickle file of numbers and text.

    Args:
        path: the file.
        builders: what stands for further names. It must not look names up in modules, and what it returns must not
            let a file change it.

    Raises:
        FormatError: the file is missing, truncated or no pickle; or it holds anything else, which is named.
    """
    try:
        with path.open("rb") as file:
            return _finished(_Unpickler(file, builders).load(), {})
    except FormatError as error:
        raise FormatError(
            f"{path}: refused, because it holds {error}; only NumPy arrays of numbers and text, str, int, float, "
            "bool, list, tuple and dict are read. If you trust the file, convert it where it was made."
        ) from error
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}.") from error
    except RecursionError as error:
        raise FormatError(f"{path}: nested too deeply to be a file of arrays.") from error
    except Exception as error:  # A damaged pickle can raise anything.
        raise FormatError(f"{path}: truncated, damaged, or not a pickle file ({error}).") from error


def dump_pickle(path: Path, value: Any) -> None:
    """Write plain containers, numbers, text and NumPy arrays as a pickle file, whole or not at all."""
    replace_file(path, lambda temporary: temporary.write_bytes(pickle.dumps(value, protocol=4)))


class _Unpickler(pickle.Unpickler):
    """Gives the builders of `_BUILDERS`, and further ones, for their names and refuses every other name."""

    def __init__(self, file: Any, builders: Builders) -> None:
        super().__init__(file)
        self._builders = builders

    def find_class(self, module: str, name: str) -> Any:
        builder = _BUILDERS.get((module.replace("numpy.core.", "numpy._core."), name)) or self._builders(module, name)
        if builder is None:
            raise FormatError(f"an object of class '{module}.{name}'")
        return builder

    def persistent_load(self, pid: Any) -> Any:
        raise FormatError("a reference to something outside the file")


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _BUILDERS["numpy", "ndarray"]:
        raise FormatError("an array of an unknown class")
    return _Array()


def numpy_array(build: Any, arguments: Any, state: Any) -> Any:
    """An array out of what `numpy.ndarray.__reduce__` tells of it, for builders of what wraps one."""
    if build is not _BUILDERS["numpy._core.multiarray", "_reconstruct"]:
        raise FormatError("an array that is built by hand")
    array = build(*arguments)
    array.__setstate__(state)
    return array


def _ndarray(*arguments: Any) -> Any:
    raise FormatError("an array that is built by hand")


def _scalar(dtype: Any, content: Any = b"") -> Any:
    return _built(content, dtype, (1,), "C")[0]


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray[Any, Any]:
    if order not in ("C", "F") or axes is not None:
        raise FormatError("an array in an unknown order")
    return _built(content, dtype, shape, order)


def _encode(text: Any, encoding: Any = None) -> bytes:
    """Bytes as old protocols write them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise FormatError("a call of '_codecs.encode'")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    """The empty bytes, which old protocols write as a call."""
    if arguments:
        raise FormatError("a call of 'bytes'")
    return b""


_BUILDERS: Mapping[tuple[str, str], Builder] = {
    ("numpy", "ndarray"): Builder(_ndarray),
    ("numpy", "dtype"): Builder(_Dtype),
    ("numpy._core.multiarray", "_reconstruct"): Builder(_reconstruct),
    ("numpy._core.multiarray", "scalar"): Builder(_scalar),
    ("numpy._core.numeric", "_frombuffer"): Builder(_frombuffer),
    ("_codecs", "encode"): Builder(_encode),
    ("__builtin__", "bytes"): Builder(_no_bytes),
    ("builtins", "bytes"): Builder(_no_bytes),
}


def _built(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """An array with memory of its own."""
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray):
        raise FormatError("an array whose numbers are not stored as bytes")
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise FormatError(f"an array of shape {shape!r}")
    array = np.array(np.frombuffer(content, dtype.dtype).reshape(shape, order=order))
    # A bfloat16 is the first half of a float32.
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype.widened else array


def _finished(value: Any, seen: dict[int, Any]) -> Any:
    """The value with arrays in the place of their builders."""
    if isinstance(value, _Array):
        if value.array is None:
            raise FormatError("an array without content")
        return value.array
    if isinstance(value, (*_PLAIN, np.generic, np.ndarray)):
        return value
    if type(value) not in (list, tuple, dict):
        raise FormatError(f"an object of class {type(value).__name__!r}")
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, list):
        seen[id(value)] = value
        value[:] = [_finished(item, seen) for item in value]
    elif isinstance(value, dict):
        seen[id(value)] = value
        for key in value:
            if not isinstance(key, _PLAIN):
                raise FormatError("a key that is neither text nor a number")
            value[key] = _finished(value[key], seen)
    else:
        value = tuple(_finished(item, seen) for item in value)
    return value
