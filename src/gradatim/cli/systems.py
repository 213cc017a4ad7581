"""`gradatim systems`: what can be trained, and its recipes."""

import typer

from gradatim.cli.output import JSON, show, show_json


def systems(name: str = typer.Argument(None, help="One system, in detail."), json: bool = JSON) -> None:
    """List the systems with their parts, tasks and recipes."""
    from gradatim.find import find_system, system_names
    from gradatim.report.tables import rows_table

    chosen = [name] if name else list(system_names())
    found = [find_system(one) for one in chosen]
    told = {
        one.name: {
            "summary": one.summary,
            "parts": list(one.parts),
            "tasks": list(one.tasks),
            "losses": list(one.losses),
            "metrics": list(one.metrics),
            "layouts": list(one.layouts),
            "recipes": list(one.recipes),
        }
        for one in found
    }
    if json:
        show_json(told)
        return
    for key, value in told.items():
        rows = [(what, ", ".join(names)) for what, names in value.items() if what != "summary"]
        show(rows_table(f"{key}: {value['summary']}", ("", ""), rows))
