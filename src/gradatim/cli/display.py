"""Progress of a run on the terminal: one bar a stage, with loss terms, rate, samples a second and time left."""

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text


class RunDisplay:
    """Draws the events of a run; plain lines where stderr is no terminal.

    Args:
        quiet: draw nothing but guards.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._progress: Progress | None = None
        self._task: Any = None
        self._drawn = 0.0

    def observe(self, event: dict[str, Any]) -> None:
        """Take in one event of a run."""
        draw = getattr(self, f"_on_{event['event']}", None)
        if draw is not None and (not self._quiet or event["event"] in ("guard", "lengthened")):
            draw(event)

    def tick(self, done: int, total: int) -> None:
        """Move the bar, ten times a second at most."""
        if self._progress is None:
            return
        now = time.monotonic()
        if done == total or now - self._drawn > 0.1:
            self._drawn = now
            self._progress.update(self._task, completed=done)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _on_sweep(self, event: dict[str, Any]) -> None:
        self._say(f"run {event['number']} of {event['of']}: {event['run']}", "bold blue")

    def _on_stage(self, event: dict[str, Any]) -> None:
        if event["state"] == "started":
            self._start(event)
        elif event["state"] == "reused":
            self._say(f"= {event['stage']}: taken over from {event['from']}", "dim")
        else:
            self.close()
            drift = ", ".join(f"{part} {value:.3g}" for part, value in event["drift"].items())
            self._say(
                f"✓ {event['stage']}: {event['step']} steps; "
                f"{event['frozen_arrays_equal']} frozen arrays equal to the bit, "
                f"{event['trained_arrays_moved']} trained arrays moved (drift: {drift})",
                "green",
            )

    def _start(self, event: dict[str, Any]) -> None:
        trained = [part for part, state in event["parts"].items() if state == "trained"]
        self._say(f"▸ {event['number']}. {event['stage']}: trains {', '.join(trained)}, {event['steps']} steps", "bold")
        if not sys.stderr.isatty():
            return
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(event["stage"], total=event["steps"], figures="")
        self._progress.start()

    def _on_data(self, event: dict[str, Any]) -> None:
        self._say(f"  data of {event['stage']}: {event['note']}", "yellow")

    def _on_features(self, event: dict[str, Any]) -> None:
        which = "" if event["samples"] == "train" else f" of {event['samples']} samples"
        if event["state"] == "begun":
            names, size = ", ".join(event["values"]), event["bytes"] / 1e6
            done = "read" if not event["missing"] else f"compute {event['missing'] / 1e6:.1f} MB of"
            self._say(f"  features{which}: {done} {names} ({size:.1f} MB)", "cyan")
        elif event["state"] == "progress":
            self._draw("features", event["done"], event["total"], event["left"])
        else:
            self.close()
            worst = max(event["differences"].values(), default=0.0)
            self._say(f"  features{which}: equal to computed ones within {worst:.1g}", "cyan")

    def _on_prepared(self, event: dict[str, Any]) -> None:
        if event["state"] == "begun":
            self._say(f"  {event['stage']}: the model of stage {event['by']} makes {event['file']}", "cyan")
        elif event["state"] == "progress":
            self._draw(event["file"], event["done"], event["total"], event["left"])
        else:
            self.close()

    def _draw(self, what: str, done: int, total: int, left: float | None) -> None:
        if not sys.stderr.isatty():
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn(f"  {what}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task(what, total=total, left="")
            self._progress.start()
        told = "" if left is None else f"{left:.0f} s left"
        self._progress.update(self._task, completed=done, total=total, left=told)
        if done == total:
            self.close()

    def _on_step(self, event: dict[str, Any]) -> None:
        losses = " ".join(f"{name} {float(value):.4g}" for name, value in event["losses"].items() if "/" not in name)
        rates = "/".join(f"{rate:.2g}" for rate in event["lr"].values())
        figures = f"{losses}  lr {rates}  {event['samples_per_second']:.0f} samples/s"
        if self._progress is not None:
            self._progress.update(self._task, completed=event["step"], figures=figures)

    def _on_validation(self, event: dict[str, Any]) -> None:
        star = " (best)" if event["best"] else ""
        self._say(f"  epoch {event['epoch']}: {event['metric']} {float(event['value']):.5g}{star}")

    def _on_resumed(self, event: dict[str, Any]) -> None:
        because = f": {event['because']}, lr x {event['lr_scale']:g}" if "because" in event else ""
        self._say(f"  back at step {event['step']}{because}", "yellow")

    def _on_lengthened(self, event: dict[str, Any]) -> None:
        self._say(f"! {event['stage']}: {event['message']}", "bold red")

    def _on_guard(self, event: dict[str, Any]) -> None:
        self._say(f"! guard {event['guard']}: {event['message']}", "bold red")

    def _on_unreached(self, event: dict[str, Any]) -> None:
        names = ", ".join(event["arrays"][:4])
        self._say(
            f"  {len(event['arrays'])} trained arrays are reached by no loss, so they stay as they are: {names}",
            "yellow",
        )
