"""How well a model colors the sequences of a data set, beside what needs no flow and no fusion.

Colored frames that are no nearer to the truth than gray ones, or than the colors that were matched, show that nothing
was learned; so both baselines are measured on the same sequences, always. The truth goes through LAB in whole numbers
as colored frames do, so that only colors differ.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatim.data.image import Picture, resize, write_image
from gradatim.errors import DataError
from gradatim.systems.flowchroma.color import levels_of_lab
from gradatim.systems.flowchroma.data import SequenceDataset
from gradatim.systems.flowchroma.metrics import DILATIONS, color_distribution_consistency, psnr, ssim
from gradatim.systems.flowchroma.parts.fusion import FusionNetwork
from gradatim.systems.flowchroma.validation import color_error, flicker

Compute = Callable[[str, Mapping[str, Tensor], Sequence[str]], Mapping[str, Tensor]]
"""(task, sample, wanted values) -> the values, as `compute` of a loaded model."""
Figures = Mapping[str, Mapping[str, float]]
"""method -> metric -> value."""

FUSED, MATCHED, GRAY, TRUTH = METHODS = ("fused", "matched", "gray", "truth")
NAMES = ("ssim", "psnr", "cdc", "color_error", "flicker")
MOST_PSNR = 100.0
LEAST_FRAMES = max(DILATIONS) + 1
_FIELDS = ("frames", "lightness", "references")
_GAP = 4


@dataclass(frozen=True)
class Judged:
    """Figures of one sequence.

    Args:
        name: of the sequence.
        video: that it is cut from.
        figures: of each method. CDC is absent where there are too few frames; the truth has nothing but CDC.
    """

    name: str
    video: str
    figures: Figures


@dataclass(frozen=True)
class Evaluation:
    """Figures of every sequence by every method.

    Args:
        sequences: in the order of the data set.
        notes: what a user should know of the figures, one sentence each.
        written: pictures.
    """

    sequences: tuple[Judged, ...]
    notes: tuple[str, ...] = ()
    written: tuple[Path, ...] = ()

    @property
    def videos(self) -> dict[str, dict[str, dict[str, float]]]:
        """Mean over the sequences of each video: video -> method -> metric -> value."""
        several: dict[str, list[Figures]] = {}
        for one in self.sequences:
            several.setdefault(one.video, []).append(one.figures)
        return {name: _means(each) for name, each in several.items()}

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Mean over the videos, each of which counts once however many sequences it has: method -> metric -> value."""
        return _means(list(self.videos.values()))

    def to_json(self) -> dict[str, Any]:
        """JSON values; a metric that could not be taken is absent."""
        return {
            "means": self.means,
            "videos": self.videos,
            "sequences": [
                {"name": one.name, "video": one.video, "figures": {name: dict(x) for name, x in one.figures.items()}}
                for one in self.sequences
            ],
            "notes": list(self.notes),
        }


def evaluate_coloring(
    compute: Compute,
    fusion: FusionNetwork,
    dataset: SequenceDataset,
    *,
    out: Path | None = None,
    pictures: int = 4,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Evaluation:
    """Color all sequences of a data set, and compare them with the truth.

    SSIM and PSNR are means over frames in 8-bit RGB, where no frame counts for more than 100 dB, so that an equal one
    does not make the mean infinite. CDC is taken of sequences of 5 frames or more. Color error and flicker are in
    levels of a and b.

    Args:
        compute: of a loaded model that has all of `predict.PARTS`.
        fusion: its part, which knows what the network of flows is shown.
        dataset: sequences with references, none of them augmented.
        out: folder for pictures of some sequences; see `sheet`.
        pictures: how many of them, evenly spread.
        device: where the model is.
        progress: receives (sequences done, sequences in all), at the start and after each.

    Raises:
        DataError: the samples hold no references, or a file has become unreadable.
        MissingExtraError: OpenCV is not installed.
    """
    if any(field not in dataset.fields for field in _FIELDS):
        raise DataError("these samples hold frames alone; coloring needs references: set data.samples to fusion")
    count, judged = len(dataset), []
    drawn = {(2 * i + 1) * count // (2 * pictures) for i in range(pictures)} if out is not None else set()
    written: list[Path] = []
    progress(0, count)
    for index in range(count):
        sample = {name: value[None].to(device) for name, value in dataset.sample(index, _FIELDS, None).items()}
        made = compute("fuse_alone", sample, ("fused", "matched"))
        colored = proposals(sample["frames"], made["fused"], made["matched"])
        frames = {method: [levels_of_lab(lab) for lab in labs[0]] for method, labs in colored.items()}
        figures = figures_of(colored, frames)
        judged.append(Judged(dataset.name(index), dataset.windows[index].video.name, figures))
        if out is not None and index in drawn:
            plain = re.sub(r"[^\w.-]+", "-", dataset.name(index))
            written.append(out / f"{index:05d}-{plain}.png")
            write_image(written[-1], sheet(frames, [levels_of_lab(lab) for lab in sample["references"][0]]))
        progress(index + 1, count)
    return Evaluation(tuple(judged), tuple(_notes(fusion, dataset)), tuple(written))


def proposals(frames: Tensor, fused: Tensor, matched: Tensor) -> dict[str, Tensor]:
    """What is compared: LAB (B, T, 3, H, W) by each of `METHODS`.

    Args:
        frames: true, (B, T, 3, H, W).
        fused: as the model colored them, in the same shape.
        matched: colors of references, (B, T, 2, H, W).
    """
    lightness = frames[:, :, :1]
    gray = torch.zeros_like(matched)
    return {
        FUSED: fused,
        MATCHED: torch.cat([lightness, matched], dim=2),
        GRAY: torch.cat([lightness, gray], dim=2),
        TRUTH: frames,
    }


def figures_of(colored: Mapping[str, Tensor], frames: Mapping[str, Sequence[Picture]]) -> Figures:
    """All figures of one sequence.

    Args:
        colored: LAB (1, T, 3, H, W) by each of `METHODS`.
        frames: the same as T pictures.
    """
    true, found = frames[TRUTH], {}
    for method, ours in frames.items():
        values = {}
        if method != TRUTH:
            pairs = list(zip(ours, true, strict=True))
            values["ssim"] = float(np.mean([ssim(*pair) for pair in pairs]))
            values["psnr"] = float(np.mean([bounded_psnr(*pair) for pair in pairs]))
            values["color_error"] = float(color_error(colored[method], colored[TRUTH]))
            values["flicker"] = float(flicker(colored[method], colored[TRUTH]))
        if len(ours) >= LEAST_FRAMES:
            values["cdc"] = color_distribution_consistency(ours)
        found[method] = {name: values[name] for name in NAMES if name in values}
    return found


def bounded_psnr(frame: Any, target: Any) -> float:
    """PSNR in dB, but at most 100, which a single wrong level in a frame of 224 x 224 just misses."""
    return min(psnr(frame, target), MOST_PSNR)


def sheet(frames: Mapping[str, Sequence[Picture]], references: Sequence[Picture]) -> Picture:
    """One picture of a sequence: a row each of true, gray, matched and fused frames, and of references.

    Args:
        frames: of each method, (H, W, 3) each.
        references: of any size; they are brought to the height of frames.
    """
    height = frames[TRUTH][0].shape[0]
    lasts = [resize(one, (height, round(one.shape[1] * height / one.shape[0]))) for one in references]
    rows = [*(frames[method] for method in (TRUTH, GRAY, MATCHED, FUSED)), lasts]
    width = max(sum(one.shape[1] + _GAP for one in row) - _GAP for row in rows)
    made: Picture = np.full((len(rows) * (height + _GAP) - _GAP, width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        top, left = number * (height + _GAP), 0
        for one in row:
            made[top : top + height, left : left + one.shape[1]] = one
            left += one.shape[1] + _GAP
    return made


def _notes(fusion: FusionNetwork, dataset: SequenceDataset) -> list[str]:
    notes, length = [], dataset.settings.length
    if fusion.carrying.target_ab == "ground_truth":
        notes.append(
            "the network of flows was shown the true colors of the frames that it leads to (target_colors: "
            "ground_truth), which no gray video has: fused frames of one will be worse than these."
        )
    if length < LEAST_FRAMES:
        notes.append(f"no CDC: it needs sequences of {LEAST_FRAMES} frames or more, and these have {length}.")
    return notes


def _means(several: Sequence[Figures]) -> dict[str, dict[str, float]]:
    """Mean of each metric of each method, over those that have it."""
    found: dict[str, dict[str, float]] = {}
    for method in METHODS:
        values = {name: [one[method][name] for one in several if name in one[method]] for name in NAMES}
        found[method] = {name: float(np.mean(each)) for name, each in values.items() if each}
    return found
