"""`gradatim evaluate` for IFViT: error rates of its scores, by the protocol of the FVC competitions."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from gradatim.cli.evaluation_data import data_of, settings_read
from gradatim.cli.matching import CALIBRATION, comparer
from gradatim.cli.output import show, show_json, stderr

if TYPE_CHECKING:
    from gradatim.systems.ifvit.evaluate import Verification

_EXAMPLE = "--set data.root=PRINTS --set data.layout=fvc2002"


def evaluate_prints(
    target: Path,
    changes: list[str],
    *,
    split: str,
    limit: int | None,
    settings: dict[str, object],
    out: Path | None,
    device: str | None,
    json: bool,
) -> None:
    """Judge a run's model on its validation fingers, or a file's on data that are named."""
    from rich.progress import Progress

    from gradatim.systems.ifvit.data import FingerprintSettings, Split, open_data
    from gradatim.systems.ifvit.evaluate import evaluate_prints as evaluated
    from gradatim.systems.ifvit.evaluate import write_calibration, write_evaluation

    data = data_of(target, changes, split=split, example=_EXAMPLE)
    read = settings_read(FingerprintSettings, data)
    one = comparer(target, settings, dense=None, turn=60, device=device, fingernet=read.fingernet)
    dataset = open_data(read, cast(Split, split))
    for note in dataset.notes:
        typer.echo(note, err=True)
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("comparing", total=None)
        found = evaluated(
            one, dataset.source, limit=limit, progress=lambda done, of: progress.update(task, completed=done, total=of)
        )
    written = write_evaluation(out, found) if out is not None else []
    if (target / "plan.yaml").is_file() and split == "validate" and not changes:
        written.append(target / CALIBRATION)
        write_calibration(written[-1], found)
    if json:
        show_json({**found.to_json(), "written": [str(path) for path in written]})
        return
    _show(found)
    for path in written:
        typer.echo(f"written: {path}")


def _show(found: "Verification") -> None:
    from gradatim.report.tables import rows_table

    told = found.to_json()
    rows = [("EER", f"{told['eer']:.2%}", f"{told['threshold']:.4f}")]
    rows += [
        (f"TAR at FAR {float(far):.2%}", f"{told[f'tar@far={far}']:.2%}", f"{threshold:.4f}")
        for far, threshold in told["thresholds"].items()
    ]
    rows.append(("d'", f"{told['d_prime']:.3f}", ""))
    if found.rank_one is not None:
        rows.append((f"rank-1 of {found.probes} probes, gallery of {found.gallery}", f"{found.rank_one:.2%}", ""))
    title = f"{told['genuine']} genuine pairs, {told['imposter']} imposters, {told['unaligned']} without a motion"
    show(rows_table(title, ("figure", "value", "from a score of"), rows))
    for what in found.unreadable.values():
        typer.echo(f"left out: {what}", err=True)
