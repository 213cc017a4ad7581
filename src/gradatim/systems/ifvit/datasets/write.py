"""Fingers that do not exist, written as if they were one of the data sets."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.data.image import write_image
from gradatim.errors import DataError, problems
from gradatim.files import replace_file
from gradatim.systems.ifvit.datasets import dataset_name
from gradatim.systems.ifvit.fingers import Impression, Master, PrintStyle, make_impression, make_master

_PATHS: Mapping[str, Callable[[int, int], str]] = {
    "plain": lambda finger, number: f"{finger + 1}_{number + 1}.tif",
    "fvc2002": lambda finger, number: f"Dbs/Db1_a/{finger + 1}_{number + 1}.tif",
    "fvc2004": lambda finger, number: f"Dbs/DB1_A/{finger + 1}_{number + 1}.tif",
    "sd4": lambda finger, number: f"figs_0/{'fs'[number]}{finger + 1:04d}_{finger % 10 + 1:02d}.png",
    "sd300": lambda finger, number: (
        f"images/500/png/{('roll', 'plain')[number]}/"
        f"{finger // 10 + 1000:08d}_{('roll', 'plain')[number]}_500_{_position(finger, plain=number == 1):02d}.png"
    ),
    "sd301a": lambda finger, number: (
        f"images/friction-ridge/dryrun-{_device(number)}/500/roll/png/"
        f"{finger // 10 + 2300:08d}_1_{_device(number)}_500_roll_{finger % 10 + 1:02d}.png"
    ),
    "sd302a": lambda finger, number: (
        f"images/challengers/{_device(number)}/roll/png/"
        f"{finger // 10 + 2302:08d}_{_device(number)}_roll_{finger % 10 + 1:02d}.png"
    ),
    "fpgan": lambda finger, number: (
        f"ID_{finger + 1:07d}/ID_{finger + 1:07d}_im{number + 1:03d}_instance{number + 1:07d}.png"
    ),
}

_MOST = {"sd4": 2, "sd300": 2, "sd301a": 26, "sd302a": 8}
"""Prints of a finger that a layout has names for, where there is a limit."""


def write_layout(
    root: Path,
    layout: str,
    *,
    fingers: int,
    impressions: int,
    size: int = 256,
    seed: int = 0,
    style: PrintStyle | None = None,
    truth: bool = False,
) -> int:
    """Write prints that are drawn, to be read back with the same layout.

    Args:
        root: where; made if it does not exist.
        layout: a key of `DATASETS`.
        fingers: how many; where the layout tells people apart, ten are one person's.
        impressions: prints of each finger.
        size: side of the pictures in pixels.
        seed: of everything that is drawn.
        style: how much two prints of a finger differ.
        truth: whether a file `NAME.truth.npz` stands beside each picture. It holds `mask` (S, S) bool; `theta` and
            `period` (S, S), direction of the ridges in radians and their distance in pixels; `origins` (S, S, 2), where
            on the finger each pixel lies; `cores` and `deltas` (N, 2), x and y in the picture; `pattern`.

    Returns:
        Number of pictures.

    Raises:
        DataError: there is no such layout, or it has no names for so many prints.
    """
    name = dataset_name(layout)
    most = {
        "fingers": (fingers, 9999 if name == "sd4" else 10**7 - 1),
        "impressions": (impressions, _MOST.get(name, 999)),
    }
    wrong = [
        f"{what}: {given}, must be 1 to {limit}" for what, (given, limit) in most.items() if not 1 <= given <= limit
    ]
    if wrong:
        raise DataError(problems(f"layout {layout!r}:", wrong))
    for finger in range(fingers):
        master = make_master(seed, finger, size=size)
        for number in range(impressions):
            path = root / _PATHS[name](finger, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = make_impression(master, number, style)
            write_image(path, drawn.image)
            if truth:
                _write_truth(path.with_suffix(".truth.npz"), drawn, master)
    return fingers * impressions


def _write_truth(path: Path, drawn: Impression, master: Master) -> None:
    theta, period = drawn.orientation(master)
    singular = master.singularities
    values: dict[str, Any] = {
        "mask": drawn.mask,
        "theta": theta,
        "period": period,
        "origins": drawn.origins().astype(np.float32),
        "cores": drawn.skin(singular.cores),
        "deltas": drawn.skin(singular.deltas),
        "pattern": np.array(master.pattern),
    }

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **values)

    replace_file(path, save)


def _device(number: int) -> str:
    return chr(ord("A") + number)


def _position(finger: int, *, plain: bool) -> int:
    """Number of a finger's position; thumbs that are printed plainly have numbers of their own."""
    position = finger % 10 + 1
    return {1: 11, 6: 12}.get(position, position) if plain else position
