"""The report of a run: one HTML file with everything in it."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from gradatim.errors import RunError
from gradatim.files import write_text
from gradatim.report.curves import chart
from gradatim.report.lineage import lineage_of
from gradatim.report.status import run_status
from gradatim.report.tables import timed
from gradatim.runs.events import Event, read_events
from gradatim.runs.folder import RunFolder


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write a run's report; returns its path.

    Args:
        run: the folder.
        out: the file; None writes `report.html` into the folder.

    Raises:
        RunError: there is no run.
    """
    folder, status = RunFolder(run), run_status(run)
    events, records = read_events(folder.events), folder.stage_records()
    stages = [
        {**stage, **_stage(folder, records.get(stage["name"]), [e for e in events if e.get("stage") == stage["name"]])}
        for stage in status["stages"]
    ]
    template = Path(__file__).with_name("run.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined)
    text = environment.from_string(template).render(
        title=run.resolve().name,
        status=status,
        stages=stages,
        record=folder.read_record(),
        lineage=_lineage(run),
        plan=folder.plan.read_text(encoding="utf-8"),
    )
    target = out or run / "report.html"
    write_text(target, text)
    return target


def _lineage(run: Path) -> dict[str, list[str]]:
    try:
        return {name: one.lines() for name, one in lineage_of(run).items()}
    except RunError:
        return {}


def _stage(folder: RunFolder, record: Mapping[str, Any] | None, events: Sequence[Event]) -> dict[str, Any]:
    started = [e for e in events if e["event"] == "stage" and e["state"] == "started"]
    return {
        "record": record or {},
        "time": timed(record["seconds"]) if record else "",
        "parts": record["states"] if record else started[-1]["parts"] if started else {},
        "guards": [e["message"] for e in events if e["event"] in ("guard", "lengthened")],
        "charts": [svg for svg in _charts(events) if svg],
        "pictures": _pictures(folder.stage(int(record["number"]), record["name"])) if record else [],
    }


def _charts(events: Sequence[Event]) -> list[str]:
    steps = [e for e in events if e["event"] == "step"]
    judged = [e for e in events if e["event"] == "validation"]
    drifts = [e for e in events if e["event"] == "drift"]
    metric = judged[0]["metric"] if judged else ""
    return [
        chart("losses", _series(steps, "losses"), log=True),
        chart("learning rate", _series(steps, "lr")),
        chart("gradient norm", _series(steps, "gradient_norm"), log=True),
        chart(f"validation: {metric}", {metric: [(e["step"], float(e["value"])) for e in judged]}),
        chart("drift from the stage's start (relative L2)", _series(drifts, "parts")),
    ]


def _series(events: Sequence[Event], key: str) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        for name, value in event.get(key, {}).items():
            lines.setdefault(name, []).append((event["step"], float(value)))
    return lines


def _pictures(stage: Path) -> list[tuple[str, str]]:
    return [
        (path.stem, base64.b64encode(path.read_bytes()).decode()) for path in sorted((stage / "samples").glob("*.png"))
    ]
