"""Classify video files with a trained model: the most probable classes, and how far each teacher's gate is open."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradatim.data.image import IMAGE_SUFFIXES
from gradatim.data.video import VIDEO_SUFFIXES, frame_count, frame_indices, read_clip
from gradatim.errors import DataError, WeightsError, problems
from gradatim.systems.bombkd.data import View, prepare
from gradatim.systems.bombkd.model import BombKDSettings
from gradatim.systems.bombkd.samples import with_views

Compute = Callable[[str, Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
"""(task, sample with a batch axis, wanted values) -> values: the `compute` of a loaded model."""

_FUSED = ("student", "converters", "fusion")
_ALONE = ("student", "probe")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says of a clip.

    Args:
        path: of the clip.
        classes: (name, probability) of the most probable classes, the best first.
        gates: mean gate of each teacher, 0 closed to 1 open; empty for the student alone.
    """

    path: Path
    classes: tuple[tuple[str, float], ...]
    gates: Mapping[str, float]


def task_for(parts: Sequence[str], settings: BombKDSettings) -> str:
    """The task that a model's parts can do: with converters and fusion, or the student alone.

    Raises:
        WeightsError: neither.
    """
    if all(part in parts for part in _FUSED) and settings.head != "none":
        return "classify"
    if all(part in parts for part in _ALONE):
        return "probe"
    lacking = [part for part in _FUSED if part not in parts]
    raise WeightsError(
        f"this model cannot classify: it has {', '.join(parts) or 'no parts'} and lacks "
        f"{', '.join(lacking) or 'a class head'} (or a student and a probe)"
    )


def find_clips(paths: Sequence[Path]) -> list[Path]:
    """Video files, and folders of frames, below the given paths, in order.

    Raises:
        DataError: a path that does not exist, or holds none, each named.
    """
    found: list[Path] = []
    wrong: list[str] = []
    for path in paths:
        clips = list(_clips(path))
        if not path.exists():
            wrong.append(f"{path}: no such file or folder")
        elif not clips:
            wrong.append(f"{path}: no video ({', '.join(sorted(VIDEO_SUFFIXES))}) and no folder of frames in it")
        found += clips
    if wrong:
        raise DataError(problems("nothing to classify there:", wrong))
    return list(dict.fromkeys(found))


def _clips(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        return
    inside = sorted(path.iterdir())
    if any(one.suffix.lower() in IMAGE_SUFFIXES for one in inside):
        yield path
    for one in inside:
        if one.is_dir():
            yield from _clips(one)
        elif one.suffix.lower() in VIDEO_SUFFIXES:
            yield one


def student_view(settings: BombKDSettings) -> View:
    """Frames and sizes that the student takes.

    Raises:
        WeightsError: the student is known by stored features only.
    """
    view = with_views(settings, {}).get("student")
    if view is None:
        raise WeightsError("this model's student is known by stored features alone; videos need its backbone")
    return View.model_validate(view)


def read_student_clip(path: Path, view: View) -> Tensor:
    """Frames of a video as the student sees them, (T, 3, H, W) uint8."""
    frames = read_clip(path, frame_indices(frame_count(path), view.frames))
    return prepare(torch.from_numpy(frames), view.resize, view.crop)


def classify_clips(
    compute: Compute,
    settings: BombKDSettings,
    parts: Sequence[str],
    paths: Sequence[Path],
    *,
    device: torch.device | str = "cpu",
    top: int = 5,
    batch_size: int = 4,
    classes: Sequence[str] = (),
) -> Iterator[Answer | tuple[Path, str]]:
    """Classify clips.

    Args:
        compute: of the loaded model.
        settings: of the model.
        parts: that it has.
        paths: from `find_clips`.
        device: where the model is.
        top: number of classes to tell.
        batch_size: clips at once.
        classes: their names, where the settings tell none.

    Yields:
        An answer for each clip, in order; (path, what is wrong) for one that cannot be read.
    """
    task, view = task_for(parts, settings), student_view(settings)
    names = settings.class_names or tuple(classes)
    for start in range(0, len(paths), batch_size):
        clips: dict[Path, Tensor] = {}
        told: dict[Path, Answer | tuple[Path, str]] = {}
        for path in paths[start : start + batch_size]:
            try:
                clips[path] = read_student_clip(path, view)
            except DataError as error:
                told[path] = (path, str(error))
        if clips:
            batch = {"student_clip": torch.stack(list(clips.values())).to(device)}
            values = compute(task, batch, ("logits", "gates"))
            told |= {answer.path: answer for answer in _answers(values, settings, list(clips), task, top, names)}
        yield from (told[path] for path in paths[start : start + batch_size])


def _answers(
    values: Mapping[str, Any],
    settings: BombKDSettings,
    paths: Sequence[Path],
    task: str,
    top: int,
    names: Sequence[str],
) -> Iterator[Answer]:
    probabilities = values["logits"].float().softmax(dim=1).cpu()
    best = probabilities.topk(min(top, probabilities.shape[1]), dim=1)
    teachers = list(settings.teachers) if task == "classify" else []
    gates = values["gates"].float().mean(dim=1).cpu()
    for row, path in enumerate(paths):
        pairs = zip(best.indices[row].tolist(), best.values[row].tolist(), strict=True)
        yield Answer(
            path=path,
            classes=tuple((class_name(names, number), share) for number, share in pairs),
            gates=dict(zip(teachers, gates[row].tolist(), strict=False)),
        )


def class_name(names: Sequence[str], number: int) -> str:
    """Name of a class, or its number where no names are known."""
    return names[number] if number < len(names) else f"class {number}"
