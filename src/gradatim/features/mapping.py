"""All shards of a store in one range of addresses, so that any record is one addition away.

Shards end on a page, so each file is mapped right behind the one before it and one gather serves them all.
"""

import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.errors import DataError
from gradatim.features.schema import PAGE

_PROT_NONE = 0
_MAP_FIXED = 0x10
_MADV_RANDOM = 1
_LOOKED_AT = 64


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return libc


class MappedRecords:
    """Records of all shards as one array that the system reads from disk where it must.

    Args:
        files: shards in order.
        rows: records in each; all but the last are full.
        start: byte of a file at which its records begin, a multiple of the page.
        stride: bytes of a record.
    """

    def __init__(self, files: Sequence[Path], rows: Sequence[int], start: int, stride: int) -> None:
        self._libc = _libc()
        self._files = [os.open(file, os.O_RDONLY) for file in files]
        self._start, self.stride = start, stride
        self._per_file = rows[0] if rows else 1
        count = sum(rows)
        size = max(PAGE, -(-count * stride // PAGE) * PAGE)
        self._base = self._map(None, size, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        at = self._base
        for handle, held in zip(self._files, rows, strict=True):
            length = -(-held * stride // PAGE) * PAGE
            self._map(at, length, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, handle, start)
            self._libc.madvise(at, length, _MADV_RANDOM)
            at += held * stride
        flat = (ctypes.c_ubyte * (count * stride)).from_address(self._base)
        # Every array over the addresses holds this, so a gather in another thread outlives `close`.
        weakref.finalize(flat, _release, self._libc, self._base, size, self._files)
        self.records = np.frombuffer(memoryview(flat), dtype=np.uint8).reshape(count, stride)
        """(records, stride) uint8, read only; empty after `close`."""
        self.records.flags.writeable = False

    def _map(self, at: int | None, size: int, protection: int, flags: int, handle: int, start: int) -> int:
        found = self._libc.mmap(at, size, protection, flags, handle, start)
        if found in (None, ctypes.c_void_p(-1).value):
            number = ctypes.get_errno()
            raise DataError(f"the feature store cannot be mapped ({size} bytes): {os.strerror(number)}")
        return int(found)

    def advise(self, indices: np.ndarray) -> None:
        """Have the system start to read these records from the disk; returns at once."""
        if not hasattr(os, "posix_fadvise"):
            return
        for index in indices.tolist():
            file, row = divmod(index, self._per_file)
            where = self._start + row * self.stride
            os.posix_fadvise(self._files[file], where, self.stride, os.POSIX_FADV_WILLNEED)

    def resident(self, indices: np.ndarray) -> bool:
        """Whether these records lie in memory, judged by a few of them."""
        found = ctypes.c_ubyte()
        for index in indices[:: max(1, len(indices) // _LOOKED_AT)].tolist():
            for byte in (index * self.stride, (index + 1) * self.stride - 1):
                page = self._base + byte // PAGE * PAGE
                if self._libc.mincore(page, PAGE, ctypes.byref(found)) or not found.value & 1:
                    return False
        return True

    def close(self) -> None:
        """Give the addresses and files back, as soon as no array uses them any more."""
        self.records = np.empty((0, self.stride), np.uint8)


def _release(libc: Any, base: int, size: int, files: list[int]) -> None:
    libc.munmap(base, size)
    for handle in files:
        os.close(handle)
