"""Prints that were drawn or read once, in memory that worker processes share."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PrintStore:
    """Planes of prints (N, planes, S, S) uint8 in one piece of memory, taken as it is filled.

    Processes that are forked from this one see and fill the same piece, so workers neither repeat what is done nor
    multiply it. Two that fill the same place write the same bytes. A copy that is pickled starts empty.

    Args:
        prints: number N of prints that there are.
        planes: pictures of each.
        size: side S.
        budget: MiB that all together may take; prints beyond it are not kept.
    """

    def __init__(self, prints: int, planes: int, size: int, budget: int) -> None:
        self.kept = min(prints, budget * 2**20 // (planes * (size * size + 1)))
        self._shape = (planes, size, size)
        self._budget, self._prints = budget, prints
        room = max(self.kept * planes, 1)
        # Anonymous memory is not the limited kind that processes pass tensors through.
        self._values = np.frombuffer(mmap.mmap(-1, room * size * size), np.uint8)[: self.kept * planes * size * size]
        self._values = self._values.reshape(self.kept, *self._shape)
        self._filled = np.frombuffer(mmap.mmap(-1, room), np.uint8)[: self.kept * planes].reshape(self.kept, planes)

    def __getstate__(self) -> dict[str, Any]:
        planes, size, _ = self._shape
        return {"prints": self._prints, "planes": planes, "size": size, "budget": self._budget}

    def __setstate__(self, state: dict[str, Any]) -> None:
        PrintStore.__init__(self, **state)

    def get(self, index: int, plane: int) -> NDArray[np.uint8] | None:
        """A plane (S, S), not to be changed; None if it was not put."""
        if index >= self.kept or not self._filled[index, plane]:
            return None
        found: NDArray[np.uint8] = self._values[index, plane]
        return found

    def put(self, index: int, plane: int, values: NDArray[np.uint8]) -> None:
        """Keep a plane, if there is room for its print."""
        if index < self.kept:
            self._values[index, plane] = values
            # Last, so that no process reads what is not there yet.
            self._filled[index, plane] = 1
