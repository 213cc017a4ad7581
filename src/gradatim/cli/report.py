"""`gradatim report`: a run as one HTML file."""

from pathlib import Path

import typer


def report(
    run: Path = typer.Argument(..., metavar="DIR", help="Folder of a run."),
    out: Path = typer.Option(None, "--out", "-o", help="The file; default DIR/report.html."),
) -> None:
    """Write a self-contained report: stages, curves, drift, lineage, pictures."""
    from gradatim.report.html import write_report

    typer.echo(str(write_report(run, out)))
