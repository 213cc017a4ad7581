"""A shard: one safetensors file of records, complete or absent, with its checksum in a JSON file beside it."""

import errno
import fcntl
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from gradatim.errors import DataError
from gradatim.features.schema import DTYPES, PAGE, Field, Schema
from gradatim.features.sealed import read_sealed, write_sealed
from gradatim.files import sync_folder
from gradatim.weights.digest import file_digest

FORMAT = "gradatim features 1"
HEADER = 4 * PAGE
"""Bytes before the first record; the header is padded to it with spaces."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.safetensors"


def facts_path(folder: Path, number: int) -> Path:
    """The JSON file that says that a shard is complete."""
    return folder / f"shard-{number:05d}.json"


def read_facts(folder: Path, number: int) -> dict[str, Any]:
    """What stands beside a complete shard: its `rows`, `bytes` and `xxh3`.

    Raises:
        DataError: a byte of the file changed.
    """
    return read_sealed(facts_path(folder, number), forget(folder, number))


def forget(folder: Path, number: int) -> str:
    """Words that say how to have one shard computed again."""
    return (
        f"remove {shard_name(number)}, {facts_path(folder, number).name} and index.json, or run `gradatim features "
        "verify --repair`; this shard alone is then computed again"
    )


@contextmanager
def told_when_full(folder: Path, what: str) -> Iterator[None]:
    """Turn a full disk into a DataError that says what to do; `what` was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"{folder}: no room left while {what} was written ({error.strerror}). Finished shards are kept: make room "
            "(`gradatim features prune --keep 20GB`), or set GRADATIM_FEATURES to another disk, and run the same "
            "command again; it goes on from there"
        ) from error


class Claim:
    """A lock on a shard, so that no two processes compute it; it ends with the process.

    Args:
        folder: of the store.
        number: of the shard.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._path = folder / f"shard-{number:05d}.lock"
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether the shard is this process's now."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def give_back(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class ShardWriter:
    """Writes one shard, batch by batch, in constant memory.

    Args:
        folder: of the store.
        number: of the shard.
        schema: of its records.
        rows: how many records it will hold.
        about: further entries of the file's metadata.
    """

    def __init__(self, folder: Path, number: int, schema: Schema, rows: int, about: Mapping[str, str]) -> None:
        self._folder, self._number, self._schema, self._rows = folder, number, schema, rows
        self._about = about
        self._path = folder / shard_name(number)
        self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        self._payload_part = self._path.with_name(f".{self._path.name}.{os.getpid()}.payload.part")
        self._payload: IO[bytes] | None = None
        self._payload_bytes = 0
        self.written = 0
        self._header()  # a schema that does not fit is an error before anything is computed
        self._file: IO[bytes] = self._part.open("w+b", buffering=0)
        self._put(self._file, b" " * HEADER)

    def append(self, values: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> None:
        """Write the next records.

        Args:
            values: arrays of all fields with a batch axis first, already of the field's dtype; a ragged one is
                padded, (B, N, ...).
            lengths: valid rows of each sample, (B,), for ragged fields.
        """
        schema = self._schema
        count = len(values[schema.fields[0].name])
        block = np.zeros((count, schema.stride), np.uint8)
        for field in schema.fields:
            at = schema.offsets[field.name]
            value = values[field.name].detach().cpu()
            cell = self._spread(value, lengths[field.name]) if field.ragged else _bytes_of(value, count)
            block[:, at : at + field.record_bytes] = cell
        self._put(self._file, block.data)
        self.written += count

    def _spread(self, value: Tensor, lengths: Tensor) -> np.ndarray:
        """Write the valid rows to the payload; the records' cells, (B, 16) uint8."""
        if self._payload is None:
            self._payload = self._payload_part.open("w+b", buffering=0)
        cells = np.zeros((len(value), 2), np.int64)
        for index, length in enumerate(lengths.tolist()):
            cells[index] = self._payload_bytes, length
            rows = value[index, :length].contiguous()
            self._payload_bytes += self._put(self._payload, _bytes_of(rows[None], 1).data)
        return cells.view(np.uint8)

    def _put(self, file: IO[bytes], data: Any) -> int:
        view = memoryview(data)
        if not view.nbytes:
            return 0
        view = view.cast("B")
        done = 0
        with told_when_full(self._folder, f"shard {self._number}"):
            while done < len(view):
                done += file.write(view[done:])
        return done

    def finish(self) -> dict[str, Any]:
        """Put the shard in place: header, payload, sync, rename, then the JSON file; returns that file's content.

        Raises:
            DataError: too few or too many samples were given; no room is left on the disk.
        """
        if self.written != self._rows:
            raise DataError(f"{self._path}: {self.written} samples were given, but this shard holds {self._rows}")
        with told_when_full(self._folder, f"shard {self._number}"):
            return self._finish()

    def _finish(self) -> dict[str, Any]:
        if self._payload is not None:
            self._payload.seek(0)
            while chunk := self._payload.read(1 << 22):
                self._put(self._file, chunk)
        self._file.seek(0)
        self._put(self._file, self._header())
        os.fsync(self._file.fileno())
        self._file.close()
        facts = {"rows": self._rows, "bytes": self._part.stat().st_size, "xxh3": file_digest(self._part)}
        self._part.replace(self._path)
        sync_folder(self._folder)
        write_sealed(facts_path(self._folder, self._number), facts)
        self.discard()
        return facts

    def _header(self) -> bytes:
        rows = self._rows * self._schema.stride
        header: dict[str, Any] = {
            "__metadata__": {"format": FORMAT, "schema": json.dumps(self._schema.to_json()), **self._about},
            "rows": {"dtype": "U8", "shape": [self._rows, self._schema.stride], "data_offsets": [0, rows]},
        }
        if self._schema.ragged:
            header["payload"] = {
                "dtype": "U8",
                "shape": [self._payload_bytes],
                "data_offsets": [rows, rows + self._payload_bytes],
            }
        text = json.dumps(header).encode()
        room = HEADER - 8
        if len(text) > room:
            raise DataError(f"the schema of {len(self._schema.fields)} fields does not fit the header of a shard")
        return struct.pack("<Q", room) + text.ljust(room)

    def discard(self) -> None:
        """Remove what was written and not put in place."""
        for file in (self._file, self._payload):
            if file is not None:
                file.close()
        self._part.unlink(missing_ok=True)
        self._payload_part.unlink(missing_ok=True)


def _bytes_of(value: Tensor, count: int) -> np.ndarray:
    """The bytes of each sample, (B, n) uint8."""
    flat = value.contiguous().reshape(count, -1)
    if not flat.numel():
        return np.zeros((count, 0), np.uint8)
    return flat.view(torch.uint8).numpy()


def as_stored(field: Field, value: Tensor) -> Tensor:
    """A value in the dtype that it is stored in.

    Raises:
        DataError: a number of the value is too large for it, or the value is of another kind.
    """
    dtype: torch.dtype = DTYPES[field.dtype]
    if value.dtype == dtype:
        return value
    if not (value.dtype.is_floating_point and dtype.is_floating_point):
        raise DataError(
            f"value {field.name!r} is {str(value.dtype).removeprefix('torch.')}, the store holds {field.dtype}; only "
            "floating point numbers are converted"
        )
    stored = value.to(dtype)
    if dtype == torch.float16:
        # An infinity that was computed is for the guard of the loss to judge; one that storing makes is not.
        lost = value[stored.isinf() & value.isfinite()]
        if lost.numel():
            raise DataError(
                f"value {field.name!r} reaches {float(lost.abs().max()):.4g}, beyond float16's 65504; store it as "
                "`cache: {dtype: bfloat16}`, or as it is with `cache: {dtype: float32}`"
            )
    return stored
