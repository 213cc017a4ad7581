"""Progress of a running stage: two slots, written in the background, each complete or absent.

A snapshot is taken at fixed steps and holds only what trains: arrays of trained parts, optimizer state by
parameter name, and counters. Which snapshots reach the disk depends on the clock; what a stage ends with does not.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradatim.files import replace_file
from gradatim.weights.digest import arrays_digest, text_digest

SLOTS = ("slot-a.safetensors", "slot-b.safetensors")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a stage between two steps.

    Args:
        step: optimizer steps done.
        arrays: on the CPU, never written to again.
        counters: JSON values: batch, best metric, guard states.
    """

    step: int
    arrays: Mapping[str, Tensor]
    counters: Mapping[str, Any] = field(default_factory=dict)


def _write(path: Path, snapshot: Snapshot, key: str) -> None:
    content = {
        "step": snapshot.step,
        "counters": snapshot.counters,
        "key": key,
        "arrays": arrays_digest(snapshot.arrays),
    }
    header = json.dumps(content)
    arrays = {name: array.contiguous() for name, array in snapshot.arrays.items()}
    metadata = {"progress": header, "digest": text_digest(header)}
    replace_file(path, lambda temporary: save_file(arrays, temporary, metadata=metadata))


def _read(path: Path, key: str) -> Snapshot | None:
    """A slot's snapshot; None where it is absent, damaged or of another stage key."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata["digest"] != text_digest(metadata["progress"]):
                return None
            arrays = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    header = json.loads(metadata["progress"])
    if header["key"] != key or header["arrays"] != arrays_digest(arrays):
        return None
    return Snapshot(step=header["step"], arrays=arrays, counters=header["counters"])


def latest_snapshot(folder: Path, key: str) -> Snapshot | None:
    """The newest intact snapshot of a stage with this key; None where there is none."""
    found = [snapshot for slot in SLOTS if (snapshot := _read(folder / slot, key)) is not None]
    return max(found, key=lambda snapshot: snapshot.step, default=None)


class SnapshotWriter:
    """Writes snapshots to the two slots in turn, in a thread of its own.

    Args:
        folder: of the slots.
        key: the stage's key.
        seconds: least time between two writes.
    """

    def __init__(self, folder: Path, key: str, *, seconds: float = 0.5) -> None:
        self._folder, self._key, self._seconds = folder, key, seconds
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._written = 0.0
        newest = {slot: _read(folder / slot, key) for slot in SLOTS}
        steps = {slot: -1 if snapshot is None else snapshot.step for slot, snapshot in newest.items()}
        self._next = min(SLOTS, key=lambda slot: steps[slot])

    def keep(self, snapshot: Snapshot, at_once: bool) -> None:
        """Write a snapshot in the background.

        Args:
            snapshot: the state.
            at_once: after the one that is being written; otherwise a snapshot is let go while one is being
                written or was written just now.
        """
        self._raise()
        busy = self._thread is not None and self._thread.is_alive()
        if not at_once and (busy or time.monotonic() - self._written < self._seconds):
            return
        self.finish()
        self._written = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(snapshot,), name="gradatim-progress")
        self._thread.start()

    def _run(self, snapshot: Snapshot) -> None:
        try:
            _write(self._folder / self._next, snapshot, self._key)
            self._next = SLOTS[1 - SLOTS.index(self._next)]
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Wait until what was put is on disk; raises what went wrong there."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
