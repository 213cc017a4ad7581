"""Colored frames in folders against true ones, scene by scene, as published comparisons take them.

SSIM and PSNR are taken at 224 x 224 (`metrics.resized_for_comparison`), CDC of colored frames at their own size.
Published comparisons further take LPIPS and FID, whose networks are not part of gradatim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.data.image import Picture, read_image
from gradatim.errors import DataError, problems
from gradatim.systems.flowchroma.evaluate import LEAST_FRAMES, bounded_psnr
from gradatim.systems.flowchroma.metrics import color_distribution_consistency, resized_for_comparison, ssim
from gradatim.systems.flowchroma.videos import folders_in, pictures_in, shortened

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Spread:
    """A mean, and the standard deviation (by n) of what it is over."""

    mean: float
    std: float


@dataclass(frozen=True)
class Scene:
    """Figures of one scene.

    Args:
        name: of its folder.
        frames: how many were compared.
        ssim, psnr: over the frames; one of 100 dB or more, such as an equal one, counts as 100 dB.
        cdc: of colored frames; None of fewer than 5.
        true_cdc: of the true ones, likewise.
    """

    name: str
    frames: int
    ssim: Spread
    psnr: Spread
    cdc: float | None
    true_cdc: float | None


@dataclass(frozen=True)
class Comparison:
    """Figures of every scene.

    Args:
        scenes: sorted by name.
        notes: what was not compared, one sentence each.
    """

    scenes: tuple[Scene, ...]
    notes: tuple[str, ...] = ()

    @property
    def over_scenes(self) -> dict[str, Spread]:
        """Of the scenes' means, by metric; CDC over those scenes that have it, and absent if none has."""
        values = {
            "ssim": [one.ssim.mean for one in self.scenes],
            "psnr": [one.psnr.mean for one in self.scenes],
            "cdc": [one.cdc for one in self.scenes if one.cdc is not None],
            "true_cdc": [one.true_cdc for one in self.scenes if one.true_cdc is not None],
        }
        return {name: _spread(each) for name, each in values.items() if each}

    def to_json(self) -> dict[str, Any]:
        """JSON values; null for CDC that could not be taken."""
        return {
            "over_scenes": {name: vars(one) for name, one in self.over_scenes.items()},
            "scenes": [{**vars(one), "ssim": vars(one.ssim), "psnr": vars(one.psnr)} for one in self.scenes],
            "notes": list(self.notes),
        }


def compare_folders(
    colored: Path, true: Path, *, progress: Callable[[int, int], object] = lambda done, of: None
) -> Comparison:
    """Compare colored frames with the true frames of the same names.

    Args:
        colored: a folder with a folder of frames for each scene.
        true: the same of true frames. Scenes and frames that were not colored are noted and left out.
        progress: receives (frames done, frames in all), at the start and after each.

    Raises:
        DataError: all colored scenes and frames without a true one, names that two files share, or a damaged file.
        MissingExtraError: OpenCV is not installed.
    """
    matched, notes = match_scenes(colored, true)
    total, done, scenes = sum(len(pairs) for pairs in matched.values()), 0, []
    progress(0, total)
    for name, pairs in matched.items():
        similar, noise = [], []
        for files in pairs:
            ours, theirs = (resized_for_comparison(read_image(file)) for file in files)
            similar.append(ssim(ours, theirs))
            noise.append(bounded_psnr(ours, theirs))
            done += 1
            progress(done, total)
        cdc, true_cdc = (_consistency(files) for files in zip(*pairs, strict=True))
        scenes.append(Scene(name, len(pairs), _spread(similar), _spread(noise), cdc, true_cdc))
    short = [one.name for one in scenes if one.cdc is None]
    if short:
        notes.append(f"no CDC, which needs {LEAST_FRAMES} frames or more, of scene(s) {_listed(short)}.")
    return Comparison(tuple(scenes), tuple(notes))


def match_scenes(colored: Path, true: Path) -> tuple[dict[str, list[Pair]], list[str]]:
    """Files of each scene, (colored, true) by the name before the suffix, in the order of frames; and notes.

    Raises:
        DataError: everything that does not match, one line each.
    """
    wrong = [f"{folder}: no such folder." for folder in (colored, true) if not folder.is_dir()]
    if wrong:
        raise DataError(problems("the frames cannot be compared:", wrong))
    ours, theirs = (_scenes(folder, wrong) for folder in (colored, true))
    wrong += [f"{below}: holds no picture." for below in folders_in(colored) if below.name not in ours]
    if not ours:
        wrong.append(f"{colored}: has no folder of pictures, one for each scene.")
    matched, notes = {}, []
    for name, files in ours.items():
        if name not in theirs:
            wrong.append(f"{colored / name}: there is no scene of this name in {true}.")
            continue
        others = theirs[name]
        wrong += shortened([f"{path}: no true frame of this name." for key, path in files.items() if key not in others])
        matched[name] = [(path, others[key]) for key, path in files.items() if key in others]
        left = [path.name for key, path in others.items() if key not in files]
        if left:
            notes.append(f"scene {name!r}: {len(left)} of {len(others)} true frames were not colored: {_listed(left)}.")
    absent = [name for name in theirs if name not in ours]
    if absent:
        notes.append(f"{len(absent)} of {len(theirs)} true scenes were not colored: {_listed(absent)}.")
    if wrong:
        raise DataError(problems("the frames cannot be compared:", wrong))
    return matched, notes


def holds_scenes(folder: Path) -> bool:
    """Whether a folder has no pictures itself, but folders of them."""
    return folder.is_dir() and not pictures_in(folder) and any(pictures_in(below) for below in folders_in(folder))


def _scenes(folder: Path, wrong: list[str]) -> dict[str, dict[str, Path]]:
    """Pictures by their name, of each folder that has any; two of one name are added to what is wrong."""
    found: dict[str, dict[str, Path]] = {}
    for below in folders_in(folder):
        for path in pictures_in(below):
            files = found.setdefault(below.name, {})
            if path.stem in files:
                wrong.append(f"{below}: {files[path.stem].name!r} and {path.name!r} have the same name.")
            files[path.stem] = path
    return found


def _consistency(files: Sequence[Path]) -> float | None:
    return color_distribution_consistency(_Read(files)) if len(files) >= LEAST_FRAMES else None


class _Read(Sequence[Picture]):
    """Pictures of files, read when they are asked for: those of a long scene need not fit into memory."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        return read_image(self.files[index])


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
