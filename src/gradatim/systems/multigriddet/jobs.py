"""Pictures and videos to look at, and the files that results go to: found, checked and named before work starts."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gradatim.data.image import IMAGE_SUFFIXES, verify_image
from gradatim.data.video import VIDEO_SUFFIXES, VideoFacts, video_facts
from gradatim.errors import DataError, PlanError, problems, unknown

Format = Literal["json", "coco", "yolo"]
FORMATS: tuple[Format, ...] = ("json", "coco", "yolo")
_WRITTEN = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"))
_SHOWN = 50


@dataclass(frozen=True)
class Job:
    """A picture or a video.

    Args:
        source: the file.
        name: its path below the folder that was named, or the file's own name; unique.
        drawn: file for the picture or video with boxes.
        labels: file for the text of a picture's boxes; the folder for a video's.
        facts: of a video; None for a picture.
    """

    source: Path
    name: str
    drawn: Path
    labels: Path
    facts: VideoFacts | None = None


@dataclass(frozen=True)
class Jobs:
    """What is to be done.

    Args:
        pictures, videos: in the order of their names, folder by folder.
        skipped: files in the folders that are neither.
    """

    pictures: tuple[Job, ...]
    videos: tuple[Job, ...]
    skipped: tuple[Path, ...]

    def __iter__(self) -> Iterator[Job]:
        yield from self.pictures
        yield from self.videos


@dataclass
class _Found:
    files: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def plan_jobs(paths: Sequence[Path], out: Path, *, draw: bool = True, formats: Sequence[str] = ("json",)) -> Jobs:
    """Find pictures and videos, decode all pictures once, and choose the names of the results; writes nothing.

    Args:
        paths: pictures, videos, and folders of both at any depth; `out` inside one of them is left out.
        out: folder for the results.
        draw: whether pictures and videos with boxes will be written.
        formats: of the results, any of `FORMATS`.

    Raises:
        PlanError: a format is unknown.
        DataError: all that is wrong with inputs and outputs, one line each.
    """
    strange = [unknown("format", name, FORMATS) for name in formats if name not in FORMATS]
    if strange:
        raise PlanError("\n".join(strange))
    found = _Found()
    for path in paths:
        _look(path, out, found)
    files = list(dict.fromkeys(found.files))
    wrong = found.wrong + _outside(files, paths, out)
    with ThreadPoolExecutor(max_workers=4) as pool:
        checked = list(pool.map(lambda one: _checked(one[0], one[1], out), files))
    wrong += [one for one in checked if isinstance(one, str)]
    jobs = [one for one in checked if isinstance(one, Job)]
    wrong += _clashes(jobs, draw=draw, labels="yolo" in formats)
    if wrong:
        more = [f"... and {len(wrong) - _SHOWN} more."] if len(wrong) > _SHOWN else []
        raise DataError(problems(f"{len(wrong)} problem(s) with what to look at:", [*wrong[:_SHOWN], *more]))
    return Jobs(
        pictures=tuple(job for job in jobs if job.facts is None),
        videos=tuple(job for job in jobs if job.facts is not None),
        skipped=tuple(found.skipped),
    )


def _look(path: Path, out: Path, found: _Found) -> None:
    """Add a file, or what a folder holds."""
    if path.is_file():
        found.files.append((path, path.name))
        return
    if not path.is_dir():
        found.wrong.append(f"{path}: no such file or folder.")
        return
    own = out.resolve()
    before = len(found.files)
    for file in sorted(path.rglob("*")):
        inside = own != path.resolve() and file.resolve().is_relative_to(own)
        if not file.is_file() or inside:
            continue
        if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not file.name.startswith("."):
            found.files.append((file, file.relative_to(path).as_posix()))
        else:
            found.skipped.append(file)
    if len(found.files) == before:
        found.wrong.append(f"{path}: no picture and no video in it.")


def _outside(files: Sequence[tuple[Path, str]], paths: Sequence[Path], out: Path) -> list[str]:
    """Why results cannot go to a folder."""
    if out.exists() and not out.is_dir():
        return [f"{out}: is a file; results need a folder."]
    folders = {path.resolve() for path in paths if path.is_dir()} | {file.resolve().parent for file, _ in files}
    return [f"{out}: the inputs lie there; choose another folder for the results."] if out.resolve() in folders else []


def _checked(file: Path, name: str, out: Path) -> Job | str:
    """A job for a file that can be read; else what is wrong with it."""
    below = Path(name)
    facts = None
    try:
        if file.suffix.lower() in VIDEO_SUFFIXES:
            facts = video_facts(file)
        else:
            verify_image(file)
    except DataError as error:
        return str(error)
    kept = below.suffix.lower() in _WRITTEN
    drawn = below.with_suffix(".mp4") if facts else below if kept else below.with_suffix(".png")
    labels = out / "labels" / (below.with_suffix("") if facts else below.with_suffix(".txt"))
    return Job(source=file, name=name, drawn=out / drawn, labels=labels, facts=facts)


def _clashes(jobs: Sequence[Job], *, draw: bool, labels: bool) -> list[str]:
    """Results that would be written over each other or over an input."""
    inputs = {job.source.resolve() for job in jobs}
    writers: dict[str, list[str]] = defaultdict(list)
    wrong = []
    for job in jobs:
        outputs = [*([job.drawn] if draw else []), *([job.labels] if labels else [])]
        wrong += [f"{path}: is an input, and would be overwritten." for path in outputs if path.resolve() in inputs]
        for output in [str(path) for path in outputs] or [job.name]:
            writers[output].append(str(job.source))
    wrong += [
        f"{name}: would hold the results of {' and of '.join(sources)}; look at them one after the other."
        for name, sources in writers.items()
        if len(sources) > 1
    ]
    return wrong
