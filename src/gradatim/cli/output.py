"""What commands print: tables and JSON on stdout, progress on stderr."""

import json
import os
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

WIDE = 130
JSON = typer.Option(False, "--json", help="Print JSON for programs instead of a table.")
SET = typer.Option(
    [], "--set", metavar="PATH=VALUE", help="Change a value of the plan: stages.cfm.lr=1e-5. Repeatable."
)
ALLOW = typer.Option(
    [], "--allow", metavar="RULE", help="Silence one of the system's rules, or accept a recorded setting that differs."
)


def stdout() -> Console:
    """For results; wide enough for a table where it is no terminal."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)


def stderr() -> Console:
    """For progress and remarks."""
    return Console(stderr=True)


def show(table: Table) -> None:
    """Print a table."""
    stdout().print(table)


def show_json(value: Any) -> None:
    """Print one JSON value."""
    typer.echo(json.dumps(value, indent=1, default=str))


def changed(document: Any, changes: list[str], allow: list[str]) -> Any:
    """A plan's document with the overrides of `--set` and `--allow`."""
    from dataclasses import replace

    from gradatim.plan import override

    document = override(document, changes)
    if allow:
        document = replace(document, tree={**document.tree, "allow": [*document.tree.get("allow", []), *allow]})
    return document
