"""How good a model is: accuracy, classes that it takes for each other, anomaly scores, size and speed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradatim.data.batches import plain_batches
from gradatim.data.dataset import Dataset
from gradatim.errors import DataError, MissingExtraError, WeightsError
from gradatim.files import replace_file
from gradatim.systems.bombkd.analysis import frame_auc, roc_auc
from gradatim.systems.bombkd.model import BombKDSettings
from gradatim.systems.bombkd.parts.projection import frame_scores as to_frames
from gradatim.systems.bombkd.parts.projection import time_scores
from gradatim.systems.bombkd.predict import Compute, class_name

_NEEDS = {
    "fusion": ("classify", ("converters", "fusion")),
    "student alone": ("probe", ("probe",)),
}
_WARM, _RUNS = 2, 5


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often a head is right on labeled clips.

    Args:
        head: `fusion` or `student alone`.
        clips: that have a label.
        top1, top5: share of them whose label is the most probable class, or among five, in percent.
        per_class: top-1 of each class that occurs, in percent.
        confusion: (classes, classes), clips by label and answer.
        gates: mean gate of each teacher.
        parameters: numbers in the parts that compute it.
        latency: seconds for one clip, median of five.
    """

    head: str
    clips: int
    top1: float
    top5: float
    per_class: Mapping[str, float]
    confusion: NDArray[np.int64]
    gates: Mapping[str, float]
    parameters: int
    latency: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "confusion": self.confusion.tolist()}


@dataclass(frozen=True, kw_only=True)
class Anomalies:
    """How well scores tell abnormal clips and frames from normal ones.

    Args:
        clips: that have a label.
        auc: area under the ROC curve over clips.
        frame_auc: `micro`, over the frames of all clips, `macro`, the mean over clips that have both kinds, and the
            numbers of both; None where no frame is labeled.
        scores: (clip, score, label).
    """

    clips: int
    auc: float
    frame_auc: Mapping[str, float] | None
    scores: Sequence[tuple[str, float, int]]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(kw_only=True)
class _Tally:
    classes: int
    confusion: NDArray[np.int64] = field(init=False)
    near: int = 0
    gates: list[NDArray[np.float64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes), np.int64)

    def add(self, logits: torch.Tensor, gates: torch.Tensor, label: torch.Tensor) -> None:
        known = (label >= 0) & (label < self.classes)
        best = logits[known].topk(min(5, self.classes), dim=1).indices
        np.add.at(self.confusion, (label[known].numpy(), best[:, 0].numpy()), 1)
        self.near += int((best == label[known].unsqueeze(1)).any(1).sum())
        self.gates.append(gates.double().mean(1).numpy())


def heads_of(parts: Sequence[str], settings: BombKDSettings) -> list[str]:
    """Heads that a model has: `fusion`, `student alone`."""
    have = [name for name, (_, needs) in _NEEDS.items() if all(part in parts for part in ("student", *needs))]
    return [name for name in have if name != "fusion" or settings.head != "none"]


def evaluate_classes(
    compute: Compute,
    settings: BombKDSettings,
    parts: Mapping[str, nn.Module],
    dataset: Dataset,
    *,
    head: str,
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    classes: Sequence[str] = (),
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Accuracy:
    """Judge a head on a data set.

    Args:
        compute: of the loaded model.
        settings: of the model.
        parts: of the model, by name.
        dataset: labeled clips.
        head: one of `heads_of`.
        device: where the model is.
        batch_size: clips at once.
        classes: their names.
        progress: receives (clips done, clips in all).

    Raises:
        DataError: no clip has a label.
    """
    task, needs = _NEEDS[head]
    fields, count = _inputs(parts, dataset), settings.class_count
    tally = _Tally(classes=count)
    done, latency = 0, 0.0
    for indices, batch in plain_batches(dataset, (*fields, "label"), batch_size):
        sent = {name: _to(batch[name], device) for name in batch if name != "label"}
        if not done:
            latency = _latency(compute, task, {name: value[:1] for name, value in sent.items()}, device)
        values = compute(task, sent, ("logits", "gates"))
        tally.add(values["logits"].float().cpu(), values["gates"].float().cpu(), batch["label"])
        done += len(indices)
        progress(done, len(dataset))
    clips = int(tally.confusion.sum())
    if not clips:
        raise DataError("no clip of the data has a label")
    right = tally.confusion.diagonal()
    names = [class_name(settings.class_names or classes, number) for number in range(count)]
    of_each = tally.confusion.sum(1)
    gates = np.concatenate(tally.gates).mean(0) if head == "fusion" else []
    used = [name for name in ("student", *needs) if name in parts]
    return Accuracy(
        head=head,
        clips=clips,
        top1=100 * float(right.sum()) / clips,
        top5=100 * tally.near / clips,
        per_class={name: 100 * float(r) / int(n) for name, r, n in zip(names, right, of_each, strict=True) if n},
        confusion=tally.confusion,
        gates={name: float(gate) for name, gate in zip(settings.teachers, gates, strict=False)},
        parameters=sum(p.numel() for name in used for p in parts[name].parameters()),
        latency=latency,
    )


def _inputs(parts: Mapping[str, nn.Module], dataset: Dataset) -> tuple[str, ...]:
    """What the student's tokens come from: clips, or stored tokens."""
    if "student_tokens" in dataset.fields:
        return ("student_tokens",)
    if "student" not in parts:
        raise WeightsError("this model has no student; its tokens would have to be stored in the data")
    return ("student_clip",)


def _to(value: Any, device: torch.device | str) -> Any:
    return {name: one.to(device) for name, one in value.items()} if isinstance(value, dict) else value.to(device)


def _latency(compute: Compute, task: str, sample: Mapping[str, Any], device: torch.device | str) -> float:
    seconds = []
    for _ in range(_WARM + _RUNS):
        started = time.perf_counter()
        compute(task, sample, ("logits",))
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[_WARM:]))


def evaluate_anomalies(
    compute: Compute,
    parts: Mapping[str, nn.Module],
    dataset: Dataset,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Anomalies:
    """Judge anomaly scores of clips, label 0 normal and 1 abnormal, and of their frames where those are labeled.

    A time step's score is the mean over its places, interpolated to the frames that the student saw.

    Raises:
        DataError: only one kind of clip has a label.
    """
    framewise = "frame_labels" in dataset.fields
    fields = (*_inputs(parts, dataset), "label", *(("frame_labels",) if framewise else ()))
    rows: list[tuple[str, float, int]] = []
    frames: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for indices, batch in plain_batches(dataset, fields, batch_size):
        sent = {name: _to(value, device) for name, value in batch.items() if name not in ("label", "frame_labels")}
        values = compute("judge", sent, ("score", "projected", "fused"))
        scores = values["score"].float().cpu()
        names = [dataset.name(index) for index in indices]
        rows += zip(names, scores.tolist(), batch["label"].tolist(), strict=True)
        if framewise:
            student: Any = parts["student"]
            layout = student.layout(batch["student_clip"].shape[1])
            moved = parts["projection"](values["fused"])
            steps = time_scores(values["projected"], moved, layout)
            told = to_frames(steps, batch["frame_labels"].shape[1]).detach().cpu().numpy()
            frames += zip(told, batch["frame_labels"].numpy(), strict=True)
        progress(len(rows), len(dataset))
    labels = np.array([label for _, _, label in rows])
    known = (labels == 0) | (labels == 1)
    if len(set(labels[known].tolist())) < 2:
        raise DataError("scores are judged by normal and abnormal clips; the data have labels of one kind only")
    values_of = np.array([score for _, score, _ in rows])
    return Anomalies(
        clips=int(known.sum()),
        auc=roc_auc(values_of[known], labels[known] == 1),
        frame_auc=_over_frames(frames) if frames else None,
        scores=rows,
    )


def _over_frames(frames: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, float]:
    told = frame_auc([scores for scores, _ in frames], [labels > 0 for _, labels in frames])
    return {"micro": told.micro, "macro": told.macro, "frames": told.frames, "clips": told.clips}


def confusion_picture(path: Path, found: Accuracy, names: Sequence[str]) -> None:
    """Write the confusion matrix as a PNG: labels down, answers across, shares of each label's clips.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "analysis", "the picture of a confusion matrix") from error
    shares = found.confusion / np.maximum(1, found.confusion.sum(1, keepdims=True))
    count = len(shares)
    side = max(4.0, 0.32 * count + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(f"{found.head}: top-1 {found.top1:.1f} % of {found.clips} clips")
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    shown = [class_name(names, number) for number in range(count)]
    axes.set_xticks(range(count), shown, rotation=90)
    axes.set_yticks(range(count), shown)
    if count <= 20:
        for row, column in np.argwhere(found.confusion):
            dark = shares[row, column] > 0.5
            text = str(found.confusion[row, column])
            axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
