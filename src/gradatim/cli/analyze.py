"""`gradatim analyze`: look at features of videos without training a network on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from gradatim.cli.output import JSON, show, show_json, stderr

if TYPE_CHECKING:
    import numpy as np

    from gradatim.systems.bombkd.analysis import Vectors
    from gradatim.systems.bombkd.feature_files import FeatureSet

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Features of videos: what they hold, what they tell apart, how near translations come; and published feature "
        "files into a feature store and back.\n\n"
        "A PATH of features is what the authors' program wrote (one .pkl or .json file, a folder of shards with or "
        "without an index, a folder of arrays), or a store that `gradatim analyze import` made. Nothing in such a "
        "file is run, and no file is read into memory as a whole but pickles."
    ),
)

PATH = typer.Argument(..., metavar="PATH", help="Features: a folder, an index or a file.")
DATASET = typer.Option(None, "--dataset", help="Which data set, where a folder holds several.")
SPLIT = typer.Option(None, "--split", help="Which split, where a folder holds several.")
CONVERTERS = typer.Option(
    None, "--converters", metavar="RUN|FILE", help="Converters for `conv:TEACHER`: a run, or the authors' file."
)
Pool = Literal["mean", "max"]
POOL = typer.Option("mean", "--pool", help="One vector a clip: mean or max over its tokens.")


@app.command("inspect")
def inspect(
    path: Path = PATH,
    key: list[str] = typer.Option([], "--key", help="Only this entry of the records, such as student. Repeatable."),
    limit: int = typer.Option(0, "--limit", min=0, help="Look at so many records; 0: at all."),
    statistics: bool = typer.Option(True, "--statistics/--no-statistics", help="Read numbers, not just shapes."),
    samples: int = typer.Option(3, "--samples", min=0, help="Records to list."),
    dataset: str = DATASET,
    split: str = SPLIT,
    json: bool = JSON,
) -> None:
    """Tell what features hold: entries, shapes, statistics, labels, and the widths that a model on them needs.

    Example: gradatim analyze inspect features/ucf101 --limit 200
    """
    from gradatim.systems.bombkd.analysis import inspect_features

    told = inspect_features(
        path, dataset=dataset, split=split, keys=key, limit=limit, statistics=statistics, samples=samples
    )
    if json:
        show_json(told)
    else:
        _show_inspection(told)


def _show_inspection(told: Mapping[str, Any]) -> None:
    from gradatim.report.tables import rows_table

    rows = []
    for name, entry in told["per_key"].items():
        stats = entry["stats"] or {}
        numbers = [stats.get(figure) for figure in ("mean", "std", "min", "max", "avg_l2")]
        shape = "" if entry["example_shape"] is None else str(tuple(entry["example_shape"]))
        shape += " and others" if entry["ragged"] else ""
        rows.append((name, f"{entry['present_pct']:.0%}", shape, *("" if n is None else f"{n:.4g}" for n in numbers)))
    title = f"{told['path']}: {told['scanned_records']} of {told['num_records']} records"
    show(rows_table(title, ("entry", "present", "shape", "mean", "std", "min", "max", "norm"), rows))
    if told["label_key"]:
        labels = ", ".join(f"{label}: {count}" for label, count in list(told["label_counts"].items())[:20])
        more = len(told["label_counts"]) - 20
        typer.echo(f"labels: {labels}" + (f" and {more} more" if more > 0 else ""))
    for sample in told["samples"]:
        typer.echo("  " + "  ".join(f"{name} {value}" for name, value in sample.items()))
    if told["d_in"]:
        teachers = ", ".join(f"{name}: {{dim: {width}}}" for name, width in told["d_out_map"].items())
        typer.echo(f"model: {{student: {{dim: {told['d_in']}}}, teachers: {{{teachers}}}}}")
    for note in told["notes"]:
        typer.echo(f"note: {note}", err=True)
    if told["not_finite"]:
        typer.echo(f"not finite: {', '.join(told['not_finite'])}", err=True)
    if told["unlabelled"]:
        typer.echo(f"{len(told['unlabelled'])} records without a label: see `gradatim analyze labels`", err=True)


@app.command("labels")
def labels(
    path: Path = PATH,
    expected: str = typer.Option(
        None, "--expected", metavar="0-100", help="Labels that may stand there: 0-100 or 0,1."
    ),
    shown: int = typer.Option(50, "--show", min=0, help="Paths of wrong records to list."),
    dataset: str = DATASET,
    split: str = SPLIT,
    json: bool = JSON,
) -> None:
    """Count the labels of features; exit code 1 if any is missing or not one of those expected.

    A record without a label teaches nothing. Features that were extracted without labels have to be extracted again.
    Example: gradatim analyze labels features/ucf101 --expected 0-100
    """
    from gradatim.report.tables import rows_table
    from gradatim.systems.bombkd.analysis import scan_labels

    report = scan_labels(path, expected=_numbers(expected), dataset=dataset, split=split)
    if json:
        show_json({**asdict(report), "good": report.good})
    else:
        show(rows_table(f"labels of {path}", ("label", "records"), list(report.counts.items())))
        for name in report.missing[:shown]:
            typer.echo(f"{name}: no label", err=True)
        for name, label in report.unexpected[:shown]:
            typer.echo(f"{name}: label {label} is not expected", err=True)
        typer.echo(
            f"{sum(report.counts.values())} records with a label, {len(report.missing)} without, "
            f"{len(report.unexpected)} with one that was not expected"
        )
    if not report.good:
        raise typer.Exit(1)


def _numbers(text: str | None) -> set[int]:
    """Numbers of `0-100` or `0,1,5`."""
    found: set[int] = set()
    for part in filter(None, (text or "").replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise typer.BadParameter(f"{text!r}: write numbers such as 0-100 or 0,1,5")
        found |= set(range(int(first), int(last or first) + 1))
    return found


@app.command("classify")
def classify(
    train: Path = typer.Option(..., "--train", metavar="PATH", help="Features to fit on."),
    test: Path = typer.Option(..., "--test", metavar="PATH", help="Features to judge on."),
    task: Literal["ar", "vad"] = typer.Option("ar", "--task", help="ar: which action; vad: normal or not."),
    feature: str = typer.Option("student", "--feature", help="student, a teacher, or conv:TEACHER."),
    pool: Pool = POOL,
    converters: Path = CONVERTERS,
    model: list[str] = typer.Option([], "--model", help="ar: svm, lr; vad: dbscan, iforest. Repeatable; default both."),
    remap_by_order: bool = typer.Option(
        False, "--remap-by-order", help="ar: match labels by rank where both sides number the classes differently."
    ),
    normal_class: int = typer.Option(None, "--normal-class", help="vad: label of normal clips; default 0 of 0 and 1."),
    eps: float = typer.Option(None, "--eps", help="vad: radius of DBSCAN; default from the training clips."),
    min_samples: int = typer.Option(5, "--min-samples", min=1, help="vad: neighbors that make a core sample."),
    contamination: float = typer.Option(0.05, "--contamination", help="vad: share that the forest takes for abnormal."),
    split: str = typer.Option("train", "--split", help="Split of --train, where a folder holds several."),
    test_split: str = typer.Option("test", "--test-split", help="Split of --test, where a folder holds several."),
    json: bool = JSON,
) -> None:
    """Fit classical classifiers or anomaly detectors on one vector a clip: how much is in the features as they are.

    Example: gradatim analyze classify --train features/train --test features/test --feature conv:videomae
    --converters runs/bombkd-1
    """
    from gradatim.systems.bombkd.analysis import classify_actions, detect_anomalies

    chosen: dict[str, Any] = {"models": model} if model else {}
    told: Mapping[str, Mapping[str, Any]]
    with (
        _vectors(train, split, feature, pool, converters) as fitted,
        _vectors(test, test_split, feature, pool, converters) as tested,
    ):
        if task == "ar":
            told = classify_actions(fitted, tested, remap_by_order=remap_by_order, **chosen)
        else:
            told = detect_anomalies(
                fitted,
                tested,
                normal_class=normal_class,
                dbscan_eps=eps,
                dbscan_min_samples=min_samples,
                contamination=contamination,
                **chosen,
            )
    if json:
        show_json({"task": task, "feature": feature, "pool": pool, "models": told})
    else:
        _show_models(told, feature)


@contextmanager
def _vectors(path: Path, split: str, feature: str, pool: Pool, converters: Path | None) -> "Iterator[Vectors]":
    from gradatim.systems.bombkd.analysis import pooled_vectors

    needed = _converters(converters) if feature.startswith("conv:") else {}
    with pooled_vectors(_one_set(path, split), feature=feature, pool=pool, converters=needed) as vectors:
        yield vectors


def _one_set(path: Path, split: str) -> "FeatureSet":
    """The features at a path; the split decides only where there are several."""
    from gradatim.systems.bombkd.feature_files import find_features, list_features

    return find_features(path, split=split if len(list_features(path)) > 1 else None)


def _converters(path: Path | None) -> dict[str, Callable[..., Any]]:
    """Converters of a run or file, each a function (1, N, D) -> (1, N', d)."""
    from gradatim.engine.model import load_model, need_parts

    if path is None:
        return {}
    model = load_model(path, system="bombkd")
    need_parts(model, ("converters",), "conv:TEACHER")
    return {name: _first_of(converter) for name, converter in model.parts["converters"].named_children()}


def _first_of(converter: Callable[..., Any]) -> Callable[..., Any]:
    return lambda tokens: converter(tokens)[0]


def _show_models(told: Mapping[str, Mapping[str, Any]], feature: str) -> None:
    from gradatim.report.tables import rows_table

    figures = [name for name in next(iter(told.values())) if name != "report"]
    columns = list(dict.fromkeys(name for one in told.values() for name in one if name != "report")) or figures
    rows = [
        (name, *(f"{one[column]:.4g}" if column in one else "" for column in columns)) for name, one in told.items()
    ]
    show(rows_table(f"on {feature}", ("model", *columns), rows))
    for name, one in told.items():
        if "report" in one:
            typer.echo(f"\n{name}\n{one['report']}")


@app.command("plot")
def plot(
    paths: list[Path] = typer.Argument(..., metavar="PATH...", help="Features; several are drawn as one."),
    out: Path = typer.Option(..., "--out", "-o", help="Picture to write; .png, .pdf or .svg."),
    method: Literal["pca", "tsne"] = typer.Option("pca", "--method", help="Projection onto the plane."),
    pool: Pool = POOL,
    converters: Path = CONVERTERS,
    classes: int = typer.Option(10, "--classes", min=1, help="Classes to draw."),
    by: Literal["random", "lr", "forest"] = typer.Option(
        "random", "--by", help="Which: at random, or those that a classifier tells best."
    ),
    split: str = typer.Option("train", "--split", help="Which split, where a folder holds several."),
    json: bool = JSON,
) -> None:
    """Draw the student's and the teachers' features by class; with --converters also the translations, and measure
    how near they come to the teachers (OUT-alignment beside the picture).

    Example: gradatim analyze plot features/test -o clouds.png --method tsne --converters runs/bombkd-1
    """
    import numpy as np

    from gradatim.report.tables import rows_table
    from gradatim.systems.bombkd.analysis import alignment, choose_classes, plot_alignment, plot_clouds

    clouds, labels = _clouds(paths, split, pool, converters)
    known = np.flatnonzero(labels >= 0)
    chosen = choose_classes(clouds["student"][known], labels[known], classes, by=by)
    kept = np.flatnonzero(np.isin(labels, chosen))
    plot_clouds(out, {title: cloud[kept] for title, cloud in clouds.items()}, labels[kept], method=method)
    teachers = [title.removeprefix("conv:") for title in clouds if title.startswith("conv:")]
    measures = {name: alignment(clouds[f"conv:{name}"], clouds[name]) for name in teachers if name in clouds}
    written = [out]
    if measures:
        written.append(out.with_name(f"{out.stem}-alignment{out.suffix}"))
        plot_alignment(written[1], measures)
    if json:
        show_json({"written": [str(path) for path in written], "clips": len(kept), "alignment": measures})
        return
    if measures:
        names = list(next(iter(measures.values())))
        rows = [(name, *(f"{one[figure]:.4g}" for figure in names)) for name, one in measures.items()]
        show(rows_table("translations beside their teachers", ("teacher", *names), rows))
    for path in written:
        typer.echo(path)


def _clouds(
    paths: Sequence[Path], split: str, pool: Pool, converters: Path | None
) -> "tuple[dict[str, np.ndarray], np.ndarray]":
    """Vectors of all clips by what they are of, and labels."""
    import numpy as np

    from gradatim.systems.bombkd.analysis import pooled_vectors

    translate = _converters(converters)
    found: dict[str, list[Any]] = {}
    labels: list[Any] = []
    for path in paths:
        source = _one_set(path, split)
        first = next(iter(source.shard(0)))
        features = ["student", *first.teachers, *(f"conv:{name}" for name in translate)]
        with ExitStack() as stack:
            for feature in features:
                vectors = stack.enter_context(pooled_vectors(source, feature=feature, pool=pool, converters=translate))
                found.setdefault(feature, []).append(np.array(vectors.values))
            labels.append(vectors.labels)
    whole = {feature: np.concatenate(parts) for feature, parts in found.items() if len(parts) == len(paths)}
    return whole, np.concatenate(labels)


@app.command("import")
def import_(
    path: Path = PATH,
    out: Path = typer.Option(..., "--out", "-o", metavar="FOLDER", help="Folder of the store."),
    dtype: Literal["float32", "float16", "bfloat16"] = typer.Option(
        None, "--dtype", help="Of stored tokens; default as they are."
    ),
    with_labels: bool = typer.Option(True, "--labels/--no-labels", help="Whether records have labels, and keep them."),
    dataset: str = DATASET,
    split: str = SPLIT,
    json: bool = JSON,
) -> None:
    """Write published feature files into a feature store: read at the speed of memory, lengths, labels and paths kept.

    Kill it whenever you like; the same command goes on. A plan trains from the store with
    `data: {features: {root: FOLDER}}`, `FeatureStore.open(FOLDER)` reads it in any program.
    Example: gradatim analyze import features/ucf101 -o stores/ucf101 --dtype float16
    """
    import sys

    from rich.progress import Progress

    from gradatim.report.tables import rows_table, sized
    from gradatim.systems.bombkd.feature_files import find_features
    from gradatim.systems.bombkd.feature_import import import_features

    source = find_features(path, dataset=dataset, split=split)
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        bar = progress.add_task("importing", total=None)
        store = import_features(
            source,
            out,
            labels=with_labels,
            dtype=dtype,
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    fields = [(one.name, one.shape, one.dtype, "differs" if one.ragged else "") for one in store.schema.fields]
    told = {"folder": str(out), "rows": len(store), "bytes": store.bytes, "fields": store.schema.to_json()}
    store.close()
    if json:
        show_json(told)
        return
    rows = [(name, str(shape), kind, length) for name, shape, kind, length in fields]
    show(rows_table(f"{out}: {told['rows']} records", ("field", "shape", "type", "length"), rows))
    typer.echo(f"{sized(store.bytes)} in {out}")
    for note in source.notes:
        typer.echo(f"note: {note}", err=True)


@app.command("export")
def export(
    path: Path = PATH,
    out: Path = typer.Option(..., "--out", "-o", metavar="FOLDER", help="Folder of the files."),
    shard_size: int = typer.Option(1000, "--shard-size", min=0, help="Records in a file; 0 writes one file of all."),
    dataset: str = typer.Option(None, "--dataset", help="Name in the files; default as the features tell."),
    split: str = typer.Option(None, "--split", help="Name in the files; default as the features tell."),
    json: bool = JSON,
) -> None:
    """Write features as the authors' program does, pickle files with an index, for their tools.

    Example: gradatim analyze export stores/ucf101 -o features/ucf101
    """
    from gradatim.systems.bombkd.feature_files import export_features, list_features

    found = list_features(path)
    source = found[0] if len(found) == 1 else _one_set(path, split or "train")
    written = export_features(
        out,
        source.records(),
        dataset=dataset or source.dataset or "features",
        split=split or source.split or "train",
        shard_size=shard_size,
        about={name: value for name, value in source.index.items() if name in ("student", "num_frames")},
    )
    if json:
        show_json({"written": str(written), "rows": len(source)})
        return
    typer.echo(written)
