"""Where clips come from: checked video files, thinned and parted by class.

A source gives frames by their numbers; what becomes of them is the data set's.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from gradatim.data.random import keyed_generator
from gradatim.data.video import Clip, VideoFacts, read_clip, verify_video, video_facts
from gradatim.errors import DataError, unknown
from gradatim.systems.bombkd.datasets import Listing, VideoSample, read_mask
from gradatim.systems.bombkd.datasets.listing import NO_LABEL, refuse_problems
from gradatim.weights.digest import file_digest

Check = Literal["full", "headers"]

FRAME_LABELS = frozenset(("shanghaitech", "ucf-crime"))
"""Data sets that tell which frames of a test clip are abnormal."""


class ClipSource(Protocol):
    """Clips by number."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Unique name."""
        ...

    def label(self, index: int) -> int:
        """Number of the class; -1 for none."""
        ...

    def span(self, index: int) -> tuple[int, int]:
        """Number of the first frame, and how many there are."""
        ...

    def read(self, index: int, frames: NDArray[np.int64]) -> Clip:
        """Frames by their numbers: (len(frames), H, W, 3) uint8."""
        ...

    def abnormal(self, index: int) -> NDArray[np.bool_] | None:
        """Whether each frame of the clip is abnormal; None where nothing tells."""
        ...

    def digest(self) -> str:
        """Digest of everything that is read."""
        ...


@dataclass(frozen=True)
class FileClips:
    """Clips of video files; a `ClipSource`.

    Args:
        listing: the clips; their files are checked.
        frames: number of frames of each clip's whole file.
    """

    listing: Listing
    frames: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return self.listing.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        return self.listing.notes

    def __len__(self) -> int:
        return len(self.listing.samples)

    def name(self, index: int) -> str:
        """Path of the clip below its data set, with its first frame where that is not 0."""
        sample = self.listing.samples[index]
        return f"{sample.path}#{sample.start}" if sample.start else sample.path

    def label(self, index: int) -> int:
        """Number of the class; -1 for none."""
        return self.listing.samples[index].label

    def span(self, index: int) -> tuple[int, int]:
        """Number of the first frame, and how many there are."""
        sample, frames = self.listing.samples[index], self.frames[index]
        end = frames if sample.end is None else min(sample.end, frames)
        return sample.start, max(end - sample.start, 1)

    def read(self, index: int, frames: NDArray[np.int64]) -> Clip:
        """Frames by their numbers: (len(frames), H, W, 3) uint8."""
        return read_clip(self.listing.root / self.listing.samples[index].path, frames)

    def abnormal(self, index: int) -> NDArray[np.bool_] | None:
        """Whether each frame of the clip is abnormal; all of a normal clip are not; None where nothing tells."""
        sample, (start, count) = self.listing.samples[index], self.span(index)
        if sample.mask is not None:
            return _fitted(read_mask(self.listing.root / sample.mask), count)
        if sample.intervals is None and (self.listing.dataset not in FRAME_LABELS or sample.label != 0):
            return None
        abnormal = np.zeros(start + count, dtype=bool)
        for first, last in sample.intervals or ():
            abnormal[first : last + 1] = True
        return abnormal[start:]

    def digest(self) -> str:
        """Digest of the clips' names and labels and of the bytes of all files."""
        state = xxhash.xxh3_128()
        for sample in self.listing.samples:
            state.update(f"{sample.path} {sample.label} {sample.start} {sample.end} {sample.intervals}\n".encode())
            for path in _files(self.listing.root, sample):
                state.update(file_digest(path).encode())
        return state.hexdigest()


def check_clips(listing: Listing, skipped: Iterable[str], *, check: Check) -> FileClips:
    """Look at every file of a listing.

    Args:
        listing: the clips.
        skipped: paths of clips that are left out without a look at them.
        check: "headers" opens each file, counts its frames and decodes the first; "full" decodes it to its end.

    Raises:
        DataError: all files that are missing or unreadable; or a path in `skipped` names no file.
    """
    listing = _without(listing, frozenset(skipped))
    look = partial(_looked_at, listing.root, check)
    files = list(dict.fromkeys(sample.path for sample in listing.samples))
    # FFmpeg decodes without holding the interpreter's lock, so threads help.
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = dict(zip(files, pool.map(look, files), strict=True))
    wrong = [answer for answer in answers.values() if isinstance(answer, str)]
    frames = {path: answer.frames for path, answer in answers.items() if isinstance(answer, VideoFacts)}
    for sample in listing.samples:
        if sample.start >= frames.get(sample.path, sample.start + 1):
            wrong.append(f"{sample.path}: starts at frame {sample.start}, but has only {frames[sample.path]} frames.")
    if wrong:
        wrong.append("Mend the files, or name them in `skip_corrupt` to leave them out.")
    refuse_problems(f"{listing.root}, split {listing.split!r}", wrong, shown=1000)
    return FileClips(listing, tuple(frames[sample.path] for sample in listing.samples))


def part_by_class(samples: Sequence[VideoSample], share: float, *keys: str | int, spare: int = 0) -> list[bool]:
    """Choose a share of every class; what shows one scene is chosen as a whole.

    Args:
        samples: clips.
        share: of the groups of each class, rounded, and at least one.
        keys: of the random choice, which depends on them and on the names alone, not on the order of the clips.
        spare: how many groups of each class must not be chosen, whatever the share.

    Returns:
        Whether each clip is chosen.
    """
    groups: dict[int, set[str]] = {}
    for sample in samples:
        groups.setdefault(sample.label, set()).add(sample.group or sample.path)
    chosen: set[tuple[int, str]] = set()
    for label, names in groups.items():
        count = min(max(round(share * len(names)), 1), len(names) - spare)
        order = keyed_generator(*keys, label).permutation(len(names))
        chosen |= {(label, sorted(names)[place]) for place in order[:count]}
    return [(sample.label, sample.group or sample.path) in chosen for sample in samples]


def thinned(listing: Listing, keep: Sequence[bool]) -> Listing:
    """The listing with those clips alone that `keep` has True for."""
    return replace(listing, samples=tuple(s for s, kept in zip(listing.samples, keep, strict=True) if kept))


def _without(listing: Listing, skipped: frozenset[str]) -> Listing:
    """Leave clips out, and say so; say also how many have no label."""
    names = {sample.path for sample in listing.samples}
    wrong = [unknown("clip", path, names) for path in sorted(skipped - names) if not (listing.root / path).exists()]
    refuse_problems("skip_corrupt", wrong)
    listing = thinned(listing, [sample.path not in skipped for sample in listing.samples])
    if not listing.samples:
        raise DataError(f"{listing.root}, split {listing.split!r}: all clips are in `skip_corrupt`.")
    left = sorted(skipped & names)
    notes = [f"{len(left)} clip(s) left out as asked: {', '.join(left)}."] if left else []
    unlabelled = sum(sample.label == NO_LABEL for sample in listing.samples)
    notes += [f"{unlabelled} clip(s) have no label (-1)."] if unlabelled else []
    return replace(listing, notes=(*listing.notes, *notes))


def _looked_at(root: Path, check: Check, path: str) -> VideoFacts | str:
    try:
        return (verify_video if check == "full" else video_facts)(root / path)
    except DataError as error:
        return str(error)


def _files(root: Path, sample: VideoSample) -> list[Path]:
    path = root / sample.path
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return [*files, root / sample.mask] if sample.mask else files


def _fitted(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Frame labels for as many frames as the clip has; a label too few is the last one's."""
    return mask[:count] if len(mask) >= count else np.pad(mask, (0, count - len(mask)), mode="edge")
