"""Events as TensorBoard scalars, where tensorboard is installed; its writer needs neither torch nor tensorflow.

A scalar costs it more than a small model's step, so each kind of event is written once a second at most; the event
log has them all.
"""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_KINDS = {
    "step": ("losses", "lr", "gradient_norm", "samples_per_second"),
    "drift": ("parts",),
    "validation": ("value",),
}
_SECONDS = 1.0


class ScalarWriter:
    """Writes the figures of a run's events as scalars named `stage/kind/name`, over the stage's steps.

    Args:
        folder: where the event files go; made with the first scalar. Nothing is written without tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._written: dict[tuple[str, str], float] = {}
        self._installed = importlib.util.find_spec("tensorboard") is not None

    def write(self, event: dict[str, Any]) -> None:
        """Write the figures of one event, if it has any."""
        if not self._installed or event["event"] not in _KINDS:
            return
        kind, now = (event["stage"], event["event"]), time.monotonic()
        if event["event"] != "validation" and now - self._written.get(kind, -_SECONDS) < _SECONDS:
            return
        self._written[kind] = now
        if self._writer is None:
            from tensorboard.summary import Writer

            self._writer = Writer(str(self._folder))
        for tag, value in scalars(event):
            self._writer.add_scalar(tag, value, event["step"])

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def scalars(event: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """(tag, value) of each figure in an event."""
    kind = event["event"]
    for key in _KINDS[kind]:
        value = event.get(key)
        label = {"parts": "drift", "value": event.get("metric", "value")}.get(key, key)
        if isinstance(value, dict):
            yield from ((f"{event['stage']}/{label}/{name}", float(one)) for name, one in value.items())
        elif value is not None:
            yield f"{event['stage']}/{label}", float(value)
