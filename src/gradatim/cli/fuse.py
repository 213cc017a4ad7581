"""`gradatim fuse`: fuse infrared and visible pictures with a trained model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show_json, stderr

if TYPE_CHECKING:
    from torch import Tensor


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
        0.25, "--overlap", min=0, max=0.9, help="Share of a tile that overlaps the next one (native)."
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
    from rich.progress import track

    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model, need_parts
    from gradatim.systems.maefuse.predict import fuse_pairs, plan_jobs

    jobs = plan_jobs(visible, infrared, out, mode=mode)
    place = this_place(device)
    loaded = load_model(model, system="maefuse", settings=settings_from(settings)).to(place.device)
    need_parts(loaded, ("encoder", "cfm", "mfm", "decoder"), "fusing")

    def fuse_tiles(one: "Tensor", other: "Tensor") -> "Tensor":
        fused = loaded.compute("fuse", {"visible": one, "infrared": other}, ("fused",))["fused"]
        assert not isinstance(fused, dict)
        return fused

    size = loaded.settings.image_size
    work = fuse_pairs(
        jobs, fuse_tiles, size=size, mode=mode, overlap=overlap, batch_size=batch_size, device=place.device
    )
    done = list(track(work, "fusing", total=len(jobs), console=stderr(), disable=not sys.stderr.isatty()))
    if json:
        show_json({"written": [str(job.output) for job in jobs]})
    else:
        typer.echo(f"{len(done)} written to {out}")
