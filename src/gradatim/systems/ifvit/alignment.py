"""Bringing one print onto another: turns are tried, matches counted that agree, and the best motion is kept."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.data.random import keyed_generator
from gradatim.systems.ifvit.fingers.noise import blurred
from gradatim.systems.ifvit.geometry import Model, cell_points, finer_points, mutual_matches, robust_motion
from gradatim.systems.ifvit.overlap import Mask
from gradatim.systems.ifvit.prints import background
from gradatim.systems.ifvit.warping import Matrix, Picture, Points, inverse, motion, moved, warped, warped_mask

Matcher = Callable[[Picture, Picture], NDArray[np.floating]]
"""Two pictures of a size -> scores (cells of the first, cells of the second), at least 0; cells in reading order."""

ANGLES = tuple(range(-60, 61, 10))
FINER = (-5.0, 0.0, 5.0)
_TURN = 2.0
_SLOW = 6.0
_LEAST_SHARED = 0.2
"""Of the second print's area, which both must show for a shift to count."""


@dataclass(frozen=True)
class Search:
    """How a motion is looked for.

    Args:
        angles: degrees that the first print is turned by before it is matched, as seen against the clock.
        finer: degrees that are then tried around the best; none for no second pass.
        threshold: least score of a match.
        least: fewer matches that agree are no alignment.
        tolerance: most pixels between a point that is moved and its match; None is three quarters of a cell, as a
            cell's middle stands for all of it.
        model: what the motion may do.
        largest_scale: motions that make anything larger by more than this, or smaller, are refused.
    """

    angles: Sequence[float] = ANGLES
    finer: Sequence[float] = FINER
    threshold: float = 0.0
    least: int = 6
    tolerance: float | None = None
    model: Model = "similarity"
    largest_scale: float = 1.5


@dataclass(frozen=True)
class Alignment:
    """How one print comes to lie on another.

    Args:
        matrix: from the first print's points to the second's.
        angle: degrees of the turn that was tried and gave it.
        points: (N, 4), matches that agree: x and y in the first print as it is, x and y in the second.
        matches: number of all matches that were found at that turn.
    """

    matrix: Matrix
    angle: float
    points: Points
    matches: int

    @property
    def inliers(self) -> int:
        """How many matches agree."""
        return len(self.points)


def align(first: Picture, second: Picture, matcher: Matcher, search: Search | None = None) -> Alignment | None:
    """The motion that brings the first print onto the second; None if no turn gives one.

    The first print is turned around its middle by each angle and matched; matches are taken back to the print as it is,
    so the motion holds for it. The one counts that most matches agree on, and of equals the smallest turn.

    Args:
        first: (H, W) in [0, 1].
        second: of the same size.
        matcher: gives scores of all pairs of cells; cells are of one size and cover the picture.
        search: how.
    """
    search = search or Search()
    best = _best(first, second, matcher, search, search.angles)
    if best is None or not search.finer:
        return best
    around = [best.angle + step for step in search.finer if step]
    return _better(best, _best(first, second, matcher, search, around))


def aligned_picture(picture: Picture, alignment: Alignment, *, size: tuple[int, int] | None = None) -> Picture:
    """The first print in the second's frame; its own ground where it shows nothing.

    Args:
        picture: (H, W).
        alignment: of it.
        size: (height, width) of the second print; by default the first's.
    """
    return warped(picture, alignment.matrix, size=size, fill=background(picture))


def aligned_mask(mask: Mask, alignment: Alignment, *, size: tuple[int, int] | None = None) -> Mask:
    """A mask (H, W) of the first print in the second's frame."""
    return warped_mask(mask, alignment.matrix, size=size)


def _best(
    first: Picture, second: Picture, matcher: Matcher, search: Search, angles: Sequence[float]
) -> Alignment | None:
    best: Alignment | None = None
    for angle in sorted(angles, key=abs):
        best = _better(best, _at(first, second, matcher, search, angle))
    return best


def _better(one: Alignment | None, other: Alignment | None) -> Alignment | None:
    if one is None or other is None:
        return one or other
    return other if other.inliers > one.inliers else one


def _at(first: Picture, second: Picture, matcher: Matcher, search: Search, angle: float) -> Alignment | None:
    """The alignment that one turn gives."""
    height, width = first.shape
    turn = motion(((width - 1) / 2, (height - 1) / 2), degrees=angle)
    scores = matcher(warped(first, turn, fill=background(first)), second)
    cells = mutual_matches(scores, threshold=search.threshold)
    grid = _grid(scores.shape[0], first.shape)
    turned = cell_points(cells[:, 0], grid, first.shape)
    there = finer_points(scores, cells, _grid(scores.shape[1], second.shape), second.shape)
    # Counted from the turn, so that the same turn always draws the same samples.
    random = keyed_generator(0, "alignment", round(1000 * angle))
    found = robust_motion(
        turned,
        there,
        random,
        model=search.model,
        tolerance=0.75 * height / grid[0] if search.tolerance is None else search.tolerance,
        least=search.least,
        largest_scale=search.largest_scale,
    )
    if found is None:
        return None
    back = moved(turned[found.inliers], inverse(turn))
    points = np.concatenate([back, there[found.inliers]], axis=1)
    return Alignment(found.matrix @ turn, angle, points, len(cells))


def _grid(cells: int, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of square cells that cover a picture (H, W)."""
    height, width = size
    columns = max(round(np.sqrt(cells * width / height)), 1)
    return cells // columns, columns


def settled(
    first: Picture, second: Picture, masks: tuple[Mask, Mask], matrix: Matrix, *, reach: float, degrees: float = 6.0
) -> tuple[Matrix, float]:
    """The motion near a rough one at which ridges lie best on ridges.

    Cells are larger than ridges are apart, so that matched cells leave a motion wrong by a ridge or two. Small turns
    are tried, and all shifts within reach at once, by the correlation of what both prints show.

    Args:
        first, second: (H, W) in [0, 1].
        masks: (H, W) each, where they show ridges.
        matrix: the rough motion, from the first print's points to the second's.
        reach: most pixels of the shift.
        degrees: most of the turn.

    Returns:
        The motion, and the correlation there, in [-1, 1].

    Source:
        D. Padfield, "Masked object registration in the Fourier domain", 2012.
    """
    height, width = second.shape
    middle, shape = ((width - 1) / 2, (height - 1) / 2), (2 * height, 2 * width)
    fixed = _spectra(_ridges(second, masks[1]), masks[1], shape)
    best = (matrix, -1.0)
    for turn in np.arange(-degrees, degrees + _TURN / 2, _TURN):
        turned = motion(middle, degrees=float(turn)) @ matrix
        mask = warped_mask(masks[0], turned)
        moving = _spectra(_ridges(warped(first, turned, fill=background(first)), mask), mask, shape)
        (x, y), found = _best_shift(moving, fixed, shape, math.ceil(reach), least=_LEAST_SHARED * masks[1].sum())
        if found > best[1]:
            best = (motion(middle, shift=(x, y)) @ turned, found)
    return best


def _ridges(picture: Picture, mask: Mask) -> Picture:
    """A print without what changes slowly, 0 outside its mask."""
    inner = mask.astype(np.float32)
    share = blurred(inner, _SLOW) + 1e-3
    slow = blurred(np.asarray(picture * inner, np.float32), _SLOW) / share
    return np.asarray((picture - slow) * inner, np.float32)


def _spectra(ridges: Picture, mask: Mask, shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Spectra of a print, of its square, and of its mask: (3, h, w)."""
    return np.fft.rfft2(np.stack([ridges, ridges**2, mask.astype(np.float32)]), shape)


def _best_shift(
    moving: NDArray[np.complex128],
    fixed: NDArray[np.complex128],
    shape: tuple[int, int],
    reach: int,
    *,
    least: float,
) -> tuple[tuple[int, int], float]:
    """Shift (x, y) of the moving print with the best correlation where both masks meet in enough pixels."""

    def correlated(one: int, other: int) -> NDArray[np.float64]:
        whole = np.fft.irfft2(np.conj(moving[one]) * fixed[other], shape)
        around = np.roll(whole, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]
        return np.asarray(around, np.float64)

    shared, product = correlated(2, 2), correlated(0, 0)
    strength = np.sqrt(np.maximum(correlated(1, 2), 0) * np.maximum(correlated(2, 1), 0))
    values = np.where(shared >= least, product / np.maximum(strength, 1e-9), -1)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (int(column) - reach, int(row) - reach), float(values[row, column])
