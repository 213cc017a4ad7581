"""`gradatim detect`: find objects in pictures and videos with a trained model."""

from collections import Counter
from pathlib import Path
from typing import Literal

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show_json

SUPPRESSION = Literal["diou", "greedy", "cluster", "soft", "wbf", "none"]


def detect(
    model: Path = typer.Argument(
        ..., metavar="RUN|FILE", help="A run, a file that gradatim wrote, or a checkpoint of the original."
    ),
    inputs: list[Path] = typer.Argument(
        ..., metavar="IMAGE|FOLDER|VIDEO...", help="Pictures, videos, and folders of both at any depth."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for the results; not that of the inputs."),
    confidence: float = typer.Option(0.5, "--confidence", min=0, max=1, help="Least score of an object."),
    overlap_threshold: float = typer.Option(
        0.45, "--overlap-threshold", min=0, max=1, help="Overlap from which on two boxes show one object."
    ),
    suppression: SUPPRESSION = typer.Option(
        "diou",
        "--suppression",
        help="What becomes of boxes that show one object. diou, greedy, cluster: the best stays. soft: scores fall. "
        "wbf: they are fused. none: all stay.",
    ),
    iol: bool = typer.Option(
        False, "--iol", help="Overlap is the intersection over the larger area (greedy, cluster, soft)."
    ),
    across_classes: bool = typer.Option(
        False, "--across-classes", help="Boxes of different classes suppress each other too."
    ),
    most: int = typer.Option(100, "--max", min=1, help="Objects of a picture at most."),
    original: bool = typer.Option(
        False,
        "--original",
        help="As the published detector: across classes, whole pixels, and its rounding on the way back.",
    ),
    size: str = typer.Option(
        None, "--size", metavar="H[xW]", help="Of the network's input, multiples of 32; default: the model's own."
    ),
    formats: list[str] = typer.Option(
        ["json"], "--format", help="json: detections.json. coco: COCO's results. yolo: a text a picture. Repeatable."
    ),
    no_pictures: bool = typer.Option(False, "--no-pictures", help="Write no pictures and videos with boxes."),
    batch_size: int = typer.Option(8, "--batch-size", min=1, help="Pictures at once."),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    settings: list[str] = typer.Option(
        [],
        "--model",
        metavar="NAME=VALUE",
        help="A setting that a foreign checkpoint does not tell, such as classes=[cat,dog]. Repeatable.",
    ),
    json: bool = JSON,
) -> None:
    """Find objects, draw them, and list them in the pixels of their pictures. All inputs are checked first.

    Of a video every frame is looked at. Example: gradatim detect runs/multigriddet-1 photos clip.mp4 -o found
    """
    from gradatim.cli.detecting import detector, look
    from gradatim.systems.multigriddet.jobs import plan_jobs
    from gradatim.systems.multigriddet.predict import Search
    from gradatim.systems.multigriddet.results import write_results

    search = Search(
        confidence=confidence,
        suppression=suppression,
        threshold=overlap_threshold,
        overlap="iol" if iol else "iou",
        by_class=not (across_classes or (original and suppression != "wbf")),
        most=most,
        original=original,
    )
    jobs = plan_jobs(inputs, out, draw=not no_pictures, formats=formats)
    loaded = detector(model, settings_from(settings), device=device, size=size)
    results = look(loaded, jobs, search, draw=not no_pictures, batch_size=batch_size)
    written = write_results(out, results, loaded.names, formats)
    counts = Counter(loaded.names[label] for one in results for label in one.found.classes.tolist())
    if jobs.skipped:
        shown = ", ".join(path.name for path in jobs.skipped[:5]) + (", ..." if len(jobs.skipped) > 5 else "")
        typer.echo(f"skipped {len(jobs.skipped)} that are neither pictures nor videos: {shown}", err=True)
    if json:
        drawn = [] if no_pictures else [str(job.drawn) for job in jobs]
        show_json(
            {
                "pictures": len(jobs.pictures),
                "videos": len(jobs.videos),
                "objects": counts.total(),
                "by_class": dict(counts.most_common()),
                "written": [*drawn, *map(str, written)],
                "skipped": [str(path) for path in jobs.skipped],
            }
        )
        return
    what = ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"
    sources = f"{len(jobs.pictures)} pictures, {len(jobs.videos)} videos"
    typer.echo(f"{sources}: {counts.total()} objects ({what}); written to {out}")
