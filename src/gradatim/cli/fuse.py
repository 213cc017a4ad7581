"""`gradatim fuse`: fuse infrared and visible pictures with a trained model."""

from pathlib import Path
from typing import Literal

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show_json


def fuse(
    model: Path = typer.Argument(
        ..., metavar="RUN|FILE", help="A run, a file that gradatim wrote, or a checkpoint of the original."
    ),
    visible: Path = typer.Option(..., "--visible", help="A picture or a folder."),
    infrared: Path = typer.Option(..., "--infrared", help="A picture or a folder; names as in --visible, any suffix."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for the results, or the file for a single pair."),
    mode: Literal["native", "resize", "original", "record"] = typer.Option(
        "native",
        "--mode",
        help="native: own size and color, in tiles. resize: squashed to the trained size. "
        "original, record: the published scripts to the pixel (needs opencv).",
    ),
    overlap: float = typer.Option(
        0.5, "--overlap", min=0, max=0.9, help="Share of a tile that overlaps the next one (native)."
    ),
    batch_size: int = typer.Option(16, "--batch-size", min=1, help="Tiles at once (native)."),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    settings: list[str] = typer.Option(
        [],
        "--model",
        metavar="NAME=VALUE",
        help="A setting that a foreign checkpoint does not tell, such as heads=16. Repeatable.",
    ),
    json: bool = JSON,
) -> None:
    """Fuse a pair or folders of pairs: original size, color kept. All inputs are checked before work starts.

    Example: gradatim fuse runs/maefuse-1 --visible data/vi --infrared data/ir -o fused
    """
    from gradatim.cli.fusing import fuse_jobs
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model
    from gradatim.systems.maefuse.predict import plan_jobs

    jobs = plan_jobs(visible, infrared, out, mode=mode)
    place = this_place(device)
    loaded = load_model(model, system="maefuse", settings=settings_from(settings)).to(place.device)
    count = fuse_jobs(loaded, jobs, device=place.device, mode=mode, overlap=overlap, batch_size=batch_size)
    if json:
        show_json({"written": [str(job.output) for job in jobs]})
    else:
        typer.echo(f"{count} written to {out}")
