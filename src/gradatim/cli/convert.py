"""`gradatim convert`: a foreign checkpoint to a file of ours."""

from pathlib import Path

import typer

from gradatim.cli.output import JSON, show_json


def convert(
    source: Path = typer.Argument(..., metavar="IN", help="A checkpoint, or the folder of a run."),
    out: Path = typer.Argument(..., metavar="OUT", help="The safetensors file to write."),
    system: str = typer.Option(
        None, "--system", help="The system that a foreign file is of; default: the one that knows its names."
    ),
    layout: str = typer.Option(None, "--layout", help="Its table of names; default: the one that explains the file."),
    model: list[str] = typer.Option(
        [],
        "--model",
        metavar="NAME=VALUE",
        help="A setting that the file's shapes do not tell, such as heads=16. Repeatable.",
    ),
    force: bool = typer.Option(False, "--force", help="Replace OUT if it exists."),
    json: bool = JSON,
) -> None:
    """Write a checkpoint or a run as one safetensors file with sizes and lineage in its header."""
    from gradatim.engine.model import load_model, system_of
    from gradatim.errors import PlanError
    from gradatim.weights import write_weights

    if out.exists() and not force:
        raise PlanError(f"{out} exists; choose another name, or say --force")
    loaded = load_model(
        source, system=system or system_of(source, layout), layout=layout, settings=settings_from(model)
    )
    lineage = {name: one.to_json() for name, one in loaded.lineage.items()}
    header = {
        "system": loaded.system.name,
        "model": loaded.settings.model_dump(mode="json"),
        "lineage": lineage,
        "classes": list(loaded.classes),
    }
    write_weights(out, {name: part.state_dict() for name, part in loaded.parts.items()}, header)
    if json:
        digests = {name: one["digest"] for name, one in lineage.items()}
        counts = {one.part: {"arrays": one.arrays, "values": one.values} for one in loaded.accounts}
        show_json({"out": str(out), "parts": digests, "loaded": counts, "model": header["model"]})
        return
    typer.echo(f"{out}: parts {', '.join(lineage)} of {loaded.system.name}")
    # What is left out of a file is left out for all of its parts.
    for line in dict.fromkeys(line for account in loaded.accounts for line in account.lines()):
        typer.echo(f"  {line}")


def settings_from(pairs: list[str]) -> dict[str, object]:
    """Settings written as NAME=VALUE, values in YAML's notation."""
    from gradatim.errors import PlanError
    from gradatim.plan import parse

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise PlanError(f"--model {wrong[0]}: write NAME=VALUE")
    return {pair.partition("=")[0]: parse(pair.partition("=")[2], "--model").tree for pair in pairs}
