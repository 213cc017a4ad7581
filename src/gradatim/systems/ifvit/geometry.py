"""From matching cells to the motion between two prints: points, and matrices that most of them agree on.

Points are x and y in pixels, whole numbers at the pixels' middles; matrices are (3, 3).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.systems.ifvit.warping import Matrix, Points, moved

Model = Literal["similarity", "affine", "homography"]
Random = np.random.Generator

_NEEDED = {"similarity": 2, "affine": 3, "homography": 4}
_ROUNDS = 1000
_SURE = 0.9999
_REFITS = 5


@dataclass(frozen=True)
class Motion:
    """A matrix that many of some matches agree on.

    Args:
        matrix: from the first picture's points to the second's.
        inliers: (N,), which matches agree.
    """

    matrix: Matrix
    inliers: NDArray[np.bool_]


def cell_points(
    cells: NDArray[np.int64], grid: tuple[int, int], size: tuple[int, int], *, corners: bool = False
) -> Points:
    """Where cells of a feature map lie in the picture.

    Args:
        cells: (N,), numbers of cells in reading order.
        grid: (rows, columns) of cells.
        size: (height, width) of the picture.
        corners: take the cells' first corners, as the published program does, instead of their middles.

    Returns:
        (N, 2), x and y.
    """
    rows, columns = grid
    height, width = size
    step = np.array([width / columns, height / rows])
    places = np.stack([cells % columns, cells // columns], axis=-1).astype(np.float64)
    # The middle of a cell of 8 pixels lies between its fourth and its fifth, whose middles are whole numbers.
    found: Points = places * step if corners else (places + 0.5) * step - 0.5
    return found


def mutual_matches(scores: NDArray[np.floating], *, threshold: float) -> NDArray[np.int64]:
    """Cells that choose one another: (N, 2), numbers in both pictures.

    Args:
        scores: (cells of the first picture, cells of the second), probabilities.
        threshold: least score of a match.
    """
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    chosen = (scores.argmax(axis=0)[best] == rows) & (scores[rows, best] >= threshold)
    return np.stack([rows[chosen], best[chosen]], axis=-1)


def finer_points(
    scores: NDArray[np.floating], cells: NDArray[np.int64], grid: tuple[int, int], size: tuple[int, int]
) -> Points:
    """Where the matches of cells lie between the cells: the mean of a match and its neighbors, by their scores.

    Args:
        scores: (cells of the first picture, cells of the second), at least 0.
        cells: (N, 2), numbers in both pictures.
        grid: (rows, columns) of the second picture's cells.
        size: (height, width) of the second picture.

    Returns:
        (N, 2), x and y in the second picture.
    """
    rows, columns = grid
    row, column = cells[:, 1] // columns, cells[:, 1] % columns
    total, places = np.zeros((len(cells), 1)), np.zeros((len(cells), 2))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            there = (row + down >= 0) & (row + down < rows) & (column + right >= 0) & (column + right < columns)
            near = np.where(there, (row + down) * columns + column + right, 0)
            weight = np.where(there, scores[cells[:, 0], near], 0)[:, None]
            total += weight
            places += weight * cell_points(near, grid, size)
    found: Points = places / np.maximum(total, 1e-30)
    return found


def estimate(first: Points, second: Points, model: Model = "similarity") -> Matrix | None:
    """The matrix that maps points onto others with the least squared error; None where they do not tell it.

    Args:
        first: (N, 2).
        second: (N, 2), where each should come to lie.
        model: "similarity" turns, scales and shifts; "affine" shears too; "homography" has perspective, whose error is
            that of the linear equations.
    """
    if len(first) < _NEEDED[model]:
        return None
    into_first, into_second = _normalizer(first), _normalizer(second)
    if into_first is None or into_second is None:
        return None
    a, b = moved(first, into_first), moved(second, into_second)
    inner = {"similarity": _similarity, "affine": _affine, "homography": _homography}[model](a, b)
    if inner is None:
        return None
    whole = np.linalg.solve(into_second, inner @ into_first)
    return None if abs(whole[2, 2]) < 1e-9 else np.asarray(whole / whole[2, 2], np.float64)


def robust_motion(
    first: Points,
    second: Points,
    random: Random,
    *,
    model: Model = "similarity",
    tolerance: float = 3.0,
    least: int = 4,
    largest_scale: float = 2.0,
) -> Motion | None:
    """The matrix that most matches agree on; None if there is none that a finger could have made.

    Args:
        first: (N, 2).
        second: (N, 2), their matches, some of them wrong.
        random: source of the samples.
        model: as of `estimate`.
        tolerance: most pixels between a point that is moved and its match.
        least: fewer matches that agree are none.
        largest_scale: a motion that makes anything larger by more than this factor, or smaller, is refused, as is one
            that mirrors.

    Source:
        M. Fischler and R. Bolles, "Random sample consensus", 1981.
    """
    if len(first) < max(_NEEDED[model], least):
        return None
    if model == "similarity":
        best = _similar(first, second, random, tolerance)
    else:
        best = _sampled(first, second, random, model, tolerance)
    return _refined(best, first, second, model, tolerance=tolerance, least=least, largest_scale=largest_scale)


def _similar(first: Points, second: Points, random: Random, tolerance: float) -> NDArray[np.bool_]:
    """Which matches agree with the best of many similarities through two of them each; all are tried at once."""
    a, b = first[:, 0] + 1j * first[:, 1], second[:, 0] + 1j * second[:, 1]
    one = random.integers(0, len(a), _ROUNDS)
    other = (one + random.integers(1, len(a), _ROUNDS)) % len(a)
    apart = np.abs(a[one] - a[other]) > 1e-9
    one, other = one[apart], other[apart]
    if not len(one):
        return np.zeros(len(a), bool)
    factor = (b[one] - b[other]) / (a[one] - a[other])
    shift = b[one] - factor * a[one]
    agree = np.abs(factor[:, None] * a + shift[:, None] - b) <= tolerance
    best: NDArray[np.bool_] = agree[agree.sum(axis=1).argmax()]
    return best


def _sampled(first: Points, second: Points, random: Random, model: Model, tolerance: float) -> NDArray[np.bool_]:
    """Which matches agree with the best of many motions through as few of them as tell one."""
    needed = _NEEDED[model]
    best = np.zeros(len(first), bool)
    trial, rounds = 0, _ROUNDS
    while trial < rounds:
        trial += 1
        chosen = random.choice(len(first), needed, replace=False)
        agree = _agreeing(estimate(first[chosen], second[chosen], model), first, second, tolerance)
        if agree.sum() > best.sum():
            best = agree
            rounds = min(_ROUNDS, _enough(float(best.mean()), needed))
    return best


def possible(matrix: Matrix, around: Points, largest_scale: float) -> bool:
    """Whether a finger could have moved so: not mirrored, and nowhere much larger or smaller.

    Args:
        matrix: to judge.
        around: (N, 2), points at which it is judged.
        largest_scale: most factor of a length, and one over the least.
    """
    heights = around @ matrix[2, :2] + matrix[2, 2]
    if not np.isfinite(matrix).all() or (heights <= 1e-6).any():
        return False
    step = 0.5
    sides = [
        (moved(around + step * way, matrix) - moved(around - step * way, matrix)) / (2 * step) for way in np.eye(2)
    ]
    slopes = np.stack(sides, axis=-1)
    factors = np.linalg.svd(slopes, compute_uv=False)
    sound = (
        (np.linalg.det(slopes) > 0).all() and (factors <= largest_scale).all() and (factors >= 1 / largest_scale).all()
    )
    return bool(sound)


def _refined(
    agree: NDArray[np.bool_],
    first: Points,
    second: Points,
    model: Model,
    *,
    tolerance: float,
    least: int,
    largest_scale: float,
) -> Motion | None:
    """The motion of all that agree, until no more do."""
    matrix: Matrix | None = None
    for _ in range(_REFITS):
        if agree.sum() < least:
            return None
        matrix = estimate(first[agree], second[agree], model)
        now = _agreeing(matrix, first, second, tolerance)
        if (now == agree).all():
            break
        agree = now
    if matrix is None or agree.sum() < least or not possible(matrix, first[agree], largest_scale):
        return None
    return Motion(matrix, agree)


def _agreeing(matrix: Matrix | None, first: Points, second: Points, tolerance: float) -> NDArray[np.bool_]:
    if matrix is None:
        return np.zeros(len(first), bool)
    heights = first @ matrix[2, :2] + matrix[2, 2]
    ahead = heights > 1e-9
    places = (first @ matrix[:2, :2].T + matrix[:2, 2]) / np.where(ahead, heights, 1)[:, None]
    agree: NDArray[np.bool_] = ahead & (((places - second) ** 2).sum(axis=-1) <= tolerance**2)
    return agree


def _enough(share: float, needed: int) -> int:
    """How many samples find, nearly surely, one without a wrong match."""
    clean = share**needed
    return 1 if clean >= 1 else int(np.ceil(np.log(1 - _SURE) / np.log(1 - clean))) if clean > 0 else _ROUNDS


def _normalizer(points: Points) -> Matrix | None:
    """A matrix that brings points around 0 with mean distance 1; None if they are one point."""
    center = points.mean(axis=0)
    spread = np.sqrt(((points - center) ** 2).sum(axis=-1)).mean()
    if spread < 1e-9:
        return None
    return np.array([[1 / spread, 0, -center[0] / spread], [0, 1 / spread, -center[1] / spread], [0, 0, 1]])


def _similarity(first: Points, second: Points) -> Matrix | None:
    a, b = first[:, 0] + 1j * first[:, 1], second[:, 0] + 1j * second[:, 1]
    factor = np.vdot(a, b) / np.vdot(a, a).real
    return np.array([[factor.real, -factor.imag, 0], [factor.imag, factor.real, 0], [0, 0, 1]])


def _affine(first: Points, second: Points) -> Matrix | None:
    whole = np.concatenate([first, np.ones((len(first), 1))], axis=1)
    if np.linalg.matrix_rank(whole) < 3:
        return None
    found = np.linalg.lstsq(whole, second, rcond=None)[0].T
    return np.vstack([found, [0, 0, 1]])


def _homography(first: Points, second: Points) -> Matrix | None:
    one, nothing = np.ones((len(first), 1)), np.zeros((len(first), 3))
    whole = np.concatenate([first, one], axis=1)
    x = np.concatenate([whole, nothing, -whole * second[:, :1]], axis=1)
    y = np.concatenate([nothing, whole, -whole * second[:, 1:]], axis=1)
    _, sizes, rows = np.linalg.svd(np.concatenate([x, y]), full_matrices=True)
    if sizes[7] < 1e-9 * sizes[0]:
        return None
    return np.asarray(rows[8].reshape(3, 3), np.float64)
