"""Minutiae: places where a ridge ends or forks, from FingerNet's maps to files.

A list of them is (N, 4) float32: x and y in pixels, the direction in radians in [0, 2 pi), and a score in [0, 1].
"""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.ifvit.overlap import Mask
from gradatim.systems.ifvit.parts.fingernet import MinutiaeMaps
from gradatim.systems.ifvit.parts.gabor import CELL

Minutiae = NDArray[np.float32]

_OPENING = 5
_ROUNDING = 1e-5
"""Directions are odd whole degrees, so two may be apart by just the limit; radians in float32 must not decide it."""


def decoded(maps: MinutiaeMaps, *, threshold: float = 0.5) -> list[Minutiae]:
    """Minutiae of each print of a batch, row by row of cells, at most one in a cell.

    Args:
        maps: from FingerNet.
        threshold: score that a minutia must exceed.
    """
    angle, x, y = (values.argmax(1) for values in (maps.angle, maps.x, maps.y))
    found = []
    for number, score in enumerate(maps.score[:, 0]):
        rows, columns = torch.nonzero(score > threshold, as_tuple=True)
        degrees = (2 * angle[number, rows, columns] - 89) % 360
        place = (columns * CELL + x[number, rows, columns], rows * CELL + y[number, rows, columns])
        each = (*place, torch.deg2rad(degrees.double()), score[rows, columns])
        found.append(torch.stack([values.double() for values in each], dim=1).float().cpu().numpy())
    return found


def thinned_out(minutiae: Minutiae, *, distance: float = 16.0, degrees: float = 30.0) -> Minutiae:
    """The best of those that lie together and point alike, best first.

    Args:
        minutiae: (N, 4).
        distance: in pixels, up to which two lie together.
        degrees: up to which two point alike.
    """
    order = np.argsort(-minutiae[:, 3], kind="stable")
    rest, kept = minutiae[order].astype(np.float64), []
    limit = np.radians(degrees) + _ROUNDING
    while len(rest):
        best = rest[0]
        kept.append(best)
        apart = np.hypot(*(rest[:, :2] - best[:2]).T)
        turn = np.abs(rest[:, 2] - best[2])
        alike = (apart <= distance) & (np.minimum(turn, 2 * np.pi - turn) <= limit)
        rest = rest[~alike]
    return np.array(kept, np.float32).reshape(-1, 4)


def foreground(segmentation: Tensor) -> Mask:
    """Where a print is, in pixels: FingerNet's foreground, rounded, without what is smaller than 5 x 5 cells.

    Args:
        segmentation: (h, w) in [0, 1], one value for each cell.

    Returns:
        (8 h, 8 w). What lies beyond the border counts for neither step of the opening.
    """
    # Half is rounded to even, which is 0.
    cells = (segmentation > 0.5).float()[None, None].cpu()
    shrunk = -F.max_pool2d(-cells, _OPENING, stride=1, padding=_OPENING // 2)
    opened = F.max_pool2d(shrunk, _OPENING, stride=1, padding=_OPENING // 2)
    mask: Mask = F.interpolate(opened, scale_factor=CELL, mode="nearest")[0, 0].numpy() > 0.5
    return mask


@dataclass(frozen=True, kw_only=True)
class MinutiaeFile:
    """What a `.mnt` file says.

    Args:
        name: of the print.
        size: height and width of the print in pixels.
        minutiae: (N, 3): x and y in whole pixels, direction in radians.
    """

    name: str
    size: tuple[int, int]
    minutiae: NDArray[np.float64]


def write_minutiae(path: Path, minutiae: Minutiae, *, name: str, size: tuple[int, int]) -> None:
    """Write a `.mnt` file: the name, a line `count height width`, then `x y direction` for each; scores are left out.

    Args:
        path: of the file; its folder exists.
        minutiae: (N, 4).
        name: of the print.
        size: its height and width.

    Raises:
        DataError: the name is empty or more than one line.
    """
    if not name.strip() or len(name.splitlines()) > 1:
        raise DataError(f"{path}: the name of a print must be one line, not {name!r}")
    lines = [name, f"{len(minutiae)} {size[0]} {size[1]}"]
    lines += [f"{round(float(x))} {round(float(y))} {direction:.6f}" for x, y, direction in minutiae[:, :3]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_minutiae(path: Path) -> MinutiaeFile:
    """Read a `.mnt` file.

    Raises:
        DataError: no such file, or one whose lines are not as `write_minutiae` writes them.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: a file of minutiae that cannot be read: {error}") from error
    if len(lines) < 2:
        raise DataError(f"{path}: {len(lines)} lines; a file of minutiae has a name and a line `count height width`")
    head = _numbers(path, 2, lines[1], 3)
    if any(value != int(value) for value in head):
        raise DataError(f"{path}, line 2: {lines[1]!r}, and whole numbers are needed")
    count, height, width = map(int, head)
    rows = [_numbers(path, number, line, 3) for number, line in enumerate(lines[2:], 3) if line.strip()]
    if len(rows) != count:
        raise DataError(f"{path}: {len(rows)} minutiae, and line 2 says {count}")
    return MinutiaeFile(name=lines[0], size=(height, width), minutiae=np.array(rows, np.float64).reshape(-1, 3))


def _numbers(path: Path, number: int, line: str, count: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) != count or not all(map(isfinite, values)):
        raise DataError(f"{path}, line {number}: {line!r}, and {count} numbers are needed")
    return values
