"""`gradatim align`: register the pairs of a data set, so that a matcher can be trained on them."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show_json, stderr

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gradatim.systems.ifvit.pairs import Pair
    from gradatim.systems.ifvit.warping import Matrix


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

    Prints of files lie in any way; a matcher learns from prints that lie on one another. Example:
    gradatim align runs/ifvit-1 --set data.root=prints --set data.layout=fvc2002 -o alignments.json
    """
    from rich.progress import Progress

    from gradatim.cli.evaluation_data import data_of, settings_read
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model, need_parts
    from gradatim.systems.ifvit.alignment_file import write_alignments
    from gradatim.systems.ifvit.data import FingerprintSettings, open_data
    from gradatim.systems.ifvit.registration import Registrar, aligned_pairs, pairs_to_align

    place = this_place(device)
    loaded = load_model(model, system="ifvit", settings=settings_from(settings)).to(place.device)
    need_parts(loaded, ("backbone", "transformer"), "registering")
    data = data_of(model, set_, split="all", example="--set data.root=PRINTS")
    side = loaded.settings.dense_size
    chosen = {**data, "samples": "dense", "size": side, "alignments": None}
    read = settings_read(FingerprintSettings, chosen)
    registrar = Registrar(loaded.compute, loaded.settings.backbone, device=place.device)
    pairs: list[Pair] = []
    found: dict[tuple[str, str], Matrix] = {}
    # Each split by itself: imposters of both would stand on either side of what is held out, and be of no use.
    for split in ("train", "validate") if read.holdout else ("all",):
        source = open_data(read, split).source
        own = pairs_to_align(source, imposters=imposters)
        with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
            task = progress.add_task(f"registering, {split}", total=len(own))
            found |= aligned_pairs(registrar, source, own, partial(_told, progress, task))
        pairs += own
    write_alignments(out, side, found)
    genuine = sum(pair.genuine for pair in pairs)
    told = {"pairs": len(pairs), "genuine": genuine, "imposters": len(pairs) - genuine, "aligned": len(found)}
    if json:
        show_json({**told, "out": str(out)})
        return
    typer.echo(
        f"{out}: {len(found)} of {len(pairs)} pairs ({genuine} of one finger, {len(pairs) - genuine} of two); "
        f"train with data.alignments={out}"
    )


def _told(progress: "Progress", task: "TaskID", done: int, of: int) -> None:
    progress.update(task, completed=done, total=of)
