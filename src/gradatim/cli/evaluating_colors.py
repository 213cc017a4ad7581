"""`gradatim evaluate` for FlowChroma: how near colors come to the true ones, of a model or of folders of frames."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from gradatim.cli.evaluation_data import data_of, settings_read
from gradatim.cli.output import show, show_json, stderr

if TYPE_CHECKING:
    from gradatim.engine.model import Model
    from gradatim.systems.flowchroma.evaluate import Evaluation
    from gradatim.systems.flowchroma.frame_folders import Comparison, Spread

_EXAMPLE = "--set data.root=VIDEOS"
_LABELS = {
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "cdc": "CDC",
    "color_error": "color error",
    "flicker": "flicker",
    "true_cdc": "CDC of the truth",
}
_HIGHER_IS_BETTER = ("ssim", "psnr")


def evaluate_colors(
    target: Path,
    changes: list[str],
    *,
    split: str,
    limit: int | None,
    out: Path | None,
    device: str | None,
    json: bool,
) -> None:
    """Judge a run's model on the videos that its last stage held out, or a file's on data that are named."""
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model, need_parts
    from gradatim.systems.flowchroma.data import SequenceSettings, Split, open_sequences, with_sizes
    from gradatim.systems.flowchroma.evaluate import evaluate_coloring
    from gradatim.systems.flowchroma.predict import PARTS

    data = data_of(target, changes, split=split, example=_EXAMPLE)
    place = this_place(device)
    loaded = load_model(target, system="flowchroma")
    need_parts(loaded, PARTS, "coloring")
    data = dict(with_sizes(loaded.settings, data))
    if limit is not None:
        data["limit"] = limit
    dataset = open_sequences(settings_read(SequenceSettings, data), cast(Split, split))
    for note in dataset.notes:
        typer.echo(note, err=True)
    compute = _compute(loaded.to(place.device), target)
    fusion: Any = loaded.parts["fusion"]
    with _bar("coloring") as progress:
        found = evaluate_coloring(compute, fusion, dataset, out=out, device=place.device, progress=progress)
    _tell(found, found.written, _show, out=out, json=json)


def evaluate_frames(target: Path, data: list[Path], *, out: Path | None, json: bool) -> None:
    """Compare folders of colored frames with those of true ones."""
    from gradatim.errors import DataError
    from gradatim.systems.flowchroma.frame_folders import compare_folders

    if len(data) != 1:
        raise DataError(f"{target}: say with one --data where the true frames are, a folder for each scene")
    with _bar("comparing") as progress:
        found = compare_folders(target, data[0], progress=progress)
    _tell(found, (), _show_scenes, out=out, json=json)


def _compute(loaded: "Model", target: Path) -> Any:
    """The model's steps as the run's last stage set their options, so that it is judged as it was trained."""
    from gradatim.engine.build import converted_options
    from gradatim.engine.checked import checked_plan
    from gradatim.find import read_plan_document

    if not (target / "plan.yaml").is_file():
        return loaded.compute
    import torch

    plan, system, _ = checked_plan(read_plan_document(str(target)))
    options = converted_options(system, plan.stages[-1])

    @torch.no_grad()
    def compute(task: str, sample: Mapping[str, Any], want: Sequence[str]) -> dict[str, Any]:
        return loaded.system.read_tasks[task].compute(loaded.parts, sample, want=want, options=options)

    return compute


@contextmanager
def _bar(what: str) -> Iterator[Any]:
    from rich.progress import Progress

    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _tell(
    found: Any, pictures: Sequence[Path], show_it: Callable[[Any], None], *, out: Path | None, json: bool
) -> None:
    """Write figures beside the pictures, and print all, with what a user should know of them."""
    from gradatim.files import write_json

    told, written = found.to_json(), list(pictures)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        written.append(out / "evaluation.json")
        write_json(written[-1], told)
    if json:
        show_json({**told, "written": [str(path) for path in written]})
    else:
        show_it(found)
    for note in found.notes:
        typer.echo(note, err=True)
    if written and not json:
        rows = "; rows of pictures: truth, gray, matched, fused, references" if pictures else ""
        typer.echo(f"{len(written)} file(s) written to {out}{rows}")


def _show(found: "Evaluation") -> None:
    from gradatim.report.tables import rows_table
    from gradatim.systems.flowchroma.evaluate import FUSED, NAMES, TRUTH

    means, videos = found.means, found.videos
    rows = []
    for name in NAMES:
        values = {method: each.get(name) for method, each in means.items()}
        # A video of one gray tone is as steady as can be, so that the least CDC is not the best.
        rivals = [] if name == "cdc" else [x for method, x in values.items() if x is not None and method != TRUTH]
        best = (max if name in _HIGHER_IS_BETTER else min)(rivals, default=None)
        cells = (f"{_cell(x)}{' *' if x is not None and x == best else ''}" for x in values.values())
        rows.append((_LABELS[name], *cells))
    title = f"mean of {len(videos)} video(s), {len(found.sequences)} sequences (* best)"
    show(rows_table(title, ("metric", *means), rows))
    counts = Counter(one.video for one in found.sequences)
    each = [
        (name, counts[name], *(_cell(figures[FUSED].get(metric)) for metric in NAMES))
        for name, figures in videos.items()
    ]
    show(rows_table("each video, fused", ("video", "sequences", *(_LABELS[name] for name in NAMES)), each))


def _show_scenes(found: "Comparison") -> None:
    from gradatim.report.tables import rows_table

    over = found.over_scenes
    rows = [(_LABELS[name], _spread(one)) for name, one in over.items()]
    show(rows_table(f"mean ± standard deviation over {len(found.scenes)} scene(s)", ("metric", "value"), rows))
    each = [
        (one.name, one.frames, _spread(one.ssim), _spread(one.psnr), _cell(one.cdc), _cell(one.true_cdc))
        for one in found.scenes
    ]
    columns = ("scene", "frames", *(_LABELS[name] for name in ("ssim", "psnr", "cdc", "true_cdc")))
    show(rows_table("each scene, mean ± standard deviation over its frames", columns, each))


def _spread(one: "Spread") -> str:
    return f"{one.mean:.4f} ± {one.std:.4f}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
