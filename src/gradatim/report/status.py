"""How far a run is, from its folder alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradatim.errors import RunError
from gradatim.plan.text import read_document
from gradatim.runs.events import read_events
from gradatim.runs.folder import RunFolder


def run_status(path: Path) -> dict[str, Any]:
    """State of a run and of each of its stages.

    Raises:
        RunError: there is no run.
    """
    folder = RunFolder(path)
    if not folder.exists():
        raise RunError(f"{path}: no run there")
    record, events = folder.read_record(), read_events(folder.events)
    finished = folder.stage_records()
    names = [stage["name"] for stage in read_document(folder.plan).tree["stages"]]
    return {
        "run": str(path),
        "state": record.get("state", "unknown"),
        "error": record.get("error") or "",
        "stages": [_stage(name, finished.get(name), [e for e in events if e.get("stage") == name]) for name in names],
    }


def _stage(name: str, record: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    started = [e for e in events if e["event"] == "stage" and e["state"] == "started"]
    steps = [e for e in events if e["event"] == "step"]
    judged = [e for e in events if e["event"] == "validation" and e["best"]]
    guards = [e for e in events if e["event"] in ("guard", "lengthened")]
    last = steps[-1] if steps else {}
    making = "" if started else _making([e for e in events if e["event"] == "prepared"])
    return {
        "name": name,
        "state": "finished" if record else "begun" if started else making or "to do",
        "step": record["steps"] if record else last.get("step", 0),
        "steps": record["steps"] if record else started[-1]["steps"] if started else None,
        "losses": ", ".join(
            f"{term} {float(value):.4g}" for term, value in last.get("losses", {}).items() if "/" not in term
        ),
        "best": f"{judged[-1]['metric']} {float(judged[-1]['value']):.4g}" if judged else "",
        "guards": "; ".join(guard["message"] for guard in guards),
    }


def _making(events: Sequence[Mapping[str, Any]]) -> str:
    """What is made for a stage before it begins, and how far that is; empty where nothing is."""
    if not events or events[-1]["state"] == "made":
        return ""
    last = events[-1]
    share = f", {last['done']} of {last['total']}" if last["state"] == "progress" else ""
    return f"{last['by']} makes {last['file']}{share}"
