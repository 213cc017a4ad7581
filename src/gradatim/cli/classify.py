"""`gradatim classify`: recognize actions in videos with a trained model."""

import sys
from pathlib import Path

import typer

from gradatim.cli.output import JSON, show, show_json, stderr


def classify(
    model: Path = typer.Argument(..., metavar="RUN|FILE", help="A run, or a file that gradatim wrote."),
    videos: list[Path] = typer.Argument(
        ..., metavar="VIDEO...", help="Video files, folders of them, folders of frames."
    ),
    top: int = typer.Option(5, "--top", min=1, help="Classes to tell."),
    batch_size: int = typer.Option(4, "--batch-size", min=1, help="Clips at once."),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    json: bool = JSON,
) -> None:
    """Tell the most probable classes of each video, and how far the gate of each teacher is open.

    A file that cannot be read is named, the others are classified, and the exit code is 1.
    Example: gradatim classify runs/bombkd-1 clips/
    """
    from rich.progress import track

    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model
    from gradatim.systems.bombkd.predict import Answer, classify_clips, find_clips

    paths = find_clips(videos)
    place = this_place(device)
    loaded = load_model(model, system="bombkd").to(place.device)
    work = classify_clips(
        loaded.compute,
        loaded.settings,
        tuple(loaded.parts),
        paths,
        device=place.device,
        top=top,
        batch_size=batch_size,
        classes=loaded.classes,
    )
    bar = track(
        work, "classifying", total=len(paths), console=stderr(), disable=not sys.stderr.isatty(), transient=True
    )
    told = list(bar)
    answers = [one for one in told if isinstance(one, Answer)]
    wrong = [one for one in told if not isinstance(one, Answer)]
    if json:
        show_json(
            {
                "clips": [
                    {
                        "path": str(one.path),
                        "classes": [{"name": name, "probability": share} for name, share in one.classes],
                        "gates": dict(one.gates),
                    }
                    for one in answers
                ],
                "unreadable": {str(path): what for path, what in wrong},
            }
        )
    else:
        _show(answers)
        for _, what in wrong:
            typer.echo(what, err=True)
    if wrong:
        raise typer.Exit(1)


def _show(answers: list) -> None:  # type: ignore[type-arg]
    from gradatim.report.tables import rows_table

    rows = []
    for one in answers:
        classes = ", ".join(f"{name} {share:.1%}" for name, share in one.classes)
        gates = ", ".join(f"{name} {gate:.2f}" for name, gate in one.gates.items())
        rows.append((one.path.name, classes, gates))
    show(rows_table("classes", ("clip", "most probable", "gates"), rows))
