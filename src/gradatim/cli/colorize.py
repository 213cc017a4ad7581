"""`gradatim colorize`: color gray videos after a reference picture with a trained model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gradatim.cli.output import JSON, show_json, stderr

if TYPE_CHECKING:
    from gradatim.data.image import Picture
    from gradatim.systems.flowchroma.jobs import Job
    from gradatim.systems.flowchroma.predict import Colorizer


def colorize(
    model: Path = typer.Argument(..., metavar="RUN|FILE", help="A run, or a file that gradatim wrote."),
    videos: list[Path] = typer.Argument(
        ..., metavar="VIDEO...", help="Video files, folders of frames, and folders of both."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for the results, each under its video's name."),
    reference: Path | None = typer.Option(
        None,
        "--reference",
        metavar="PICTURE",
        help="Picture that all videos take their colors from; default: each video's own first frame.",
    ),
    saturation: float = typer.Option(
        1.0, "--saturation", min=0, help="Factor on the colors of --reference; above 1 they are stronger."
    ),
    matched: bool = typer.Option(
        False, "--matched", help="Only what matching finds, frame for frame, without flow and fusion."
    ),
    device: str | None = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    json: bool = JSON,
) -> None:
    """Color videos at their own size; lightness is kept. All inputs are checked before work starts.

    Frames stay PNG, BMP, TIFF or PPM, others become PNG. Video files keep their rate; sound is left out.
    A video that fails is named, the others are written, and the exit code is 1.
    Example: gradatim colorize runs/flowchroma-1 old-film.mp4 scenes/ --reference still.jpg -o colored
    """
    from gradatim.systems.flowchroma.jobs import plan_jobs, read_reference

    if reference is None and saturation != 1:
        raise typer.BadParameter("changes a picture that --reference names.", param_hint="--saturation")
    jobs = plan_jobs(videos, out, reference=reference)
    picture = None if reference is None else read_reference(reference, saturation=saturation)
    failed = _color(_colorizer(model, device, matched=matched), jobs, picture)
    _show(jobs, failed, out, json=json)
    if failed:
        raise typer.Exit(1)


def _colorizer(model: Path, device: str | None, *, matched: bool) -> "Colorizer":
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model
    from gradatim.errors import WeightsError
    from gradatim.systems.flowchroma.predict import Colorizer

    place = this_place(device)
    loaded = load_model(model, system="flowchroma")
    if loaded.system.name != "flowchroma":
        raise WeightsError(f"{model}: is a model of {loaded.system.name}, not of flowchroma")
    return Colorizer(loaded.to(place.device).parts, loaded.settings, matched_only=matched)


def _color(colorizer: "Colorizer", jobs: "list[Job]", picture: "Picture | None") -> "dict[Path, str]":
    """Color all videos with a bar; what became of those that failed, by their source."""
    from rich.progress import Progress

    from gradatim.errors import GradatimError
    from gradatim.systems.flowchroma.jobs import color_job

    reference = None if picture is None else colorizer.encode(picture)
    failed = {}
    done = 0
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("coloring", total=sum(job.frames for job in jobs))
        for job in jobs:
            try:
                color_job(colorizer, job, reference=reference, step=lambda: progress.advance(task))
            except (GradatimError, OSError) as error:
                failed[job.source] = str(error)
            # Of a video that failed no frame is left to do, and containers miscount.
            done += job.frames
            progress.update(task, completed=done)
    return failed


def _show(jobs: "list[Job]", failed: "dict[Path, str]", out: Path, *, json: bool) -> None:
    written = [job for job in jobs if job.source not in failed]
    silent = [str(job.source) for job in written if job.sound]
    if silent:
        typer.echo(f"sound is left out: {', '.join(silent)}", err=True)
    for source, what in failed.items():
        typer.echo(what if what.startswith(str(source)) else f"{source}: {what}", err=True)
    if json:
        videos = [{"video": str(job.source), "written": str(job.output), "frames": job.frames} for job in written]
        show_json({"videos": videos, "failed": {str(source): what for source, what in failed.items()}})
    else:
        frames = sum(job.frames for job in written)
        typer.echo(f"{len(written)} of {len(jobs)} videos, {frames} frames, written to {out}")
