"""Reading a store for an epoch: records asked for ahead of their batch, and gathered while the last one is in use."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from torch import Tensor

from gradatim.data.random import keyed_generator

if TYPE_CHECKING:
    from gradatim.features.store import Buffer, FeatureStore

T = TypeVar("T")
_AHEAD_BYTES = 64 << 20
_LOOK_AGAIN = 64
_WORTH_A_THREAD = 1 << 20
"""Bytes of a batch that take longer to copy than a thread takes to be told."""


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


def threads_for(batch_bytes: int) -> int:
    """Threads that gather batches of this size: one copy alone does not use what the memory can give."""
    return min(2, os.cpu_count() or 1) if batch_bytes >= _WORTH_A_THREAD else 0


def under_way(threads: int) -> int:
    """Batches that `gathered_ahead` writes besides those that are in use."""
    return 2 * threads


def gathered_ahead(gathers: Iterator[Callable[[], T]], threads: int) -> Iterator[T]:
    """Results in order, `under_way(threads)` of which are made while one is in use; without threads, one by one."""
    if not threads:
        for gather in gathers:
            yield gather()
        return
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, "gather") as pool:
        try:
            for gather in gathers:
                waiting.append(pool.submit(gather))
                if len(waiting) > under_way(threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # The memory that is written into goes back to its owner only when nobody writes any more.
            pool.shutdown(cancel_futures=True)


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
    threads = threads_for(batch_size * store.schema.stride)

    def gathers(buffers: Sequence["Buffer"]) -> Iterator[Callable[[], dict[str, Tensor]]]:
        for start in starts[:depth]:
            ahead.expect(chosen[start : start + batch_size])
        for number, start in enumerate(starts):
            soon = start + depth * batch_size
            if soon < len(chosen):
                ahead.expect(chosen[soon : soon + batch_size])
            now = chosen[start : start + batch_size]
            buffer = buffers[number % len(buffers)] if buffers else store.buffer(len(now))
            yield partial(store.gather_checked, now, buffer)

    with store.lent(batch_size, reuse + under_way(threads) if reuse else 0) as buffers:
        yield from gathered_ahead(gathers(buffers), threads)
