"""Moving points and pictures by the same map, so that a picture and its ground truth cannot part.

Points are x and y in pixels, whole numbers at the pixels' middles. A matrix is (3, 3), for homogeneous points, and maps
points of the source to points of the target.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gradatim.systems.ifvit.fingers.impression import pixels

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]
Picture = NDArray[np.float32]

_ROUNDS = 12


def moved(points: Points, matrix: Matrix) -> Points:
    """Points (..., 2) mapped by a matrix; a projective one divides."""
    whole = points @ matrix[:, :2].T + matrix[:, 2]
    result: Points = whole[..., :2] / whole[..., 2:]
    return result


def inverse(matrix: Matrix) -> Matrix:
    """The way back."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def resampled(picture: Picture, points: Points, *, fill: float = 0.0) -> Picture:
    """Values of a picture (H, W) at points (h, w, 2), bilinear; `fill` beyond its border."""
    height, width = picture.shape
    scale = np.array([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    grid = torch.from_numpy((points * scale - 1).astype(np.float32))[None]
    source = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))[None, None] - fill
    values: Picture = (functional.grid_sample(source, grid, mode="bilinear", align_corners=True)[0, 0] + fill).numpy()
    return values


def warped(picture: Picture, matrix: Matrix, *, size: tuple[int, int] | None = None, fill: float = 0.0) -> Picture:
    """A picture brought into another frame.

    Args:
        picture: (H, W).
        matrix: from the picture's points to the frame's; not singular.
        size: (height, width) of the frame; by default the picture's.
        fill: where the frame sees nothing of the picture.
    """
    return resampled(picture, moved(pixels(*(size or picture.shape)), inverse(matrix)), fill=fill)


def warped_mask(mask: NDArray[np.bool_], matrix: Matrix, *, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """A mask (H, W) brought into another frame; see `warped`."""
    inside: NDArray[np.bool_] = warped(mask.astype(np.float32), matrix, size=size) > 0.5
    return inside


def motion(
    center: tuple[float, float], *, degrees: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> Matrix:
    """A turn around a center, then a shift.

    Args:
        center: x and y, stays where it is but for the shift.
        degrees: as seen, above 0 against the clock.
        scale: factor of all distances.
        shift: x and y in pixels.
    """
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    x, y = center
    return np.array(
        [[cos, sin, (1 - cos) * x - sin * y + shift[0]], [-sin, cos, sin * x + (1 - cos) * y + shift[1]], [0, 0, 1]]
    )


@dataclass(frozen=True)
class Warp:
    """A motion, and a bend of what it gives.

    Args:
        matrix: from the source to the target.
        bend: (H, W, 2), what is added to a pixel of the target before its place in the source is looked up; None for
            a motion alone.
    """

    matrix: Matrix
    bend: NDArray[np.float32] | None = None

    def __call__(self, points: Points) -> Points:
        """Points of the target for points (N, 2) of the source."""
        straight = moved(points, self.matrix)
        if self.bend is None:
            return straight
        found = straight
        for _ in range(_ROUNDS):
            found = straight - self._bent(found)
        return found

    def picture(self, picture: Picture, *, fill: float) -> Picture:
        """The picture (H, W) in the target's frame, of the same size."""
        places = pixels(*picture.shape)
        if self.bend is not None:
            places = places + self.bend
        return resampled(picture, moved(places, inverse(self.matrix)), fill=fill)

    def _bent(self, points: Points) -> Points:
        assert self.bend is not None
        both = [resampled(self.bend[..., axis], points[None])[0] for axis in (0, 1)]
        return np.stack(both, axis=-1).astype(np.float64)
