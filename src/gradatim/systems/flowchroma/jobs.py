"""Videos to color, and the files that results go to: found, checked and named before work starts.

A video is a file, or a folder whose pictures are its frames in the order of their numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gradatim.data.image import IMAGE_SUFFIXES, Picture, read_image, verify_image, write_image
from gradatim.data.video import VIDEO_SUFFIXES, WRITTEN_SUFFIXES, has_sound, read_frames, video_facts, write_video
from gradatim.errors import DataError, problems
from gradatim.systems.flowchroma.matching import References
from gradatim.systems.flowchroma.predict import Colorizer, has_colors
from gradatim.systems.flowchroma.references import saturated
from gradatim.systems.flowchroma.videos import folders_in, pictures_in, shortened

_LOSSLESS = frozenset((".png", ".bmp", ".tif", ".tiff", ".ppm"))
_USUAL_RATE = 25.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A video to color.

    Args:
        source: a video file, or a folder of frames.
        output: of the same kind.
        frames: how many.
        pictures: frames of a folder, in order; empty for a file.
        fps: frames per second of a file.
        sound: whether a file has sound, which is not written.
    """

    source: Path
    output: Path
    frames: int
    pictures: tuple[Path, ...] = ()
    fps: float = _USUAL_RATE
    sound: bool = False

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Files that will be written: a picture for each of a folder's, PNG where the input's format loses detail."""
        if not self.pictures:
            return (self.output,)
        kept = (path.suffix.lower() in _LOSSLESS for path in self.pictures)
        names = (path.name if keep else f"{path.stem}.png" for path, keep in zip(self.pictures, kept, strict=True))
        return tuple(self.output / name for name in names)


def plan_jobs(videos: Sequence[Path], out: Path, *, reference: Path | None = None) -> list[Job]:
    """Find videos, check them, and choose the names of the results; writes nothing.

    All pictures are decoded to their end; of a video file, the first frame.

    Args:
        videos: video files, folders of frames, and folders of both, which are not searched deeper.
        out: folder for the results, each under its video's name.
        reference: picture that all take their colors from; None for the first frame of each, which must have colors.

    Raises:
        DataError: all that is wrong with inputs and outputs, one line each.
        MissingExtraError: a video file is among them, and PyAV is not installed.
    """
    jobs: list[Job] = []
    wrong = _outside(videos, out)
    for path in videos:
        found, lines = _found(path)
        wrong += lines
        for source in found:
            try:
                jobs.append(_checked(source, out, own_reference=reference is None))
            except DataError as error:
                wrong.append(str(error))
    wrong += _clashes(jobs)
    if reference is not None:
        try:
            read_reference(reference)
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError(problems(f"{len(wrong)} problem(s) with what to color:", wrong))
    return jobs


def read_reference(path: Path, *, saturation: float = 1.0) -> Picture:
    """A reference picture, RGB, (H, W, 3) uint8.

    Args:
        path: an image file.
        saturation: 1 leaves its colors as they are, more makes them stronger, 0 would make them gray.

    Raises:
        DataError: it cannot be read, or is gray.
    """
    picture = saturated(read_image(path), saturation) if saturation != 1 else read_image(path)
    if not has_colors(picture):
        raise DataError(f"{path}: a gray picture has no colors to take.")
    return picture


def color_job(
    colorizer: Colorizer, job: Job, *, reference: References | None, step: Callable[[], object] = lambda: None
) -> None:
    """Color a video and write the result; a file stands under its name only when it is complete.

    Args:
        colorizer: with a trained model.
        job: from `plan_jobs`.
        reference: from `Colorizer.encode`; None for the video's first frame.
        step: called after each frame.

    Raises:
        DataError: the input has become unreadable, or is damaged behind its beginning.
    """
    if job.pictures:
        frames = (read_image(path) for path in job.pictures)
        job.output.mkdir(parents=True, exist_ok=True)
        for path, picture in zip(job.outputs, colorizer.color(frames, reference), strict=True):
            write_image(path, picture)
            step()
        return
    write_video(job.output, _counted(colorizer.color(read_frames(job.source), reference), step), job.fps)


def _counted(pictures: Iterator[Picture], step: Callable[[], object]) -> Iterator[Picture]:
    for picture in pictures:
        yield picture
        step()


def _outside(videos: Sequence[Path], out: Path) -> list[str]:
    """Why results cannot go to a folder."""
    if out.exists() and not out.is_dir():
        return [f"{out}: is a file; results need a folder."]
    folders = {(path.parent if path.is_file() else path).resolve() for path in videos}
    return [f"{out}: the inputs lie there; choose another folder for the results."] if out.resolve() in folders else []


def _found(path: Path) -> tuple[list[Path], list[str]]:
    """Videos that a path stands for, and what is wrong with it."""
    if path.is_file():
        if _is_video(path):
            return [path], []
        what = "a picture; name the folder of all frames" if path.suffix.lower() in IMAGE_SUFFIXES else "not a video"
        return [], [f"{path}: {what}."]
    if not path.is_dir():
        return [], [f"{path}: no such file or folder."]
    files = sorted(file for file in path.iterdir() if file.is_file() and _is_video(file))
    found = [*(folder for folder in (path, *folders_in(path)) if pictures_in(folder)), *files]
    return found, [] if found else [f"{path}: no frames, no folders of frames and no video in it."]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _checked(source: Path, out: Path, *, own_reference: bool) -> Job:
    if source.is_file():
        facts = video_facts(source)
        suffix = source.suffix if source.suffix.lower() in WRITTEN_SUFFIXES else ".mp4"
        output = out / f"{source.stem}{suffix}"
        fps = facts.fps or _USUAL_RATE
        job = Job(source=source, output=output, frames=facts.frames, fps=fps, sound=has_sound(source))
    else:
        pictures = tuple(pictures_in(source))
        with ThreadPoolExecutor(max_workers=4) as pool:
            lines = [line for line in pool.map(_problem, pictures) if line]
        if lines:
            raise DataError("\n  ".join(shortened(lines)))
        # The name of "." and "..", which have none of their own.
        job = Job(source=source, output=out / source.resolve().name, frames=len(pictures), pictures=pictures)
    if own_reference and not has_colors(_first_frame(job)):
        place = job.pictures[0] if job.pictures else source
        raise DataError(f"{place}: the first frame is gray; name a picture to take colors from with --reference.")
    return job


def _problem(path: Path) -> str | None:
    try:
        verify_image(path)
    except DataError as error:
        return str(error)
    return None


def _first_frame(job: Job) -> Picture:
    return read_image(job.pictures[0]) if job.pictures else next(read_frames(job.source))


def _clashes(jobs: Sequence[Job]) -> list[str]:
    """Results that would be written over each other, over an input, or where something of another kind is."""
    wrong = []
    inputs = {path.resolve() for job in jobs for path in (job.source, *job.pictures)}
    for output, count in Counter(job.output for job in jobs).items():
        sources = " and of ".join(str(job.source) for job in jobs if job.output == output)
        if count > 1:
            wrong.append(f"{output}: would hold the results of {sources}; color them into folders of their own.")
    for job in jobs:
        if job.output.resolve() in inputs:
            wrong.append(f"{job.output}: is an input, and would be overwritten.")
        elif job.output.exists() and job.output.is_dir() != bool(job.pictures):
            wrong.append(f"{job.output}: is {'a file' if job.pictures else 'a folder'}, and stands in the way.")
        twice = [path for path, count in Counter(job.outputs).items() if count > 1]
        wrong += [f"{path}: several frames of {job.source} have this name." for path in twice]
    return wrong
