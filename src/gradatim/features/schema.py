"""What a stored sample looks like: named arrays side by side in a record of fixed length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from gradatim.errors import DataError, unknown

PAGE = 4096
_SHARD_BYTES = 128 << 20
_RAGGED_BYTES = 16
DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named array of every sample.

    Args:
        name: of the value.
        shape: of one sample's array; of one of its rows, where their number varies.
        dtype: as stored, a torch name such as `float16`.
        ragged: whether each sample has its own number of rows; reading then gives a mask beside the array.
        given: dtype that the value was computed in, and is wanted in again; empty means as stored.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    ragged: bool = False
    given: str = ""

    def __post_init__(self) -> None:
        for dtype in (self.dtype, self.given or self.dtype):
            if dtype not in DTYPES:
                raise DataError(f"field {self.name!r}: {unknown('dtype', dtype, DTYPES)}")

    @property
    def torch_dtype(self) -> torch.dtype:
        """Dtype as stored."""
        dtype: torch.dtype = DTYPES[self.dtype]
        return dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a ragged array, or of the whole of another."""
        return math.prod(self.shape) * self.torch_dtype.itemsize

    @property
    def record_bytes(self) -> int:
        """Bytes inside a record: the array itself, or where it starts and its number of rows."""
        return _RAGGED_BYTES if self.ragged else self.row_bytes


@dataclass(frozen=True)
class Schema:
    """The fields of a record, in order."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise DataError(f"fields of a feature store: {twice[0]!r} stands twice" if twice else "no fields to store")

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Byte at which each field starts in a record."""
        found, at = {}, 0
        for field in self.fields:
            size = 8 if field.ragged else field.torch_dtype.itemsize
            at = -(-at // size) * size
            found[field.name] = at
            at += field.record_bytes
        return found

    @cached_property
    def stride(self) -> int:
        """Bytes from one record to the next."""
        last = self.fields[-1]
        size = -(-max(1, self.offsets[last.name] + last.record_bytes) // 8) * 8
        # Large records start on a page, so that a shard need not hold many of them to end on one.
        whole = -(-size // PAGE) * PAGE
        return whole if size >= 64 * PAGE else size

    @property
    def rows_unit(self) -> int:
        """Records after which a page ends; shards hold multiples of it, so that they can lie side by side."""
        return PAGE // math.gcd(self.stride, PAGE)

    def rows_per_shard(self, size: int = _SHARD_BYTES) -> int:
        """Records in a shard of about `size` bytes."""
        return max(1, size // self.stride // self.rows_unit) * self.rows_unit

    @property
    def ragged(self) -> tuple[Field, ...]:
        """Fields of varying length."""
        return tuple(field for field in self.fields if field.ragged)

    def to_json(self) -> list[dict[str, Any]]:
        """JSON values."""
        return [{**asdict(field), "shape": list(field.shape)} for field in self.fields]

    @classmethod
    def from_json(cls, values: Sequence[Mapping[str, Any]]) -> "Schema":
        """The schema that `to_json` wrote."""
        return cls(tuple(Field(**{**value, "shape": tuple(value["shape"])}) for value in values))
