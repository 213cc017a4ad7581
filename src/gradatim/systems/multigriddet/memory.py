"""Decoded pictures in memory, as far as a budget goes."""

from collections.abc import Callable, Hashable
from typing import Any

from gradatim.data.image import Picture


class PictureMemory:
    """Pictures that are made once and kept; a copy that is sent to another process starts empty.

    Args:
        budget: MiB that all together may take; what does not fit is made anew each time.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._room = budget * 2**20
        self._kept: dict[Hashable, Picture] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A worker process decodes for itself: pictures would be slow to send.
        return {"budget": self.budget, "_room": self.budget * 2**20, "_kept": {}}

    def get(self, key: Hashable, make: Callable[[], Picture]) -> Picture:
        """The picture of this key, made now if it is not there."""
        kept = self._kept.get(key)
        if kept is None:
            kept = make()
            if kept.nbytes <= self._room:
                self._room -= kept.nbytes
                self._kept[key] = kept
        return kept
