"""Pictures made of several: four quarters side by side, or two laid over one another."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradatim.systems.multigriddet.example import Boxes, Example, Keeping, clipped, sides

Window = tuple[int, int, int, int]


def quarters(split: tuple[int, int], size: tuple[int, int]) -> tuple[Window, Window, Window, Window]:
    """Windows (left, top, right, bottom): top left, bottom left, bottom right, top right.

    Args:
        split: (x, y) where they meet.
        size: (height, width) of the whole.
    """
    (x, y), (height, width) = split, size
    return (0, 0, x, y), (0, y, x, height), (x, y, width, height), (x, 0, width, y)


def mosaic(four: Sequence[Example], split: tuple[int, int], keeping: Keeping, *, least_side: float) -> Example:
    """A picture whose quarters come from four others, each from its own place.

    Args:
        four: of equal size; for the quarters in the order of `quarters`.
        split: (x, y) where they meet.
        keeping: which cut objects remain.
        least_side: an object that is cut here remains only if both of its sides are at least this long.
    """
    picture = four[0].picture.copy()
    parts = []
    for example, window in zip(four, quarters(split, example_size(four)), strict=True):
        left, top, right, bottom = window
        picture[top:bottom, left:right] = example.picture[top:bottom, left:right]
        keep = kept_in_quarter(example.boxes, window, least_side)
        parts.append(example.only(keep).cut(window, keeping))
    return joined_examples(picture, parts)


def kept_in_quarter(boxes: Boxes, window: Window, least_side: float) -> NDArray[np.bool_]:
    """Which boxes (N, 4) show enough of themselves in a window: all of it, or sides of a least length."""
    inside = clipped(boxes, window)
    whole = (inside == boxes).all(axis=1)
    result: NDArray[np.bool_] = (sides(inside) > 0).all(axis=1) & (whole | (sides(inside) >= least_side).all(axis=1))
    return result


def merged_boxes(four: Sequence[Boxes], split: tuple[int, int], size: tuple[int, int], least_side: float) -> Boxes:
    """Boxes with classes (N, 5) of four pictures, cut to their quarters: (M, 5); rows without area are padding."""
    parts = []
    for boxes, window in zip(four, quarters(split, size), strict=True):
        keep = kept_in_quarter(boxes[:, :4], window, least_side)
        parts.append(np.concatenate([clipped(boxes[keep, :4], window), boxes[keep, 4:]], axis=1))
    return np.concatenate(parts)


def mixup(first: Example, second: Example, share: float, *, least: float) -> Example:
    """Two pictures of equal size laid over one another, with the objects of both.

    Args:
        first: has `share` of the result.
        second: has the rest.
        share: 0 to 1.
        least: a picture with a smaller share gives no objects: nobody could see them.
    """
    mixed = share * first.picture.astype(np.float32) + (1 - share) * second.picture.astype(np.float32)
    seen = [one for one, part in ((first, share), (second, 1 - share)) if part >= least]
    return joined_examples(np.rint(mixed).astype(np.uint8), seen)


def draw_share(alpha: float, least: float, random: np.random.Generator) -> float:
    """A share from Beta(alpha, alpha), moved into `least` to 1 - `least`."""
    return float(np.clip(random.beta(alpha, alpha), least, 1 - least))


def example_size(examples: Sequence[Example]) -> tuple[int, int]:
    """(height, width) that all have."""
    assert len({one.size for one in examples}) == 1
    return examples[0].size


def joined_examples(picture: NDArray[np.uint8], parts: Sequence[Example]) -> Example:
    """A picture with the objects of several."""
    return Example(
        picture,
        np.concatenate([np.zeros((0, 4)), *(part.boxes for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.classes for part in parts)]),
        np.concatenate([np.zeros(0), *(part.left for part in parts)]),
    )
