"""Two prints as one training example: moved, cut and masked together with their correspondences."""

from dataclasses import dataclass

import numpy as np

from gradatim.systems.ifvit.corruption import (
    Corrupted,
    Corruption,
    corrupted,
    inside,
    original_points,
    spread_points,
    within,
)
from gradatim.systems.ifvit.fingers.noise import Random
from gradatim.systems.ifvit.overlap import Mask, center_of, overlap, patch
from gradatim.systems.ifvit.pairs import Pair
from gradatim.systems.ifvit.prints import background
from gradatim.systems.ifvit.sources import PrintSource
from gradatim.systems.ifvit.warping import Matrix, Picture, Points, Warp, inverse, motion, moved, warped, warped_mask

_NOWHERE = Warp(np.eye(3))
_SPARE = 3
"""How many times the points are tried, as some lie beyond what the second print shows."""


@dataclass(frozen=True)
class Pairing:
    """How examples are made.

    Args:
        points: most correspondences.
        roi: side of the patches.
        corruption: what the second picture goes through; None leaves it as it is.
        enhance: whether the pictures that are compared as a whole show ridges made clear.
        misplaced: most that an alignment is wrong by: a shift in sides of the picture, and a turn in radians.
    """

    points: int
    roi: int = 90
    corruption: Corruption | None = None
    enhance: bool = False
    misplaced: float = 0.0


@dataclass(frozen=True)
class Example:
    """A pair of pictures; see `PairDataset` for the meaning of each value. What a kind of sample lacks is None."""

    image1: Picture
    image2: Picture
    points: Points
    mask1: Mask | None = None
    mask2: Mask | None = None
    overlap: Mask | None = None
    roi1: Picture | None = None
    roi2: Picture | None = None


def registered(source: PrintSource, pair: Pair, pairing: Pairing, random: Random) -> Example:
    """Two prints as they are, or the second after a corruption, and where points of one lie in the other.

    Args:
        source: the prints.
        pair: which; a print and itself is a print and its copy.
        pairing: how.
        random: source of the corruption and of the points.
    """
    picture, mask = source.picture(pair.first), source.mask(pair.first)
    second = Corrupted(source.picture(pair.second), source.mask(pair.second), _NOWHERE)
    corruption = pairing.corruption
    if corruption is not None:
        second = corrupted(second.picture, second.mask, corruption, random)
    points = np.zeros((0, 4))
    if pair.genuine:
        known = _known(source, pair)
        assert known is not None
        if corruption is not None and corruption.original:
            first = original_points(pairing.points, picture.shape, random)
            last = second.warp(known(first))
            keep = within(last, picture.shape)
        else:
            first = spread_points(mask, random)[: _SPARE * pairing.points]
            last = second.warp(known(first))
            keep = inside(last, second.mask)
        points = np.concatenate([first, last], axis=1)[keep][: pairing.points]
    return Example(picture, second.picture, points, mask1=mask, mask2=second.mask)


def aligned(source: PrintSource, pair: Pair, pairing: Pairing, random: Random) -> Example:
    """Two prints on one another: what both show as a whole, and a patch of each around the middle of that.

    Drawn prints are aligned by the rigid part of their maps, as a good registration would; the skin's bend remains.
    Those of two fingers are aligned alike, so that nothing but the ridges tells them apart. Prints of files are aligned
    by the motion that was given, and points of one finger then lie on one another; without one they lie as they do in
    their files.

    Args:
        source: the prints.
        pair: which.
        pairing: how.
        random: source of the points and of the error of the alignment.
    """
    given = source.alignment(pair.first, pair.second)
    matrix = _misplacement(source.picture(pair.second), pairing, random) @ (np.eye(3) if given is None else given)
    first, second = source.picture(pair.first), source.picture(pair.second)
    second_mask = source.mask(pair.second)
    first_mask = warped_mask(source.mask(pair.first), matrix)
    clear = (source.enhanced(pair.first), source.enhanced(pair.second)) if pairing.enhance else None
    laid = lay(first, second, matrix, overlap(first_mask, second_mask), pairing.roi, clear)
    points = spread_points(laid.overlap, random)[: _SPARE * pairing.points]
    known = _aligned_points(source, pair, matrix, laid.overlap, points)[: pairing.points]
    return Example(
        laid.whole1, laid.whole2, known, overlap=laid.overlap, roi1=laid.region1, roi2=laid.region2
    )  # fmt: skip


@dataclass(frozen=True)
class Laid:
    """Two prints on one another, in the second's frame.

    Args:
        whole1, whole2: (H, W) in [0, 1], 0 outside the overlap.
        region1, region2: (R, R) in [0, 1], around the middle of the overlap.
        overlap: (H, W), what both show.
    """

    whole1: Picture
    whole2: Picture
    region1: Picture
    region2: Picture
    overlap: Mask


def lay(
    first: Picture,
    second: Picture,
    matrix: Matrix,
    both: Mask,
    roi: int,
    clear: tuple[Picture, Picture] | None = None,
) -> Laid:
    """Lay the first print on the second.

    Args:
        first, second: (H, W) in [0, 1].
        matrix: from the first print's points to the second's.
        both: (H, W), what both show, in the second's frame.
        roi: side of the regions.
        clear: both prints with clear ridges, to be compared as a whole.
    """
    lying, center = warped(first, matrix, fill=background(first)), center_of(both)
    whole1, whole2 = (lying, second) if clear is None else (warped(clear[0], matrix, fill=1), clear[1])
    return Laid(
        (whole1 * both).astype(np.float32),
        (whole2 * both).astype(np.float32),
        patch(lying, center, roi, fill=background(first)),
        patch(second, center, roi, fill=background(second)),
        both,
    )


class _Known:
    """The map between two prints of one finger, by way of the finger."""

    def __init__(self, source: PrintSource, pair: Pair) -> None:
        first, second = source.skin(pair.first), source.skin(pair.second)
        assert first is not None
        assert second is not None
        self._first, self._second = first, second

    def __call__(self, points: Points) -> Points:
        return self._second(self._first.inverse(points))


def _known(source: PrintSource, pair: Pair) -> Warp | _Known | None:
    """The map from the first print of a pair to its second; None where nobody knows."""
    if pair.first == pair.second:
        return _NOWHERE
    return _Known(source, pair) if source.skin(pair.first) is not None else None


def _misplacement(picture: Picture, pairing: Pairing, random: Random) -> Matrix:
    """A small motion of a picture's frame."""
    turn, *shift = pairing.misplaced * random.uniform(-1, 1, 3)
    height, width = picture.shape
    side = max(height, width)
    middle = ((width - 1) / 2, (height - 1) / 2)
    return motion(middle, degrees=float(np.degrees(turn)), shift=(shift[0] * side, shift[1] * side))


def _aligned_points(source: PrintSource, pair: Pair, matrix: Matrix, both: Mask, first: Points) -> Points:
    """Correspondences (N, 4) of prints that are aligned; none where nothing tells them."""
    given = source.alignment(pair.first, pair.second)
    if not pair.genuine or given is None:
        return np.zeros((0, 4))
    known = _known(source, pair)
    whence = moved(first, inverse(matrix))
    last = known(whence) if known is not None else moved(whence, given)
    return np.concatenate([first, last], axis=1)[inside(last, both)]
