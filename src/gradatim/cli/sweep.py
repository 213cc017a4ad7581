"""`gradatim sweep`: one plan with several values of some settings, compared at the end."""

from pathlib import Path
from typing import Any

import typer

from gradatim.cli.display import RunDisplay
from gradatim.cli.output import ALLOW, JSON, changed, show, show_json


def sweep(
    plan: str = typer.Argument(..., metavar="PLAN", help="A YAML file or SYSTEM/RECIPE."),
    set_: list[str] = typer.Option(
        ...,
        "--set",
        metavar="PATH=A,B,C",
        help="Values to try: stages.fusion.lr=1e-3,3e-4. Repeatable.",
    ),
    out: Path = typer.Option(None, "--out", "-o", help="Folder of the runs; default runs/SYSTEM-sweep-n."),
    allow: list[str] = ALLOW,
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
    json: bool = JSON,
) -> None:
    """Run a plan once for every value, then compare: features and equal stages are computed once for all.

    The same command with the same --out goes on where it was stopped.
    Example: gradatim sweep bombkd/fusion --set stages.fusion.lr=1e-3,3e-4,1e-4
    """
    from gradatim.engine.sweep import sweep as run_all
    from gradatim.find import read_plan_document
    from gradatim.runs.folder import next_folder

    document = changed(read_plan_document(plan), [], allow)
    folder = out or next_folder(Path("runs"), f"{document.tree.get('system')}-sweep")
    display = RunDisplay(quiet=quiet or json)
    try:
        told = list(run_all(document, set_, folder, device=device, observe=display.observe, tick=display.tick))
    finally:
        display.close()
    if json:
        show_json({"folder": str(folder), "runs": told})
    else:
        _compare(told, folder)
    if any(one["state"] != "finished" for one in told):
        raise typer.Exit(1)


def _compare(told: list[dict[str, Any]], folder: Path) -> None:
    from gradatim.report.tables import rows_table

    paths = list(told[0]["values"])
    last: list[dict[str, Any]] = [next(reversed(one["stages"].values()), {}) for one in told]
    metric = next((figures["metric"] for figures in last if figures.get("metric")), None)
    losses = list(dict.fromkeys(name for figures in last for name in figures.get("losses") or {}))
    columns = [*paths, *([metric] if metric else []), *losses, "state", "shared stages", "time"]
    rows = []
    for one, figures in zip(told, last, strict=True):
        found = [*([figures.get("best")] if metric else []), *((figures.get("losses") or {}).get(n) for n in losses)]
        cells = ["" if value is None else f"{float(value):.4g}" for value in found]
        shared = ", ".join(one["reused"])
        rows.append((*one["values"].values(), *cells, one["state"], shared, f"{one['seconds']:.1f} s"))
    show(rows_table("sweep", columns, rows))
    for one in told:
        if one["state"] != "finished":
            typer.echo(f"{one['run']}: {one['error']}", err=True)
    typer.echo(f"runs: {folder}")
