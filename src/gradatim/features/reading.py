"""Reading stores for an epoch: records asked for ahead of their batch, and gathered while the last one is in use."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar, cast

import numpy as np

from gradatim.features.mapping import MappedRecords

T = TypeVar("T")
_AHEAD_BYTES = 64 << 20
_LOOK_AGAIN, _LOOK_SELDOM = 64, 4096
_WORTH_A_THREAD = 1 << 20
"""Bytes that take longer to copy than a thread takes to be told."""
_AT_ONCE_BYTES, _AT_ONCE = 10 << 20, 8


class _Ahead:
    """Asks the system for records before they are needed, until everything lies in memory."""

    def __init__(self, records: MappedRecords) -> None:
        self._records = records
        self._quiet, self._pause = 0, _LOOK_AGAIN

    def expect(self, indices: np.ndarray) -> None:
        """Note that these records are needed soon."""
        if self._quiet:
            self._quiet -= 1
            return
        if self._records.resident(indices):
            # Asking costs a system call a record; records that lie in memory already need none.
            self._quiet = self._pause
            self._pause = min(2 * self._pause, _LOOK_SELDOM)
            return
        self._pause = _LOOK_AGAIN
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


@dataclass(frozen=True)
class Pace:
    """How batches are gathered.

    Args:
        at_once: batches that one call gathers.
        under_way: calls whose batches are written besides those that are in use; 0 where the reader gathers itself.
    """

    at_once: int = 1
    under_way: int = 0

    def buffers(self, valid: int) -> int:
        """Memory of so many calls is needed where the last `valid` batches stay as they are."""
        return 1 + -(-(valid - 1) // self.at_once) + self.under_way


def pace_of(batch_bytes: int) -> Pace:
    """How to gather batches of this size: with a thread beside the reader, since one copy alone leaves memory idle.

    Two threads that gather wait for each other whenever one of them is between two copies, so each copies several
    batches at once.
    """
    at_once = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // max(1, batch_bytes)))
    if at_once * batch_bytes < _WORTH_A_THREAD or (os.cpu_count() or 1) < 2:
        return Pace()
    return Pace(at_once, 3)


def grouped(batches: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many, the last of which may be shorter."""
    source = iter(batches)
    while group := list(islice(source, size)):
        yield group


def gathered_ahead(gathers: Iterator[Callable[[], T]], under_way: int) -> Iterator[T]:
    """Results in order, of which a thread beside makes some while one is in use; one by one where none is under way."""
    if not under_way:
        for gather in gathers:
            yield gather()
        return
    waiting: deque[_Job[T]] = deque()
    hand: _Hand[T] = _Hand()
    try:
        for gather in gathers:
            waiting.append(hand.give(gather))
            if len(waiting) > under_way:
                yield hand.take(waiting.popleft())
        while waiting:
            yield hand.take(waiting.popleft())
    finally:
        # The memory that is written into goes back to its owner only when nobody writes any more.
        hand.stop()


class _Job(Generic[T]):
    """Something to make, and what came of it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._error: BaseException | None = None
        self._made: T | None = None
        self.done = False

    def run(self) -> None:
        """Make it, in whichever thread this is."""
        try:
            self._made = self._make()
        except BaseException as error:
            self._error = error
        self.done = True

    def result(self) -> T:
        """What was made; what making it raised is raised here."""
        if self._error is not None:
            raise self._error
        return cast(T, self._made)


class _Hand(Generic[T]):
    """A thread that does jobs in order, with the help of the thread that waits for them.

    Two threads and one that waits were slower on two cores: whoever finished had to wake the third one first.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job[T] | None] = SimpleQueue()
        self._finished: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        self._thread = Thread(target=self._work, name="gather", daemon=True)
        self._thread.start()

    def give(self, make: Callable[[], T]) -> _Job[T]:
        """Begin a job."""
        job = _Job(make)
        self._jobs.put(job)
        return job

    def take(self, job: _Job[T]) -> T:
        """The result of a job, after doing others while this one is under way; what it raised is raised here."""
        while not job.done:
            try:
                other = self._jobs.get_nowait()
            except Empty:
                self._finished.get()
            else:
                assert other is not None, "a hand that was stopped gives no results"
                other.run()
        # Words of jobs that were done before anybody waited for them.
        while not self._finished.empty():
            self._finished.get()
        return job.result()

    def stop(self) -> None:
        """End the thread, after what it is at; jobs that it has not begun are left."""
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped:
            job.run()
            self._finished.put(None)
