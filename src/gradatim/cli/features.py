"""`gradatim features`: compute what a plan keeps ahead of training, and look after the folder of feature stores."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from gradatim.cli.output import ALLOW, JSON, SET, changed, show, show_json

_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


class _PlanOrCommand(TyperGroup):
    """`features PLAN` computes; `list`, `verify` and `prune` are commands of their own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not (len(args) == 1 and args[0] in ("-h", "--help")):
            args = ["compute", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_PlanOrCommand,
    no_args_is_help=True,
    help=(
        "Features: values of frozen parts, computed once per sample and read from then on.\n\n"
        "`gradatim features PLAN [--stage S] [--estimate] [--workers N]` computes them ahead of training, or tells "
        "bytes and time first; a run computes by itself what is missing. They lie in the folder "
        "GRADATIM_FEATURES, or in the user's cache folder."
    ),
)


@app.command("compute", help="Compute the features of a plan; the word `compute` may be left out.")
def compute(
    plan: str = typer.Argument(..., metavar="PLAN|DIR", help="A YAML file, SYSTEM/RECIPE, or the folder of a run."),
    stage: str = typer.Option(None, "--stage", metavar="S", help="Only this stage."),
    estimate: bool = typer.Option(False, "--estimate", help="Tell bytes and time from a timed sample; write nothing."),
    workers: int = typer.Option(1, "--workers", min=1, help="Processes that compute; under torchrun its own do."),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    set_: list[str] = SET,
    allow: list[str] = ALLOW,
    json: bool = JSON,
) -> None:
    """Kill it whenever you like: the same command goes on with the shard that was open."""
    from gradatim.cli.display import RunDisplay
    from gradatim.engine.device import process_of_environment
    from gradatim.engine.precompute import precompute
    from gradatim.find import read_plan_document
    from gradatim.report.tables import duration, rows_table, sized

    folder = Path(plan) if Path(plan).is_dir() else None
    first = process_of_environment()[0] == 0
    display = RunDisplay(quiet=json or not first)
    try:
        told = precompute(
            changed(read_plan_document(plan), set_, allow),
            run=folder,
            stage=stage,
            estimate=estimate,
            workers=workers,
            device=device,
            observe=display.observe,
        )
    finally:
        display.close()
    if not first:
        return
    if json:
        show_json([asdict(one) for one in told])
        return
    rows = [
        (
            one.stage,
            one.samples,
            "; ".join((*one.values, *(f"{value} waits for stage {name}" for value, name in one.waiting.items()))),
            one.rows,
            sized(one.bytes),
            sized(one.missing) if estimate else "0 B",
            duration(one.seconds) if one.seconds is not None else "",
        )
        for one in told
    ]
    title = "features to compute" if estimate else "features"
    show(rows_table(title, ("stage", "samples", "values", "number", "size", "missing", "time"), rows))
    if not told:
        typer.echo("no stage keeps features: see `gradatim plan` for the reasons", err=True)
    elif estimate:
        typer.echo(f"{sized(told[0].free)} free where they are kept")


@app.command("list")
def list_(json: bool = JSON) -> None:
    """All feature stores, the one used last first."""
    import time

    from gradatim.features.shelf import Shelf
    from gradatim.report.tables import rows_table, sized

    shelf = Shelf()
    entries = shelf.entries()
    if json:
        rows: list[Any] = [
            {
                "folder": str(entry.folder),
                "bytes": entry.bytes,
                "shards": entry.shards,
                "done": entry.done,
                "used": entry.used,
                "rows": entry.about.get("rows"),
                "fields": entry.about.get("fields"),
                "damaged": entry.wrong or None,
            }
            for entry in entries
        ]
        show_json(rows)
        return
    rows = [
        (
            entry.folder.name,
            ", ".join(f"{field['name']} {field['shape']} {field['dtype']}" for field in entry.about.get("fields", ())),
            entry.about.get("rows", "?"),
            sized(entry.bytes),
            "damaged"
            if entry.wrong
            else "complete"
            if entry.done == entry.shards
            else f"{entry.done} of {entry.shards} shards",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
        )
        for entry in entries
    ]
    show(rows_table(str(shelf.folder), ("store", "values", "samples", "size", "state", "last used"), rows))
    typer.echo(f"{sized(sum(entry.bytes for entry in entries))} in {len(entries)} stores")


@app.command("verify")
def verify(
    repair: bool = typer.Option(False, "--repair", help="Drop damaged shards; they are computed again when needed."),
    json: bool = JSON,
) -> None:
    """Read every byte of every store and compare checksums; exit code 1 if something is damaged."""
    from gradatim.features.shelf import Shelf

    shelf = Shelf()
    wrong = {str(entry.folder): shelf.verify(entry, repair=repair) for entry in shelf.entries()}
    damaged = [line for lines in wrong.values() for line in lines]
    if json:
        show_json({"stores": len(wrong), "damaged": damaged})
    else:
        for line in damaged:
            typer.echo(line)
        typer.echo(f"{len(wrong)} stores read, {len(damaged)} damaged" + (", repaired" if damaged and repair else ""))
    if damaged and not repair:
        raise typer.Exit(1)


@app.command("prune")
def prune(
    keep: str = typer.Option(..., "--keep", metavar="SIZE", help="Bytes that may stay, such as 20GB or 0."),
    json: bool = JSON,
) -> None:
    """Remove the stores that were not used for longest, until the rest fit."""
    from gradatim.features.shelf import Shelf
    from gradatim.report.tables import sized

    removed = Shelf().prune(_bytes(keep))
    if json:
        show_json([str(entry.folder) for entry in removed])
        return
    for entry in removed:
        typer.echo(f"removed {entry.folder.name}, {sized(entry.bytes)}")
    typer.echo(f"{sized(sum(entry.bytes for entry in removed))} freed")


def _bytes(text: str) -> int:
    found = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", text)
    unit = found.group(2).upper() if found else "?"
    if found is None or unit not in _UNITS:
        raise typer.BadParameter(f"{text!r}: a size such as 20GB, 500MB or 0")
    return int(float(found.group(1)) * _UNITS[unit])
