"""`gradatim run`: carry out a plan, or go on with a run."""

import os
import sys
from pathlib import Path

import typer

from gradatim.cli.display import RunDisplay
from gradatim.cli.output import ALLOW, JSON, SET, changed, show, show_json


def run(
    plan: str = typer.Argument(
        ..., metavar="PLAN|DIR", help="A YAML file, SYSTEM/RECIPE, or the folder of a run to go on with."
    ),
    out: Path = typer.Option(None, "--out", "-o", help="Folder of the run; default runs/SYSTEM-n."),
    set_: list[str] = SET,
    allow: list[str] = ALLOW,
    stages: str = typer.Option(
        "", "--stages", metavar="A,B", help="Only these stages; the ones before must be finished."
    ),
    once: bool = typer.Option(
        False, "--once", help="One batch through every stage, in a folder that is removed: does it all fit?"
    ),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
    json: bool = JSON,
) -> None:
    """Carry out a plan: every stage proved, resumable, in one folder.

    Interrupt it whenever you like: `gradatim run DIR` goes on and ends with the same bits. Stages that a neighboring
    run has finished equally are taken over. Example: gradatim run maefuse/small --set defaults.data.root=PAIRS
    """
    from gradatim.engine.run import run as run_plan
    from gradatim.errors import PlanError
    from gradatim.find import read_plan_document

    folder = Path(plan)
    resuming = folder.is_dir() and (folder / "plan.yaml").is_file()
    if resuming and (set_ or allow or out):
        raise PlanError(
            f"{plan} is a run, which goes on as it began. For changes: gradatim run {plan}/plan.yaml --set ..."
        )
    document = changed(read_plan_document(plan), set_, allow)
    if resuming:
        out = _go_where_it_began(folder.resolve())
    display = RunDisplay(quiet=quiet or json)
    try:
        result = run_plan(
            document,
            out,
            stages=[name for name in stages.split(",") if name],
            once=once,
            device=device,
            observe=display.observe,
            tick=display.tick,
        )
    except KeyboardInterrupt:
        display.close()
        typer.echo("\nstopped; go on with `gradatim run DIR`", err=True)
        sys.exit(130)
    finally:
        display.close()
    records = {name: dict(record) for name, record in result.stages.items()}
    if not once and not json:
        _write_report(result.folder)
    shown = None if once else folder if resuming else result.folder
    if json:
        show_json({"folder": shown and str(shown), "stages": records})
    else:
        _summary(records, shown)


def _go_where_it_began(folder: Path) -> Path:
    """Relative paths in a plan are meant from where its run was started; the run's folder, seen from there."""
    from gradatim.runs.folder import RunFolder

    began = RunFolder(folder).read_record().get("folder")
    if not began or not Path(began).is_dir():
        return folder
    os.chdir(began)
    return folder.relative_to(began) if folder.is_relative_to(began) else folder


def _summary(records: dict[str, dict[str, object]], folder: Path | None) -> None:
    from gradatim.report.tables import rows_table

    rows = [
        (
            name,
            r["steps"],
            f"{float(str(r['seconds'])):.1f} s",
            r["frozen_arrays_equal"],
            r["trained_arrays_moved"],
            "" if r["best"] is None else f"{r['metric']} {float(str(r['best'])):.4g}",
        )
        for name, r in records.items()
    ]
    show(rows_table("finished", ("stage", "steps", "time", "frozen equal", "trained moved", "best"), rows))
    if folder is not None:
        typer.echo(f"run: {folder}")
        typer.echo(f"model: {folder / 'model.safetensors'}")
        typer.echo(f"report: {folder / 'report.html'}")


def _write_report(folder: Path) -> None:
    from gradatim.report.html import write_report

    write_report(folder)
