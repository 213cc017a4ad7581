"""`gradatim status`: how far a run is."""

from pathlib import Path

import typer

from gradatim.cli.output import JSON, show, show_json


def status(
    run: Path = typer.Argument(..., metavar="DIR", help="Folder of a run."),
    json: bool = JSON,
) -> None:
    """Show each stage of a run: finished, running or to come, with steps, losses and guards."""
    from gradatim.report.status import run_status
    from gradatim.report.tables import rows_table

    told = run_status(run)
    if json:
        show_json(told)
        return
    rows = [
        (
            stage["name"],
            stage["state"],
            f"{stage['step']} / {stage['steps'] or '?'}",
            stage["losses"],
            stage["best"],
            stage["guards"],
        )
        for stage in told["stages"]
    ]
    show(rows_table(f"{run}: {told['state']}", ("stage", "state", "steps", "losses", "best", "guards"), rows))
    if told["error"]:
        typer.echo(told["error"])
