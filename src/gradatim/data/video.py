"""Video files in and out, as clips: chosen frames of a file or of a folder of pictures, 8-bit RGB.

A clip is an array (T, H, W, 3) uint8. A file is decoded from its start, not by seeking, so that a frame's number means
the same in every container. Frames are turned upright as the file asks. A folder of pictures behaves like a file.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data.image import IMAGE_SUFFIXES, Picture, image_size, read_image
from gradatim.errors import DataError, MissingExtraError
from gradatim.files import replace_file

Clip = NDArray[np.uint8]

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"))

MISCOUNT = 2
"""Containers promise a frame or two more than decoders give; these then show the last frame."""

_CODECS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
_CODECS |= {".avi": "mpeg4"}
WRITTEN_SUFFIXES = frozenset(_CODECS)
"""Kinds of videos that `write_video` can write."""
_VP8_SHOWN = 0x10
_TIME_BASE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What a file says about itself.

    Args:
        frames: number of frames.
        fps: frames per second on average; None for a folder of pictures, and where the file does not tell.
        size: (height, width) of an upright frame.
        duration: in seconds; None where `fps` is.
    """

    frames: int
    fps: float | None
    size: tuple[int, int]
    duration: float | None


def frame_count(path: Path) -> int:
    """Number of frames of a video file, or of pictures in a folder; nothing is decoded.

    The file's header is believed where it has a count. Where it has none (.webm, .mkv), or where frames are cut off
    by an edit list, the packets of frames that are shown are counted.

    Raises:
        DataError: the file is missing, empty, damaged, without pictures, or without a single frame.
    """
    if path.is_dir():
        return len(_pictures(path))
    with _opened(path) as container:
        return _counted(path, container)


def frame_indices(total: int, n: int, start: int = 0) -> NDArray[np.int64]:
    """Numbers of `n` frames spread evenly over a clip, its first and last included; repeated where it is shorter.

    Args:
        total: frames of the clip, at least 1.
        n: how many, at least 1.
        start: number of the clip's first frame.

    Returns:
        (n,) int64, start + floor(linspace(0, total - 1, n)).

    Raises:
        DataError: `total` or `n` is below 1.
    """
    if total < 1 or n < 1:
        raise DataError(f"{n} frames of a clip of {total}: both numbers must be at least 1.")
    return start + np.floor(np.linspace(0, total - 1, n)).astype(np.int64)


def read_clip(path: Path, indices: Sequence[int] | NDArray[np.int64]) -> Clip:
    """Frames of a video file or of a folder of pictures, one for each index, in the order of the indices.

    Each frame is decoded and converted once, however often it is asked for.

    Args:
        path: a video file, or a folder whose pictures are the frames in the order of their names.
        indices: frame numbers from 0, in any order, with or without repeats.

    Returns:
        (len(indices), H, W, 3) uint8, RGB, upright.

    Raises:
        DataError: no index, a negative one, or one beyond the end by more than `MISCOUNT`; the file is missing, empty,
            damaged, truncated or without pictures; its frames change their size.
        MissingExtraError: PyAV is not installed.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if wanted.size == 0 or wanted.min() < 0:
        raise DataError(f"{path}: frame numbers {wanted.tolist()} are not a clip: needs one or more, from 0 up.")
    numbers = np.unique(wanted)
    found = _pictures_at(path, numbers) if path.is_dir() else _frames_at(path, numbers)
    shapes = sorted({frame.shape for frame in found})
    if len(shapes) > 1:
        sizes = ", ".join(f"{shape[0]} x {shape[1]}" for shape in shapes)
        raise DataError(f"{path}: its frames have {len(shapes)} sizes ({sizes}).")
    return np.stack(found)[np.searchsorted(numbers, wanted)]


def read_frames(path: Path) -> Iterator[Picture]:
    """Every frame of a video file or a folder of pictures, one after the other, each (H, W, 3) uint8, RGB, upright.

    Raises:
        DataError: the file is missing, empty, damaged, without pictures, or ends before its last frame.
        MissingExtraError: PyAV is not installed.
    """
    if path.is_dir():
        yield from (read_image(picture) for picture in _pictures(path))
        return
    with _opened(path) as container:
        promised = int(container.streams.video[0].frames)
        container.streams.video[0].codec_context.thread_count = 1
        count = 0
        for frame in container.decode(container.streams.video[0]):
            count += 1
            yield _upright(frame)
    if not count or count + MISCOUNT < promised:
        raise DataError(f"{path}: ends after {count} frames of {promised}: damaged or truncated.")


def video_facts(path: Path) -> VideoFacts:
    """Frames, rate, size and duration of a video file or a folder of pictures; decodes one frame of a file.

    Raises:
        DataError: as `read_clip`.
    """
    if path.is_dir():
        pictures = _pictures(path)
        return VideoFacts(frames=len(pictures), fps=None, size=image_size(pictures[0]), duration=None)
    with _opened(path) as container:
        frames = _counted(path, container)
        rate = container.streams.video[0].average_rate
    height, width, _ = _frames_at(path, np.zeros(1, np.int64))[0].shape
    fps = float(rate) if rate else None
    return VideoFacts(frames=frames, fps=fps, size=(height, width), duration=frames / fps if fps else None)


def has_sound(path: Path) -> bool:
    """Whether a video file has sound.

    Raises:
        DataError: the file is missing, empty, damaged or without pictures.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path) as container:
        return bool(container.streams.audio)


def verify_video(path: Path) -> VideoFacts:
    """Facts of a video that was decoded to its end.

    Raises:
        DataError: as `read_clip`; also for damage behind the first frame.
    """
    facts = video_facts(path)
    if path.is_dir():
        read_clip(path, range(facts.frames))
    else:
        _frames_at(path, np.array([facts.frames - 1]))
    return facts


def write_video(path: Path, frames: Clip | Iterable[Picture], fps: float, *, quality: int = 18) -> None:
    """Write frames as a video of the suffix's kind: whole, or not at all.

    Args:
        path: .mp4, .m4v, .mov and .mkv are written as H.264 (MPEG-4 where FFmpeg was built without it), .webm as VP9,
            .avi as MPEG-4.
        frames: (T, H, W, 3) uint8, or its frames one by one, all of one size.
        fps: frames per second.
        quality: 0 is lossless where the codec can, 18 hardly differs from the frames, 51 is worst.

    Raises:
        DataError: the suffix is none of these, there is no frame, or frames differ in size.
        MissingExtraError: PyAV is not installed.
    """
    if path.suffix.lower() not in _CODECS:
        raise DataError(f"{path}: cannot write {path.suffix!r} videos; known: {', '.join(sorted(_CODECS))}.")
    replace_file(path, lambda temporary: _encode(temporary, path, iter(frames), fps, quality))


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video", "reading and writing video") from error
    return av


def _pictures(folder: Path) -> list[Path]:
    """Frames of a folder, in the order of their names."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not found:
        raise DataError(f"{folder}: a folder without pictures is no clip.")
    return found


def _pictures_at(folder: Path, numbers: NDArray[np.int64]) -> list[Picture]:
    pictures = _pictures(folder)
    if numbers[-1] >= len(pictures):
        raise DataError(f"{folder}: frame {numbers[-1]} was asked for, but it holds {len(pictures)} pictures.")
    return [read_image(pictures[number]) for number in numbers]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file with a video stream; closed at the end, whatever happens."""
    av = _av()
    _refuse_nothing(path)
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise DataError(f"{path}: not a video that can be read, or a damaged one ({_cause(error)}).") from error
    with container:
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise DataError(f"{path}: has no pictures, only {kinds}.")
        try:
            yield container
        except av.FFmpegError as error:
            raise DataError(f"{path}: damaged or truncated ({_cause(error)}).") from error


def _refuse_nothing(path: Path) -> None:
    """Word what is wrong with a file that has no content."""
    try:
        size = path.stat().st_size
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise DataError(f"{path}: {'no such file' if missing else error.strerror}.") from error
    if size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes).")


def _cause(error: Exception) -> str:
    """What FFmpeg says, without the path that stands before it."""
    return str(getattr(error, "strerror", None) or error)


def _counted(path: Path, container: Any) -> int:
    stream = container.streams.video[0]
    frames, promised, end = 0, int(stream.frames), 0.0
    vp8 = stream.codec_context.name == "vp8"
    for packet in container.demux(stream):
        # An edit list makes the header count frames that no player shows.
        if promised and frames == 0 and not packet.is_discard:
            return promised
        if packet.size and not packet.is_discard:
            # VP8 keeps pictures that only others refer to in packets of their own.
            frames += not vp8 or bool(bytes(packet)[0] & _VP8_SHOWN)
            end = max(end, float((packet.pts or 0) * packet.time_base))
    if not frames:
        raise DataError(f"{path}: holds not a single frame.")
    promised_end = (container.duration or 0) / _TIME_BASE
    # Beside sound, pictures may rightly end early.
    if len(container.streams) == 1 and end + max(0.5, 0.02 * promised_end) < promised_end:
        raise DataError(f"{path}: truncated: ends after {end:.1f} of {promised_end:.1f} s.")
    return frames


def _frames_at(path: Path, numbers: NDArray[np.int64]) -> list[Picture]:
    """Frames by their sorted, unique numbers."""
    try:
        with _opened(path) as container:
            return _decoded(path, container, numbers)
    except DataError as error:
        found = _opencv_frames_at(path, numbers) if _unopened(error) else None
        if found is None:
            raise
        return found


def _unopened(error: DataError) -> bool:
    """Whether PyAV could not even open a file that has content, so that another build of FFmpeg may know better."""
    return isinstance(error.__cause__, ValueError) and "not a video" in str(error)


def _decoded(path: Path, container: Any, numbers: NDArray[np.int64]) -> list[Picture]:
    stream = container.streams.video[0]
    # Frames of a clip are decoded by one thread; clips are decoded by many workers.
    stream.codec_context.thread_count = 1
    found: list[Picture] = []
    frame, count = None, 0
    for frame in container.decode(stream):
        if count == numbers[len(found)]:
            found.append(_upright(frame))
            if len(found) == len(numbers):
                return found
        count += 1
    return _ended(path, found, None if frame is None else _upright(frame), count, numbers)


def _upright(frame: Any) -> Picture:
    picture: Picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, frame.rotation // 90)) if frame.rotation else picture


def _ended(
    path: Path, found: list[Picture], last: Picture | None, count: int, numbers: NDArray[np.int64]
) -> list[Picture]:
    """Frames of a file that ended before the last number: its last frame again, if it is only a miscount."""
    if last is None:
        raise DataError(f"{path}: not a single frame can be decoded: damaged or truncated.")
    if numbers[-1] >= count + MISCOUNT:
        raise DataError(f"{path}: ends after {count} frames, frame {numbers[-1]} was expected: damaged or truncated.")
    return found + [last] * (len(numbers) - len(found))


def _opencv_frames_at(path: Path, numbers: NDArray[np.int64]) -> list[Picture] | None:
    """Frames as OpenCV reads them; None if it is not installed or cannot open the file either."""
    try:
        import cv2
    except ImportError:
        return None
    capture = cv2.VideoCapture(str(path))
    found: list[Picture] = []
    last: Picture | None = None
    count = 0
    try:
        while len(found) < len(numbers):
            more, picture = capture.read()
            if not more:
                return None if last is None else _ended(path, found, last, count, numbers)
            last = np.ascontiguousarray(picture[:, :, ::-1])
            if count == numbers[len(found)]:
                found.append(last)
            count += 1
    finally:
        capture.release()
    return found


def _encode(temporary: Path, path: Path, frames: Iterator[Picture], fps: float, quality: int) -> None:
    """Encode into a file whose name does not tell its kind."""
    av = _av()
    suffix = path.suffix.lower()
    first = next(frames, None)
    if first is None:
        raise DataError(f"{path}: no frame to write.")
    container_format = {"mkv": "matroska", "m4v": "mp4"}.get(suffix[1:], suffix[1:])
    codec = _codec(av, suffix)
    with av.open(str(temporary), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = first.shape[:2]
        # Colors are stored at half the size, which H.264 and MPEG-4 can do for even sizes only.
        odd = bool(stream.height % 2 or stream.width % 2)
        stream.pix_fmt = "yuv444p" if odd and codec == "libx264" else "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = _codec_options(codec, quality)
        for picture in _chained(first, frames):
            if picture.shape != first.shape:
                raise DataError(f"{path}: a frame is {picture.shape}, the first one is {first.shape}.")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _codec(av: Any, suffix: str) -> str:
    """The encoder for a suffix; MPEG-4, which every build has, where this one cannot write H.264."""
    codec = _CODECS[suffix]
    return "mpeg4" if codec == "libx264" and codec not in av.codecs_available else codec


def _chained(first: Picture, others: Iterator[Picture]) -> Iterator[Picture]:
    yield first
    yield from others


def _codec_options(codec: str, quality: int) -> dict[str, str]:
    if codec == "libx264":
        return {"crf": str(quality), "preset": "veryfast"}
    if codec == "libvpx-vp9":
        return {"crf": str(quality), "b": "0", "deadline": "realtime", "cpu-used": "8"}
    return {"qscale": str(max(1, quality // 4)), "flags": "+qscale"}
