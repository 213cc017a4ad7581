"""What every reader returns, and how it is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

FIELDS = "fields"
"""Entry of a file's metadata with what lies beside its arrays, in JSON."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The arrays of one file.

    Args:
        path: the file.
        format: name of its format.
        arrays: by the file's own names, after the prefixes in `notes` were taken off; on the CPU, memory-mapped
            where the format allows it.
        metadata: text that the file carries beside its arrays.
        notes: what the reader did that a user should know, one sentence each.
    """

    path: Path
    format: str
    arrays: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file.

    Args:
        name: as printed.
        recognises: from the path and its first 16 bytes.
        read: raises FormatError for a damaged file.
    """

    name: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path], Weights]


def is_plain(value: Any) -> bool:
    """Whether a field beside the arrays is made of text, numbers and plain containers alone."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(one) for one in value)
    return value is None or isinstance(value, str | int | float | bool)
