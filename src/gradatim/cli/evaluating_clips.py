"""`gradatim evaluate` for BombKD: accuracy of its heads, or anomaly scores."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from gradatim.cli.evaluation_data import data_of, settings_read
from gradatim.cli.output import show, show_json, stderr

if TYPE_CHECKING:
    from gradatim.systems.bombkd.evaluate import Accuracy, Anomalies

_EXAMPLE = "--set data.dataset=folders --set data.root=CLIPS"


def evaluate_clips(
    target: Path, changes: list[str], *, split: str, out: Path | None, batch_size: int, device: str | None, json: bool
) -> None:
    """Judge a run's model on the clips that its last stage held out, or a file's on data that are named."""
    from rich.progress import Progress

    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model
    from gradatim.systems.bombkd.evaluate import confusion_picture, evaluate_anomalies, evaluate_classes, heads_of

    place = this_place(device)
    loaded = load_model(target, system="bombkd").to(place.device)
    dataset = _data(target, loaded, changes, split)
    how: dict[str, Any] = {"device": place.device, "batch_size": batch_size}
    heads = heads_of(tuple(loaded.parts), loaded.settings)
    judged = None
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("evaluating", total=None)

        def report(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        names = tuple(loaded.classes)
        found = [
            evaluate_classes(
                loaded.compute, loaded.settings, loaded.parts, dataset,
                head=head, classes=names, progress=report, **how,
            )
            for head in heads
        ]  # fmt: skip
        if "projection" in loaded.parts and "fusion" in loaded.parts:
            judged = evaluate_anomalies(loaded.compute, loaded.parts, dataset, progress=report, **how)
    pictures = []
    if out is not None:
        for one in found:
            picture = out / f"confusion-{one.head.replace(' ', '-')}.png"
            confusion_picture(picture, one, loaded.settings.class_names or names)
            pictures.append(str(picture))
    if json:
        show_json(
            {
                "heads": {one.head: one.to_json() for one in found},
                "anomalies": judged.to_json() if judged else None,
                "pictures": pictures,
            }
        )
        return
    _show(found, judged)
    for path in pictures:
        typer.echo(f"picture: {path}")


def _data(target: Path, loaded: Any, changes: list[str], split: str) -> Any:
    """The clips of a run's last stage, or those that `--set data.NAME=VALUE` describes."""
    from gradatim.systems.bombkd.data import Split
    from gradatim.systems.bombkd.samples import SampleSettings, open_samples, with_views

    data = data_of(target, changes, split=split, example=_EXAMPLE)
    settings = settings_read(SampleSettings, dict(with_views(loaded.settings, data)))
    return open_samples(settings, cast(Split, split))


def _show(found: "list[Accuracy]", judged: "Anomalies | None") -> None:
    from gradatim.report.tables import counted, rows_table

    if found:
        rows = [
            (
                one.head,
                f"{one.top1:.2f} %",
                f"{one.top5:.2f} %",
                ", ".join(f"{name} {gate:.2f}" for name, gate in one.gates.items()),
                counted(one.parameters),
                f"{1e3 * one.latency:.1f} ms",
            )
            for one in found
        ]
        columns = ("head", "top-1", "top-5", "mean gates", "parameters", "latency of a clip")
        show(rows_table(f"{found[0].clips} clips", columns, rows))
        names = list(found[0].per_class)
        each = [(name, *(f"{one.per_class[name]:.1f}" for one in found)) for name in names]
        show(rows_table("top-1 of each class, %", ("class", *(one.head for one in found)), each))
    if judged is not None:
        frames = judged.frame_auc or {}
        told = [("clips", f"{judged.auc:.4f}", judged.clips)]
        told += [
            (f"frames, {name}", f"{frames[name]:.4f}", int(frames["frames"])) for name in ("micro", "macro") if frames
        ]
        show(rows_table("anomaly scores, area under the ROC curve", ("over", "AUC", "number"), told))
