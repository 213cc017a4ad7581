"""Fused pictures from files: all inputs are checked first, then one result after the other is written.

Modes: "native" keeps resolution and color, only luminance is fused, in tiles; "resize" squashes the picture
into one tile and the fused luminance back; "original" and "record" do as the published scripts did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from gradatim.data.color import WEIGHTS, exchange_luminance
from gradatim.data.image import IMAGE_SUFFIXES, Deep, Picture, encode_image, read_image, resize, write_file
from gradatim.errors import DataError, problems, unknown
from gradatim.systems.maefuse.original import can_write, encode_bgr, fuse_original, opencv, read_bgr
from gradatim.systems.maefuse.pairs import Check, Pair, check_pairs, find_pairs, match_files
from gradatim.systems.maefuse.tiles import Fuse, Plane, call, fuse_tiled

Mode = Literal["native", "resize", "original", "record"]
ORIGINAL_MODES: tuple[Mode, ...] = ("original", "record")


@dataclass(frozen=True)
class Job:
    """One picture to fuse.

    Args:
        pair: the two inputs.
        output: file to write.
    """

    pair: Pair
    output: Path


def plan_jobs(
    visible: Path,
    infrared: Path | None,
    output: Path,
    *,
    mode: Mode = "native",
    deep: Deep = "divide",
    check: Check = "full",
) -> list[Job]:
    """Find the inputs, check them, and choose the names of the outputs; writes nothing.

    Args:
        visible: a file, or a folder; or, without `infrared`, a folder with `vi/` and `ir/`.
        infrared: a file if `visible` is one, else a folder.
        output: folder, which need not exist; or, for two files, the file to write. Modes "native" and "resize" write
            PNG into a folder; the others write the visible picture's name and format.
        mode: how the pictures will be fused.
        deep: as for `read_image`.
        check: "full" decodes each input to its end.

    Raises:
        DataError: all that is wrong with inputs and outputs, one line each.
        MissingExtraError: the mode needs OpenCV.
    """
    if mode not in get_args(Mode):
        raise DataError(unknown("mode", mode, get_args(Mode)))
    if mode in ORIGINAL_MODES:
        opencv()
    pairs, wrong = _inputs(visible, infrared)
    wrong += check_pairs(pairs, check=check, deep=deep)[1]
    jobs = [Job(pair, _output(pair, output, mode, single=visible.is_file())) for pair in pairs]
    wrong += _output_problems(jobs, output, mode)
    if wrong:
        raise DataError(problems(f"{len(wrong)} problem(s) with what to fuse:", wrong))
    return jobs


def fuse_pairs(
    jobs: Sequence[Job],
    fuse: Fuse,
    *,
    size: tuple[int, int],
    mode: Mode = "native",
    overlap: float = 0.5,
    batch_size: int = 4,
    device: torch.device | str = "cpu",
    deep: Deep = "divide",
) -> Iterator[Job]:
    """Fuse one pair after the other, write each result at once, and give each job back when it is done.

    Args:
        jobs: from `plan_jobs` with the same mode.
        fuse: visible and infrared (B, 3, h, w) float32 in [0, 1] -> fused, same shape, not bounded.
        size: (h, w) that the model was trained at.
        mode: see the module.
        overlap: of neighboring tiles, as a share of a tile; for mode "native".
        batch_size: tiles at once; for mode "native".
        device: where the model is.
        deep: as for `read_image`; the original modes read as OpenCV does.
    """
    place: dict[str, Any] = {"size": size, "device": device}
    methods = {
        "native": partial(fuse_native, overlap=overlap, batch_size=batch_size, **place),
        "resize": partial(fuse_resized, **place),
        "original": partial(fuse_original, rounding="truncate", **place),
        "record": partial(fuse_original, rounding="round", **place),
    }
    read = read_bgr if mode in ORIGINAL_MODES else partial(read_image, deep=deep)
    encode = encode_bgr if mode in ORIGINAL_MODES else encode_image
    for job in jobs:
        try:
            fused = methods[mode](read(job.pair.visible), read(job.pair.infrared), fuse)
        except DataError as error:
            raise DataError(f"pair {job.pair.name!r}: {error}") from error
        job.output.parent.mkdir(parents=True, exist_ok=True)
        write_file(job.output, encode(job.output, fused))
        yield job


def fuse_native(
    visible: Picture,
    infrared: Picture,
    fuse: Fuse,
    *,
    size: tuple[int, int],
    overlap: float = 0.5,
    batch_size: int = 4,
    device: torch.device | str = "cpu",
) -> Picture:
    """Fuse at native resolution: the visible picture with the fused luminance, chroma untouched.

    Args:
        visible: (H, W, 3), RGB.
        infrared: (H, W, 3); color counts by its luminance.
        fuse: as for `fuse_pairs`.
        size: (h, w) of a tile.
        overlap: of neighboring tiles, as a share of a tile.
        batch_size: tiles at once.
        device: where the model is.
    """
    y = fuse_tiled(
        _luminance(visible),
        _luminance(infrared),
        fuse,
        size=size,
        overlap=overlap,
        batch_size=batch_size,
        device=device,
    )
    return exchange_luminance(visible, y * 255)


def fuse_resized(
    visible: Picture, infrared: Picture, fuse: Fuse, *, size: tuple[int, int], device: torch.device | str = "cpu"
) -> Picture:
    """Fuse at the model's size, whatever the aspect; only the fused luminance is resized back.

    Args:
        visible: (H, W, 3), RGB; the result has its size and its chroma.
        infrared: (H, W, 3); color counts by its luminance.
        fuse: as for `fuse_pairs`.
        size: (h, w) of the model.
        device: where the model is.
    """
    small = [resize(_luminance(picture).astype(np.float32), size)[None] for picture in (visible, infrared)]
    fused = call(fuse, small[0], small[1], device=device)[0]
    y = resize(fused.astype(np.float32), (visible.shape[0], visible.shape[1]))
    return exchange_luminance(visible, y.astype(np.float64) * 255)


def _luminance(image: Picture) -> Plane:
    """(H, W, 3) uint8 to luminance (H, W) in [0, 1], not rounded."""
    return image @ (np.array(WEIGHTS) / 255)


def _inputs(visible: Path, infrared: Path | None) -> tuple[list[Pair], list[str]]:
    """Pairs and what is wrong with them, before any is opened."""
    if infrared is None:
        return find_pairs([visible])
    missing = [f"{path}: no such file or folder." for path in (visible, infrared) if not path.exists()]
    if missing:
        return [], missing
    if visible.is_dir() != infrared.is_dir():
        return [], [f"{visible} and {infrared}: one is a file, the other a folder; give two of a kind."]
    if visible.is_file():
        return [Pair(visible.stem, visible, infrared)], []
    return match_files(visible, infrared)


def _output(pair: Pair, output: Path, mode: Mode, *, single: bool) -> Path:
    if single and output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir():
        return output
    return output / (pair.visible.name if mode in ORIGINAL_MODES else f"{pair.visible.stem}.png")


def _output_problems(jobs: Sequence[Job], output: Path, mode: Mode) -> list[str]:
    """What would be overwritten or cannot be written."""
    inputs = {path.resolve() for job in jobs for path in (job.pair.visible, job.pair.infrared)}
    wrong = [f"{job.output}: is an input, and would be overwritten." for job in jobs if job.output.resolve() in inputs]
    outputs = [job.output for job in jobs]
    twice = sorted({path for path in outputs if outputs.count(path) > 1})
    wrong += [f"{path}: several pairs have this name; fuse their folders one at a time." for path in twice]
    if any(job.output != output for job in jobs) and output.exists() and not output.is_dir():
        wrong.append(f"{output}: is a file; a folder is needed for {len(jobs)} results.")
    if mode in ORIGINAL_MODES:
        suffixes = {job.output.suffix for job in jobs if not can_write(job.output)}
        wrong += [f"OpenCV cannot write {suffix!r} images; mode 'native' writes .png." for suffix in sorted(suffixes)]
    return wrong
