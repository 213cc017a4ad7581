"""Cropping and flipping: the same for both pictures of a pair, drawn from one generator."""

from dataclasses import dataclass

import numpy as np

from gradatim.data.image import Picture


@dataclass(frozen=True)
class View:
    """A part of a picture, perhaps mirrored.

    Args:
        top: first row.
        left: first column.
        height: number of rows.
        width: number of columns.
        flip: whether left and right are exchanged, after cutting out.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def of(self, picture: Picture) -> Picture:
        """Cut the view out of (H, W) or (H, W, 3)."""
        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        return part[:, ::-1] if self.flip else part


def draw_view(
    size: tuple[int, int], crop: tuple[int, int] | None, *, flip: bool, random: np.random.Generator | None
) -> View:
    """Choose what of a picture is seen.

    Args:
        size: (height, width) of the picture; at least `crop`.
        crop: (height, width) to cut out; None for all.
        flip: whether every second view is mirrored.
        random: the source of the choice; None takes the middle and does not mirror.
    """
    height, width = crop or size
    free = (size[0] - height, size[1] - width)
    if random is None:
        return View(free[0] // 2, free[1] // 2, height, width)
    top, left = (int(random.integers(room + 1)) for room in free)
    return View(top, left, height, width, flip=flip and bool(random.random() < 0.5))


def covering_size(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) of the same aspect that holds `crop`; `size` itself if it does."""
    factor = max(1.0, crop[0] / size[0], crop[1] / size[1])
    return max(crop[0], round(size[0] * factor)), max(crop[1], round(size[1] * factor))
