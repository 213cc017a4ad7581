"""A sweep: one plan with several values of some settings; its runs share features and equal stages."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.engine.checked import checked_plan
from gradatim.engine.run import run
from gradatim.errors import GradatimError, GuardError, PlanError
from gradatim.plan import Document, override
from gradatim.runs.events import read_events
from gradatim.system import System


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One run of a sweep.

    Args:
        name: folder's name, from what varies.
        values: what varies, by path.
        document: the plan.
    """

    name: str
    values: dict[str, str]
    document: Document


def split_values(text: str) -> list[str]:
    """Values between commas that stand in no bracket: `1e-3,[1,2]` are two."""
    values, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            values.append(text[start:place])
            start = place + 1
    return [value.strip() for value in (*values, text[start:])]


def variants(document: Document, changes: Sequence[str]) -> list[Variant]:
    """Every combination of the values of `PATH=A,B,C`; each plan is checked.

    Raises:
        PlanError: nothing varies, a value is empty, or a plan is wrong; all that is wrong with the first such plan.
    """
    given = [change.partition("=") for change in changes]
    empty = [change for change, (_, sign, text) in zip(changes, given, strict=True) if not sign or not text]
    if empty:
        raise PlanError(f"--set {empty[0]}: write PATH=VALUE,VALUE,...")
    lists = [(path, split_values(text)) for path, _, text in given]
    if all(len(values) == 1 for _, values in lists):
        raise PlanError("a sweep needs several values: --set stages.NAME.lr=1e-3,3e-4,1e-4")
    found = []
    for chosen in itertools.product(*(values for _, values in lists)):
        pairs = [(path, value) for (path, _), value in zip(lists, chosen, strict=True)]
        varied = {path: value for (path, values), (_, value) in zip(lists, pairs, strict=True) if len(values) > 1}
        changed = override(document, [f"{path}={value}" for path, value in pairs])
        found.append(Variant(name=_name(varied), values=varied, document=changed))
    return found


def _name(varied: dict[str, str]) -> str:
    text = ",".join(f"{path.removeprefix('stages.')}={value}" for path, value in varied.items())
    return re.sub(r"[^\w.,=+-]+", "_", text)[:120]


def sweep(
    document: Document,
    changes: Sequence[str],
    out: Path,
    *,
    system: System | None = None,
    device: str | None = None,
    observe: Callable[[dict[str, Any]], None] | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Carry out one run after the other, and tell how each ended.

    Args:
        document: of the plan.
        changes: `PATH=A,B,C`.
        out: folder of the runs; those that are finished in it are not run again.
        system: where it is not one that can be found by name.
        device: such as `cpu` or `cuda:0`.
        observe, tick: as for `run`; a sweep's own events have `event` "sweep".

    Yields:
        JSON values for each run: `run`, `values`, `state`, `stages` (metric or last losses of each), `reused` stages,
        `seconds`; a run that a guard stopped is told, and the next begins.

    Raises:
        PlanError: before any run, with all that is wrong with a plan.
    """
    chosen = variants(document, changes)
    for variant in chosen:
        checked_plan(variant.document, system)
    for number, variant in enumerate(chosen, start=1):
        if observe is not None:
            observe({"event": "sweep", "number": number, "of": len(chosen), "run": variant.name})
        folder, started = out / variant.name, time.time()
        told: dict[str, Any] = {"run": str(folder), "values": variant.values, "state": "finished", "stages": {}}
        try:
            result = run(variant.document, folder, system=system, device=device, observe=observe, tick=tick)
            told["stages"] = {name: _figures(folder, record) for name, record in result.stages.items()}
        except GuardError as error:
            told |= {"state": "stopped", "error": str(error)}
        except GradatimError as error:
            raise type(error)(f"{variant.name}: {error}") from error
        events = read_events(folder / "events.jsonl")
        told["reused"] = [e["stage"] for e in events if e["event"] == "stage" and e["state"] == "reused"]
        told["computed"] = [value for e in events if e["event"] == "features" for value in e.get("computes", ())]
        yield {**told, "seconds": round(time.time() - started, 3)}


def _figures(folder: Path, record: Any) -> dict[str, Any]:
    """A stage's best metric and last losses."""
    events = read_events(folder / "events.jsonl")
    losses = [e["losses"] for e in events if e["event"] == "step" and e["stage"] == record["name"]]
    return {"metric": record["metric"], "best": record["best"], "losses": losses[-1] if losses else None}
