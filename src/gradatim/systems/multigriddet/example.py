"""A picture in the network's input with its objects, and the one rule by which a cut object is dropped."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradatim.data.image import Picture

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Keeping:
    """When an object is still worth a box.

    Args:
        side: both sides of what is left of it must be longer than this, in pixels.
        share: at least this much of its whole box must be left, however often it was cut.
    """

    side: float = 1.0
    share: float = 0.1


@dataclass(frozen=True)
class Example:
    """A picture and its objects.

    Args:
        picture: (H, W, 3) uint8.
        boxes: (N, 4) float64, left, top, right, bottom in pixels; inside the picture.
        classes: (N,) int64.
        left: (N,) float64 in (0, 1]; share of each object's whole box that no cut has taken.
    """

    picture: Picture
    boxes: Boxes
    classes: NDArray[np.int64]
    left: NDArray[np.float64]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.picture.shape[0], self.picture.shape[1]

    def only(self, keep: NDArray[np.bool_]) -> "Example":
        """The same picture with some of its objects."""
        return replace(self, boxes=self.boxes[keep], classes=self.classes[keep], left=self.left[keep])

    def cut(self, window: tuple[float, float, float, float], keeping: Keeping) -> "Example":
        """Boxes clipped to a window (left, top, right, bottom); what the rule does not keep is gone."""
        boxes = clipped(self.boxes, window)
        left = self.left * areas(boxes) / areas(self.boxes)
        keep = (sides(boxes) > keeping.side).all(axis=1) & (left >= keeping.share) & (areas(boxes) > 0)
        return replace(self, boxes=boxes, left=left).only(keep)


def clipped(boxes: Boxes, window: tuple[float, float, float, float]) -> Boxes:
    """Corners (N, 4) moved into a window; a box outside has no area then."""
    low, high = np.array(window[:2] * 2), np.array(window[2:] * 2)
    result: Boxes = np.clip(boxes, low, high)
    return result


def sides(boxes: Boxes) -> NDArray[np.float64]:
    """Width and height, (N, 2)."""
    result: NDArray[np.float64] = boxes[:, 2:] - boxes[:, :2]
    return result


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Area of each box, (N,)."""
    result: NDArray[np.float64] = sides(boxes).prod(axis=1)
    return result
