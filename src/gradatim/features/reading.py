"""Reading stores for an epoch: records asked for ahead of their batch, and gathered while the last one is in use."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar, cast

import numpy as np

from gradatim.features.mapping import MappedRecords

T = TypeVar("T")
_AHEAD_BYTES = 64 << 20
_LOOK_AGAIN = 64
_WORTH_A_THREAD = 1 << 20
"""Bytes of a batch that take longer to copy than a thread takes to be told."""


class _Ahead:
    """Asks the system for records before they are needed, until everything lies in memory."""

    def __init__(self, records: MappedRecords) -> None:
        self._records = records
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


def asked_ahead(
    batches: Iterable[T], rows_of: Callable[[T], np.ndarray], stores: Sequence[MappedRecords], batch_size: int
) -> Iterator[T]:
    """The same batches, held back until records of enough later ones were asked for from the disk.

    Args:
        batches: in order.
        rows_of: records that a batch needs, of every store.
        stores: that are read for each batch, one at least.
        batch_size: records in a batch.
    """
    ahead = [_Ahead(records) for records in stores]
    depth = min(_batches_ahead(batch_size * records.stride) for records in stores)
    waiting: deque[T] = deque()
    for batch in batches:
        for each in ahead:
            each.expect(rows_of(batch))
        waiting.append(batch)
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting


def _batches_ahead(batch_bytes: int) -> int:
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
    hands: list[_Hand[T]] = [_Hand() for _ in range(threads)]
    waiting: deque[_Hand[T]] = deque()
    try:
        for number, gather in enumerate(gathers):
            hand = hands[number % threads]
            hand.give(gather)
            waiting.append(hand)
            if len(waiting) > under_way(threads):
                yield waiting.popleft().take()
        while waiting:
            yield waiting.popleft().take()
    finally:
        # The memory that is written into goes back to its owner only when nobody writes any more.
        for hand in hands:
            hand.stop()


class _Hand(Generic[T]):
    """A thread that makes results in order: a pool's futures cost a tenth of the time of a batch."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], T] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()
        self._stopped = False
        self._thread = Thread(target=self._work, name="gather", daemon=True)
        self._thread.start()

    def give(self, job: Callable[[], T]) -> None:
        """Begin a result."""
        self._jobs.put(job)

    def take(self) -> T:
        """The oldest result that was not taken; what its job raised is raised here."""
        result, error = self._results.get()
        if error is not None:
            raise error
        return cast(T, result)

    def stop(self) -> None:
        """End the thread, after what it is at; jobs that it has not begun are left."""
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped:
            try:
                self._results.put((job(), None))
            except BaseException as error:
                self._results.put((None, error))
