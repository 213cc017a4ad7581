"""`gradatim align`: register the pairs of a data set, so that a matcher can be trained on them."""

import sys
from pathlib import Path

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show_json, stderr


def align(
    model: Path = typer.Argument(..., metavar="RUN|FILE", help="A model that was trained with the task `dense`."),
    out: Path = typer.Option(..., "--out", "-o", help="File for the motions, which `data.alignments` then names."),
    set_: list[str] = typer.Option(
        [], "--set", metavar="PATH=VALUE", help="Other data than the last stage's: data.root=PRINTS. Repeatable."
    ),
    imposters: float = typer.Option(
        0.5, "--imposters", min=0, max=0.9, help="Share of pairs of two fingers, registered in the same way."
    ),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    settings: list[str] = typer.Option(
        [], "--model", metavar="NAME=VALUE", help="A setting that a foreign checkpoint does not tell. Repeatable."
    ),
    json: bool = JSON,
) -> None:
    """Register all pairs of prints of one finger, and some of two, by dense matching.

    Prints of files lie in any way; a matcher learns from prints that lie on one another. A plan does this by itself
    where a stage's data say `alignments: {stage: dense}`. Goes on where it was interrupted. Example:
    gradatim align runs/ifvit-1 --set data.root=prints --set data.layout=fvc2002 -o alignments.json
    """
    from rich.progress import Progress

    from gradatim.cli.evaluation_data import data_of, settings_read
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model, need_parts
    from gradatim.systems.ifvit.aligning import PARTS, align_data
    from gradatim.systems.ifvit.data import FingerprintSettings

    place = this_place(device)
    loaded = load_model(model, system="ifvit", settings=settings_from(settings)).to(place.device)
    need_parts(loaded, PARTS, "registering")
    data = data_of(model, set_, split="all", example="--set data.root=PRINTS")
    read = settings_read(FingerprintSettings, {**data, "alignments": None})
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("registering", total=None)
        found = align_data(
            read,
            loaded,
            out,
            imposters=imposters,
            device=place.device,
            tell=lambda done, of: progress.update(task, completed=done, total=of),
        )
    imposter = found.pairs - found.genuine
    if json:
        show_json({**found._asdict(), "imposters": imposter, "out": str(out)})
        return
    typer.echo(
        f"{out}: {found.aligned} of {found.pairs} pairs ({found.genuine} of one finger, {imposter} of two); "
        f"train with data.alignments={out}"
    )
