"""`gradatim export`: a detector as a file for other programs."""

from pathlib import Path

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.output import JSON, show_json


def export(
    model: Path = typer.Argument(
        ..., metavar="RUN|FILE", help="A run, a file that gradatim wrote, or a checkpoint of the original."
    ),
    onnx: bool = typer.Option(False, "--onnx", help="As ONNX, which is the one kind of file there is."),
    out: Path = typer.Option(..., "--out", "-o", help="The file to write."),
    raw: bool = typer.Option(
        False, "--raw", help="The network's own numbers at three scales, instead of boxes, scores and classes."
    ),
    size: str = typer.Option(
        None, "--size", metavar="H[xW]", help="Of the input, multiples of 32; default: the model's own."
    ),
    settings: list[str] = typer.Option(
        [],
        "--model",
        metavar="NAME=VALUE",
        help="A setting that a foreign checkpoint does not tell, such as classes=[cat,dog]. Repeatable.",
    ),
    force: bool = typer.Option(False, "--force", help="Replace OUT if it exists."),
    json: bool = JSON,
) -> None:
    """Write a detector as ONNX for any number of pictures at once, and compare it with the model by onnxruntime.

    It gives every cell's box, score and class; suppression is left to the program that uses it. Names of classes and
    anchors stand in the metadata. A file that computes other numbers than the model is not written.

    Example: gradatim export runs/multigriddet-1 --onnx -o model.onnx
    """
    from gradatim.cli.detecting import detector
    from gradatim.errors import PlanError
    from gradatim.systems.multigriddet.export import export_onnx

    if not onnx:
        raise PlanError("say --onnx, which is the one kind of file there is")
    if out.exists() and not force:
        raise PlanError(f"{out} exists; choose another name, or say --force")
    one = detector(model, settings_from(settings), device="cpu", size=size)
    lineage = {name: each.to_json() for name, each in one.model.lineage.items()}
    found = export_onnx(out, one.model.parts, size=one.size, names=one.names, raw=raw, lineage=lineage)
    if json:
        show_json({"out": str(out), "size": list(one.size), "classes": list(one.names), "differences": found})
        return
    told = ", ".join(f"{name} {value:.1g}" for name, value in found.items())
    typer.echo(f"{out}: input {one.size[0]} x {one.size[1]}; differs from the model by at most: {told}")
