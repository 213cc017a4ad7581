"""What happened in a run: one JSON object a line, appended and never rewritten.

A stage that starts at step k after it was stopped says so (`stage` with state `started`, or `resumed`), and what it
had written about later steps is left in the file but no longer counts: `read_events` returns each step once.
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

Event = dict[str, Any]


class EventLog:
    """Appends events to a file; each line is flushed, so a killed run has all but perhaps its last.

    Args:
        path: the file; created with the first event.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def write(self, event: Event) -> None:
        """Append one event; values that are not finite become text, since JSON has none."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _end_last_line(self._path)
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps({"time": round(time.time(), 3), **_finite(event)}, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; writing opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _end_last_line(path: Path) -> None:
    """Close a line that a killed process left half written, so that the next one stands alone."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> Iterator[Event]:
    if not path.is_file():
        return
    # A line that was cut inside a letter is no JSON either.
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event


def read_events(path: Path) -> list[Event]:
    """Events that count, in order: those about steps that a stage ran again are left out."""
    kept: list[Event] = []
    for event in _lines(path):
        if event.get("event") == "resumed" or event.get("state") == "started":
            kept = [e for e in kept if not _undone(e, event)]
        kept.append(event)
    return kept


def _undone(event: Event, resumed: Event) -> bool:
    same = event.get("stage") == resumed["stage"]
    return same and event.get("event") not in ("stage", "resumed") and event.get("step", 0) > resumed["step"]
