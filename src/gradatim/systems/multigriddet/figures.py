"""Pictures of an evaluation: curves, average precisions, confusions, thresholds, and truths beside detections."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.data.image import write_image
from gradatim.errors import MissingExtraError
from gradatim.files import replace_file
from gradatim.systems.multigriddet.annotations import AnnotatedImage
from gradatim.systems.multigriddet.data import DetectionDataset
from gradatim.systems.multigriddet.drawing import class_color, draw_objects, side_by_side
from gradatim.systems.multigriddet.evaluate import Evaluation
from gradatim.systems.multigriddet.predict import Detections

_SHOWN_CURVES = 10
_EXAMPLES = 8


def write_figures(out: Path, found: Evaluation, dataset: DetectionDataset) -> list[Path]:
    """Write all pictures into a folder; their paths.

    Args:
        out: made if it does not exist.
        found: the evaluation.
        dataset: that it is of.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    painters: dict[str, tuple[tuple[float, float], Callable[[Any, Evaluation], None]]] = {
        "curves": ((7, 5), _curves),
        "classes": ((7, max(3.0, 0.25 * len(found.coco.by_class) + 1.5)), _classes),
        "confusion": ((max(4.5, 0.32 * len(found.names) + 2.5),) * 2, _confusion),
        "thresholds": ((7, 4.5), _thresholds),
    }
    written = []
    for name, (size, paint) in painters.items():
        written.append(out / f"{name}.png")
        _paint(written[-1], size, paint, found)
    return written + _examples(out / "examples", found, dataset)


def _paint(path: Path, size: tuple[float, float], paint: Callable[[Any, Evaluation], None], found: Evaluation) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "detection", "the pictures of an evaluation") from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure.add_subplot(), found)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def _shade(number: int) -> tuple[float, ...]:
    return tuple(value / 255 for value in class_color(number))


def _curves(axes: Any, found: Evaluation) -> None:
    """Precision over recall of the classes with most objects, and of the mean."""
    recalls = np.linspace(0, 1, 101)
    curves = found.coco.curves
    for number in sorted(curves, key=lambda n: -found.judged.objects[n])[:_SHOWN_CURVES]:
        text = f"{found.names[number]} {found.coco.by_class[number][1]:.3f}"
        axes.plot(recalls, curves[number], color=_shade(number), linewidth=1, label=text)
    mean = np.mean(list(curves.values()), axis=0)
    axes.plot(recalls, mean, color="black", linewidth=2.5, label=f"mean of {len(curves)} {mean.mean():.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="at an overlap of 0.5")
    axes.legend(fontsize=8)


def _classes(axes: Any, found: Evaluation) -> None:
    """Average precision of each class, the best at the top."""
    order = sorted(found.coco.by_class, key=lambda n: found.coco.by_class[n][0])
    values = np.array([found.coco.by_class[n] for n in order])
    places = np.arange(len(order))
    axes.barh(places, values[:, 1], height=0.8, color="#c6dbef", label="AP50")
    axes.barh(places, values[:, 0], height=0.5, color="#2171b5", label="AP")
    axes.set_yticks(places, [f"{found.names[n]} ({found.judged.objects[n]})" for n in order], fontsize=8)
    axes.set(xlim=(0, 1), title="average precision (number of objects)")
    axes.legend(fontsize=8, loc="lower right")


def _confusion(axes: Any, found: Evaluation) -> None:
    """Objects down, what they were taken for across, in shares of a row."""
    counts = found.confusion
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(counts)), [*found.names, "missed"], rotation=90)
    axes.set_yticks(range(len(counts)), [*found.names, "background"])
    axes.set(xlabel="found as", ylabel="object", title=f"scores from {found.balance.threshold:.2f} on, best F1")
    if len(counts) <= 20:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)


def _thresholds(axes: Any, found: Evaluation) -> None:
    """Precision, recall and F1 of all classes together over the least score."""
    judged = found.judged
    true, number = np.cumsum(judged.right), np.arange(1, len(judged.right) + 1)
    total = max(1, int(judged.objects.sum()))
    for name, values in {
        "precision": true / number, "recall": true / total, "F1": 2 * true / (number + total)
    }.items():  # fmt: skip
        axes.plot(judged.scores, values, label=name)
    best = found.balance
    axes.axvline(best.threshold, color="gray", linestyle=":", label=f"F1 {best.f1:.3f} at {best.threshold:.2f}")
    axes.set(xlabel="least score", xlim=(0, 1), ylim=(0, 1.02), title="at an overlap of 0.5")
    axes.legend(fontsize=8)


def _examples(folder: Path, found: Evaluation, dataset: DetectionDataset) -> list[Path]:
    """Pictures spread over the data: objects to the left, detections from the best threshold on to the right."""
    count = min(_EXAMPLES, len(dataset))
    written = []
    for index in (n * len(dataset) // count for n in range(count)):
        picture = dataset.source_image(index)
        truths = draw_objects(picture, _truths(dataset.record(index)), found.names, scores=False)
        ours = draw_objects(picture, found.found[index].above(found.balance.threshold), found.names)
        written.append(folder / f"{index:06d}.png")
        write_image(written[-1], side_by_side(truths, ours))
    return written


def _truths(record: AnnotatedImage) -> Detections:
    keep = ~record.ignored
    return Detections(record.boxes[keep], np.ones(int(keep.sum())), record.classes[keep])
