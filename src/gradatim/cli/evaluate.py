"""`gradatim evaluate`: how good a model is, by the measures of its system."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradatim.cli.convert import settings_from
from gradatim.cli.detect import SUPPRESSION
from gradatim.cli.output import JSON, show, stderr

if TYPE_CHECKING:
    from gradatim.systems.maefuse.evaluate import Evaluation


_OPTIONS = {
    "maefuse": ("data", "overlap", "per_image", "data_range", "base", "model"),
    "bombkd": ("set_", "split", "batch_size"),
    "multigriddet": (
        "set_", "split", "batch_size", "confidence", "suppression", "overlap_threshold", "original", "model",
    ),
    "ifvit": ("set_", "split", "limit", "model"),
    "flowchroma": ("set_", "split", "limit"),
    "colored frames": ("data",),
}  # fmt: skip
"""Options that a system's evaluation reads, or that of folders of frames, beside those that all do."""


def evaluate(
    context: typer.Context,
    target: Path = typer.Argument(
        ...,
        metavar="RUN|FILE|FOLDER",
        help="A run, a file with a model, a folder of fused pictures, or one with a folder of colored frames for each "
        "scene.",
    ),
    data: list[Path] = typer.Option(
        [],
        "--data",
        help="maefuse: folder with vi/ and ir/; default: the pairs that the run held out. Repeatable. Colored frames: "
        "folder with a folder of true frames for each scene.",
    ),
    out: Path = typer.Option(
        None, "--out", "-o", help="Folder for pictures: fused ones, confusion matrices, curves, sequences."
    ),
    set_: list[str] = typer.Option(
        [],
        "--set",
        metavar="PATH=VALUE",
        help="bombkd, multigriddet, ifvit, flowchroma: other data than the last stage's: data.root=CLIPS. Repeatable.",
    ),
    split: str = typer.Option(
        "validate", "--split", help="bombkd, multigriddet, ifvit, flowchroma: validate, train, or all."
    ),
    batch_size: int = typer.Option(8, "--batch-size", min=1, help="bombkd, multigriddet: clips or pictures at once."),
    overlap: float = typer.Option(0.5, "--overlap", min=0, max=0.9, help="As for `gradatim fuse`."),
    per_image: bool = typer.Option(False, "--per-image", help="Also a row for every picture."),
    data_range: float = typer.Option(255, "--data-range", help="Of SSIM; 2 for comparison with older papers."),
    base: float = typer.Option(2.718281828459045, "--base", help="Of the logarithm in MI."),
    confidence: float = typer.Option(
        None,
        "--confidence",
        min=0,
        max=1,
        help="multigriddet: least score; default: 0.001, since low ones count too; 0.1 with --original.",
    ),
    suppression: SUPPRESSION = typer.Option("diou", "--suppression", help="multigriddet: as for `gradatim detect`."),
    overlap_threshold: float = typer.Option(
        0.45, "--overlap-threshold", min=0, max=1, help="multigriddet: as for `gradatim detect`."
    ),
    original: bool = typer.Option(
        False, "--original", help="multigriddet: detect as the published program does, 500 objects a picture."
    ),
    limit: int = typer.Option(
        None,
        "--limit",
        min=2,
        help="ifvit: compare no more pairs than this, half of them of one finger; flowchroma: color no more sequences, "
        "evenly spread.",
    ),
    device: str = typer.Option(None, "--device", help="cpu or cuda:0; default: a GPU where there is one."),
    model: list[str] = typer.Option(
        [], "--model", metavar="NAME=VALUE", help="A setting that a foreign checkpoint does not tell."
    ),
    json: bool = JSON,
) -> None:
    """Measure a model on data that it has not learned from.

    maefuse: EN SD SF AG MI MSE PSNR CC SCD VIF Qabf SSIM, with the pixel average and maximum beside them.
    bombkd: top-1, top-5, each class, confusion matrix, gates, parameters, latency, with the student alone beside it;
    AUC of anomaly scores. multigriddet: COCO's twelve figures, VOC's, the published program's, each class, curves,
    confusion matrix, best threshold; in the pixels of the pictures. ifvit: EER, TAR at given FARs and rank-1 by the
    protocol of the FVC competitions; a run keeps the scores, by which `gradatim match` decides. flowchroma: SSIM,
    PSNR, CDC, color error and flicker, with gray frames and the matched colors alone beside them; of folders of
    frames SSIM and PSNR at 224 x 224 and CDC, but no LPIPS nor FID, whose networks are not part of gradatim.
    Example: gradatim evaluate runs/maefuse-1, or: gradatim evaluate fused --data pairs, or:
    gradatim evaluate model5.h5 --set data.root=coco -o figures
    """
    system = _system_of(target)
    _refuse_others(context, system)
    if system == "multigriddet":
        from gradatim.cli.evaluating_boxes import evaluate_boxes
        from gradatim.systems.multigriddet.predict import Search

        search = Search(
            confidence=confidence if confidence is not None else 0.1 if original else 0.001,
            suppression=suppression,
            threshold=overlap_threshold,
            by_class=not original or suppression == "wbf",
            most=500 if original else 100,
            original=original,
        )
        evaluate_boxes(
            target, set_, split=split, search=search, settings=settings_from(model), out=out, batch_size=batch_size,
            device=device, json=json,
        )  # fmt: skip
        return
    if system == "ifvit":
        from gradatim.cli.evaluating_prints import evaluate_prints

        evaluate_prints(
            target, set_, split=split, limit=limit, settings=settings_from(model), out=out, device=device, json=json
        )
        return
    if system == "flowchroma":
        from gradatim.cli.evaluating_colors import evaluate_colors

        evaluate_colors(target, set_, split=split, limit=limit, out=out, device=device, json=json)
        return
    if system == "colored frames":
        from gradatim.cli.evaluating_colors import evaluate_frames

        evaluate_frames(target, data, out=out, json=json)
        return
    if system == "bombkd":
        from gradatim.cli.evaluating_clips import evaluate_clips

        evaluate_clips(target, set_, split=split, out=out, batch_size=batch_size, device=device, json=json)
        return
    with tempfile.TemporaryDirectory(prefix="gradatim-evaluate-") as folder:
        fused, roots = _fused(target, data, out or Path(folder), overlap, device, settings_from(model))
        found = measured(fused, roots, data_range=data_range, base=base)
    if json:
        typer.echo(found.to_json())
    else:
        show_means(found)
        if per_image:
            _show_rows(found)


def _refuse_others(context: typer.Context, system: str) -> None:
    """Refuse options that were given and that this system's evaluation does not read."""
    own = _OPTIONS.get(system, ())
    others = {name for names in _OPTIONS.values() for name in names} - set(own)
    wrong = []
    for name in sorted(others):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            whose = ", ".join(other for other, names in _OPTIONS.items() if name in names)
            wrong.append(f"--{name.rstrip('_').replace('_', '-')} is for {whose}")
    if wrong:
        what = "a folder of colored frames" if system == "colored frames" else f"a model of {system}"
        raise typer.BadParameter(f"this is {what}: {'; '.join(wrong)}")


def _system_of(target: Path) -> str:
    """The system of a run, of a file that gradatim wrote, or of a foreign detector; or "colored frames"."""
    if (target / "plan.yaml").is_file():
        from gradatim.find import read_plan_document

        return str(read_plan_document(str(target)).tree.get("system"))
    if target.is_file():
        from gradatim.systems.multigriddet.layouts import LAYOUTS
        from gradatim.weights import header_of, read_weights, recognised

        weights = read_weights(target)
        foreign = "maefuse" if header_of(weights) or not recognised(weights, LAYOUTS) else "multigriddet"
        return str(header_of(weights).get("system", foreign))
    from gradatim.systems.flowchroma.frame_folders import holds_scenes

    # Fused pictures lie in their folder itself.
    return "colored frames" if holds_scenes(target) else "maefuse"


def _fused(
    target: Path, data: list[Path], out: Path, overlap: float, device: str | None, settings: dict[str, object]
) -> tuple[Path, list[Path]]:
    """Folder of fused pictures, made if the target is a model, and the folders of their pairs."""
    from gradatim.cli.fusing import fuse_jobs, held_out_jobs
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model
    from gradatim.errors import DataError
    from gradatim.systems.maefuse.predict import plan_jobs

    is_run = (target / "plan.yaml").is_file()
    if not data and not is_run:
        raise DataError(f"{target}: say with --data which pairs its pictures are of")
    if target.is_dir() and not is_run:
        return target, data
    place = this_place(device)
    jobs = [job for root in data for job in plan_jobs(root, None, out)] if data else held_out_jobs(target, out)
    loaded = load_model(target, system="maefuse", settings=settings).to(place.device)
    fuse_jobs(loaded, jobs, device=place.device, overlap=overlap, batch_size=64)
    return out, data or list(dict.fromkeys(job.pair.visible.parent.parent for job in jobs))


def measured(fused: Path, roots: list[Path], **how: Any) -> "Evaluation":
    """Measure a folder of fused pictures, with a bar; `how` as for `evaluate_folder`."""
    from rich.progress import Progress

    from gradatim.systems.maefuse.evaluate import evaluate_folder

    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("measuring", total=None)
        return evaluate_folder(
            fused, roots, subset=True, progress=lambda done, of: progress.update(task, completed=done, total=of), **how
        )


def show_means(found: "Evaluation") -> None:
    """Print the mean of each metric by each method; the best in its direction is marked."""
    from gradatim.report.tables import rows_table

    names = list(next(iter(found.means.values())))
    lower = {"MSE"}
    rows = []
    for name in names:
        values = {method: means[name] for method, means in found.means.items()}
        best = min(values.values()) if name in lower else max(values.values())
        rows.append((name, *(f"{value:.4g}{' *' if value == best else ''}" for value in values.values())))
    count = len({row.name for row in found.rows})
    show(rows_table(f"mean of {count} pictures (* best)", ("metric", *found.means), rows))


def _show_rows(found: "Evaluation") -> None:
    from gradatim.report.tables import rows_table

    names = list(found.rows[0].values)
    rows = [(row.name, row.method, *(f"{row.values[name]:.4g}" for name in names)) for row in found.rows]
    show(rows_table("each picture", ("picture", "method", *names), rows))
