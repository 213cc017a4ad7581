"""`gradatim plan`: check a plan and show what each stage does with each part."""

from pathlib import Path

import typer

from gradatim.cli.output import ALLOW, JSON, SET, changed, show, show_json


def plan(
    plan: str = typer.Argument(..., metavar="PLAN", help="A YAML file, SYSTEM/RECIPE or a run's folder."),
    set_: list[str] = SET,
    allow: list[str] = ALLOW,
    explain: bool = typer.Option(
        False, "--explain", help="Say which stages are finished in the runs beside it, and why one is stale."
    ),
    runs: Path = typer.Option(
        Path("runs"), "--runs", help="For --explain: a run, or the folder of runs, to compare with."
    ),
    json: bool = JSON,
) -> None:
    """Check a plan, then show the table stage x part: state, arrays, values, origin, lr and memory.

    Needs no data, no GPU and no weights; nothing runs. Example: gradatim plan maefuse/small
    """
    from gradatim.cli.plan_cache import cached, with_free_disk

    def work() -> object:
        from gradatim.engine.explain import explain as explained
        from gradatim.find import read_plan_document

        return explained(changed(read_plan_document(plan), set_, allow))

    told = with_free_disk(cached(plan, (*set_, "--allow", *allow), work))
    if explain:
        from gradatim.engine.stale import staleness
        from gradatim.find import read_plan_document

        against = Path(plan) if Path(plan).is_dir() else runs
        told = {**told, "explain": staleness(changed(read_plan_document(plan), set_, allow), against)}
    if json:
        show_json(told)
        return
    from gradatim.report.tables import plan_table, rows_table

    show(plan_table(told))
    if explain:
        show(rows_table("stages of the run", ("stage", "state", "why"), told["explain"]))
    for line in told["warnings"]:
        typer.echo(f"warning: {line}", err=True)
    for line in told["unusable"]:
        typer.echo(f"not usable yet: {line}", err=True)
