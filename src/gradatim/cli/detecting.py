"""What `detect`, `evaluate` and `export` share: a trained detector, and its way over files with a bar."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.cli.output import stderr

if TYPE_CHECKING:
    from gradatim.data.image import Picture
    from gradatim.engine.model import Model
    from gradatim.systems.multigriddet.jobs import Job, Jobs
    from gradatim.systems.multigriddet.predict import Detections, Search
    from gradatim.systems.multigriddet.results import Result


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A model, ready.

    Args:
        model: on the device.
        device: where it is.
        size: (height, width) of its input.
        names: of its classes.
    """

    model: "Model"
    device: Any
    size: tuple[int, int]
    names: tuple[str, ...]


def detector(target: Path, settings: dict[str, object], *, device: str | None, size: str | None = None) -> Detector:
    """Load a detector from a run, a file of ours or a foreign one.

    Raises:
        WeightsError: it is no detector, or lacks parts.
        PlanError: the size is none.
    """
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model, need_parts
    from gradatim.errors import WeightsError
    from gradatim.systems.multigriddet.predict import PARTS, class_names, input_size

    place = this_place(device)
    chosen = None if size is None else input_size(size)
    loaded = load_model(target, system="multigriddet", settings=settings)
    if loaded.system.name != "multigriddet":
        raise WeightsError(f"{target}: is a model of {loaded.system.name}, not of multigriddet")
    need_parts(loaded, PARTS, "detecting")
    return Detector(
        model=loaded.to(place.device),
        device=place.device,
        size=chosen or loaded.settings.image_size,
        names=class_names(loaded.settings, loaded.classes),
    )


def look(one: Detector, jobs: "Jobs", search: "Search", *, draw: bool, batch_size: int) -> "list[Result]":
    """Find the objects of all pictures and frames, draw them, and give them back in order."""
    from rich.progress import Progress

    frames = sum(job.facts.frames for job in jobs.videos if job.facts is not None)
    with Progress(console=stderr(), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("detecting", total=len(jobs.pictures) + frames)
        step = partial(progress.advance, task)
        return list(_results(one, jobs, search, draw=draw, batch_size=batch_size, step=step))


def _results(
    one: Detector, jobs: "Jobs", search: "Search", *, draw: bool, batch_size: int, step: Callable[[], object]
) -> "Iterator[Result]":
    from gradatim.data.image import read_image, write_image
    from gradatim.systems.multigriddet.drawing import draw_objects
    from gradatim.systems.multigriddet.predict import detect_pictures
    from gradatim.systems.multigriddet.results import Result

    how: dict[str, Any] = {"size": one.size, "search": search, "batch_size": batch_size, "device": one.device}
    predict: Any = one.model.parts["predict"]
    pictures = (read_image(job.source) for job in jobs.pictures)
    found = detect_pictures(one.model.compute, predict, pictures, **how)
    for job, (picture, objects) in zip(jobs.pictures, found, strict=True):
        if draw:
            write_image(job.drawn, draw_objects(picture, objects, one.names))
        step()
        yield Result(name=job.name, size=picture.shape[:2], found=objects, labels=job.labels)
    for job in jobs.videos:
        yield from _frames(one, job, draw=draw, how=how, step=step)


def _frames(
    one: Detector, job: "Job", *, draw: bool, how: dict[str, Any], step: Callable[[], object]
) -> "Iterator[Result]":
    """Results of a video's frames, given when all of it is written."""
    from gradatim.data.video import read_frames, write_video
    from gradatim.systems.multigriddet.drawing import draw_objects
    from gradatim.systems.multigriddet.predict import detect_pictures
    from gradatim.systems.multigriddet.results import Result

    assert job.facts is not None
    fps = job.facts.fps or 25.0
    results: list[Result] = []
    predict: Any = one.model.parts["predict"]

    def drawn() -> "Iterator[Picture]":
        pairs: Iterator[tuple[Picture, Detections]] = detect_pictures(
            one.model.compute, predict, read_frames(job.source), **how
        )
        for number, (picture, found) in enumerate(pairs):
            labels = job.labels / f"{number:06d}.txt"
            results.append(
                Result(name=job.name, size=picture.shape[:2], found=found, labels=labels, frame=number, fps=fps)
            )
            step()
            yield draw_objects(picture, found, one.names) if draw else picture

    if draw:
        write_video(job.drawn, drawn(), fps)
    else:
        for _ in drawn():
            pass
    yield from results
