"""`gradatim evaluate` for MultiGridDet: average precisions, confusions, and pictures of them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from gradatim.cli.detecting import Detector, detector
from gradatim.cli.evaluation_data import data_of, settings_read
from gradatim.cli.output import show, show_json, stderr

if TYPE_CHECKING:
    from gradatim.systems.multigriddet.data import DetectionDataset
    from gradatim.systems.multigriddet.evaluate import Evaluation
    from gradatim.systems.multigriddet.predict import Search

_EXAMPLE = "--set data.root=ANNOTATIONS"


def evaluate_boxes(
    target: Path,
    changes: list[str],
    *,
    split: str,
    search: "Search",
    settings: dict[str, object],
    out: Path | None,
    batch_size: int,
    device: str | None,
    json: bool,
) -> None:
    """Judge a run's model on its validation pictures, or a file's on data that are named."""
    from rich.progress import Progress

    from gradatim.files import write_json
    from gradatim.systems.multigriddet.evaluate import evaluate_detector
    from gradatim.systems.multigriddet.figures import write_figures

    data = data_of(target, changes, split=split, example=_EXAMPLE)
    one = detector(target, settings, device=device)
    dataset = _opened(one, data, split)
    predict: Any = one.model.parts["predict"]
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("evaluating", total=None)
        found = evaluate_detector(
            one.model.compute, predict, dataset, search=search, batch_size=batch_size, device=one.device,
            progress=lambda done, of: progress.update(task, completed=done, total=of),
        )  # fmt: skip
    told = found.to_json()
    written: list[Path] = []
    if out is not None:
        written = [*write_figures(out, found, dataset), out / "evaluation.json"]
        write_json(written[-1], told)
    if json:
        show_json({**told, "written": [str(path) for path in written]})
        return
    _show(found)
    if written:
        typer.echo(f"{len(written)} files written to {out}")


def _opened(one: Detector, data: dict[str, Any], split: str) -> "DetectionDataset":
    """The pictures.

    Raises:
        DataError: they cannot be read, or have other classes than the model.
    """
    from gradatim.errors import DataError
    from gradatim.systems.multigriddet.data import DetectionSettings, Split, open_data, with_size

    settings = settings_read(DetectionSettings, with_size(one.model.settings, data))
    dataset = open_data(settings, cast(Split, split))
    for note in dataset.notes:
        typer.echo(note, err=True)
    if len(dataset.classes) != len(one.names):
        raise DataError(f"the data have {len(dataset.classes)} classes, the model {len(one.names)}")
    for number, (own, theirs) in enumerate(zip(one.names, dataset.classes, strict=True)):
        # A class without a name is called by its number.
        if own != theirs and f"class {number}" not in (own, theirs):
            raise DataError(f"class {number} of the model is {own!r}, of the data {theirs!r}")
    return dataset


def _show(found: "Evaluation") -> None:
    from gradatim.report.tables import rows_table

    title = f"{found.images} pictures, {found.objects} objects, {found.detections} detections"
    rows = [("COCO", name, _cell(value)) for name, value in found.coco.figures.items()]
    rows += [("VOC", "AP50, eleven points", _cell(found.voc07)), ("VOC", "AP50, area", _cell(found.voc))]
    rows += [("published program", name, _cell(value)) for name, value in found.legacy.items()]
    best = found.balance
    rows += [
        (f"scores from {best.threshold:.3f} on", name, _cell(value))
        for name, value in (("best F1", best.f1), ("precision", best.precision), ("recall", best.recall))
    ]
    show(rows_table(title, ("by", "figure", "value"), rows))
    missed, false = found.confusion[:-1, -1], found.confusion[-1, :-1]
    each = [
        (
            found.names[n],
            int(found.judged.objects[n]),
            *(_cell(value) for value in values),
            int(missed[n]),
            int(false[n]),
        )
        for n, values in found.coco.by_class.items()
    ]
    show(rows_table("each class", ("class", "objects", "AP", "AP50", "AP75", "missed", "found in vain"), each))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
