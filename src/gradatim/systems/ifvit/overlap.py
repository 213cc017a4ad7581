"""Where a print shows ridges, where two aligned prints both do, and the patch around the middle of that."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gradatim.systems.ifvit.warping import Picture

Mask = NDArray[np.bool_]
_ROUNDING = 1e-5


def ridge_mask(picture: Picture, *, window: int = 25, ratio: float = 0.15) -> Mask:
    """Where a print has ridges: the largest area whose edges are strong.

    Args:
        picture: (H, W) in any range.
        window: side of the square that edges are averaged over, odd.
        ratio: of the strongest average, which must be reached.

    Returns:
        (H, W); all false for a picture without any edge.

    Source:
        The published program's mask: Sobel magnitude, box mean, threshold, closing by 5 x 5, largest area whose pixels
        touch at sides or corners. All borders are mirrored at the outer pixels, but for the closing's.
    """
    strength = _box(_edges(torch.from_numpy(np.ascontiguousarray(picture, np.float32))), window)
    peak = float(strength.max())
    # Sums of equal values differ in their last digits.
    if peak <= _ROUNDING * float(np.abs(picture).max()):
        return np.zeros(picture.shape, bool)
    return largest_area(_closed(strength >= ratio * peak).numpy())


def overlap(first: Mask, second: Mask) -> Mask:
    """Where both prints, aligned, have ridges: (H, W)."""
    return first & second


def center_of(mask: Mask) -> tuple[int, int]:
    """Mean x and y of a mask, cut to whole pixels; the picture's middle where the mask is empty."""
    height, width = mask.shape
    if not mask.any():
        return width // 2, height // 2
    rows, columns = np.nonzero(mask)
    return int(columns.mean()), int(rows.mean())


def patch(picture: Picture, center: tuple[int, int], side: int, *, fill: float = 0.0) -> Picture:
    """A square of a picture (H, W) around a center (x, y): (side, side), `fill` beyond the border."""
    x, y = center
    result = np.full((side, side), fill, np.float32)
    left, top = x - side // 2, y - side // 2
    height, width = picture.shape
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        inner = picture[rows, columns]
        result[rows.start - top :, columns.start - left :][: inner.shape[0], : inner.shape[1]] = inner
    return result


def largest_area(mask: Mask) -> Mask:
    """The largest area of a mask (H, W) whose pixels touch at sides or corners; of equals, the first to be read."""
    labels = _areas(mask)
    if not mask.any():
        return mask
    sizes = np.bincount(labels[mask])
    largest: Mask = labels == int(sizes.argmax())
    return largest


def _areas(mask: Mask) -> NDArray[np.int64]:
    """A number for each area, -1 outside: runs of each row are joined with those that they touch in the row above."""
    labels = np.full(mask.shape, -1, np.int64)
    parent: list[int] = []
    above: list[tuple[int, int, int]] = []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
        here = []
        for start, stop in edges.reshape(-1, 2).tolist():
            number = len(parent)
            parent.append(number)
            for first, last, other in above:
                if first <= stop and start <= last:
                    _join(parent, number, other)
            labels[row, start:stop] = number
            here.append((start, stop, number))
        above = here
    roots = np.array([_root(parent, number) for number in range(len(parent))], np.int64)
    inside = labels >= 0
    labels[inside] = roots[labels[inside]]
    return labels


def _root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


def _join(parent: list[int], first: int, second: int) -> None:
    low, high = sorted((_root(parent, first), _root(parent, second)))
    parent[high] = low


def _edges(picture: torch.Tensor) -> torch.Tensor:
    """Length of the Sobel gradient, (H, W)."""
    right = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    around = functional.pad(picture[None, None], (1, 1, 1, 1), mode="reflect")
    both = functional.conv2d(around, torch.stack([right, right.T])[:, None])[0]
    return torch.hypot(both[0], both[1])


def _box(values: torch.Tensor, window: int) -> torch.Tensor:
    """Mean over a square around each pixel, (H, W)."""
    margin = window // 2
    around = functional.pad(values[None, None], (margin,) * 4, mode="reflect")
    return functional.avg_pool2d(functional.avg_pool2d(around, (window, 1), stride=1), (1, window), stride=1)[0, 0]


def _closed(mask: torch.Tensor) -> torch.Tensor:
    """A mask whose gaps of up to four pixels are filled; what lies beyond the border counts for neither step."""
    grown = functional.max_pool2d(mask[None, None].float(), 5, stride=1, padding=2)
    return (-functional.max_pool2d(-grown, 5, stride=1, padding=2))[0, 0] > 0.5
