"""Reading a store for an epoch: buffers that are used again, and records asked for ahead of their batch."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from gradatim.data.random import keyed_generator

if TYPE_CHECKING:
    from gradatim.features.store import FeatureStore

_AHEAD_BYTES = 64 << 20
_LOOK_AGAIN = 64


class Ahead:
    """Asks the system for records before they are needed, until everything lies in memory.

    Args:
        store: to read.
    """

    def __init__(self, store: "FeatureStore") -> None:
        self._records = store.records
        self._quiet = 0

    def expect(self, indices: np.ndarray) -> None:
        """Note that these records are needed soon."""
        if self._quiet:
            self._quiet -= 1
            return
        if self._records.resident(indices):
            # Asking costs a system call a record; records that lie in memory already need none.
            self._quiet = _LOOK_AGAIN
            return
        self._records.advise(indices)


def batches_ahead(batch_bytes: int) -> int:
    """How many batches to ask for ahead: enough to keep a disk busy, two at least."""
    return min(32, max(2, _AHEAD_BYTES // max(1, batch_bytes)))


def read_batches(
    store: "FeatureStore",
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool,
    indices: Sequence[int] | np.ndarray | None,
    reuse: int,
) -> Iterator[dict[str, Tensor]]:
    """See `FeatureStore.batches`."""
    chosen = np.arange(len(store)) if indices is None else store.checked(indices)
    if shuffle:
        chosen = keyed_generator(seed, "features", epoch).permutation(chosen)
    ahead = Ahead(store)
    depth = batches_ahead(batch_size * store.schema.stride)
    starts = range(0, len(chosen), batch_size)
    with store.lent(batch_size, reuse) as buffers:
        for start in starts[:depth]:
            ahead.expect(chosen[start : start + batch_size])
        for number, start in enumerate(starts):
            soon = start + depth * batch_size
            if soon < len(chosen):
                ahead.expect(chosen[soon : soon + batch_size])
            now = chosen[start : start + batch_size]
            yield store.gather_checked(now, buffers[number % reuse] if reuse else store.buffer(len(now)))
