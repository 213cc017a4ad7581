"""Prints registered by a model that was trained for dense matching: the motion, and the places that correspond."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.systems.ifvit.alignment import Alignment, Search, align, settled
from gradatim.systems.ifvit.geometry import cell_points, mutual_matches
from gradatim.systems.ifvit.overlap import Mask, ridge_mask
from gradatim.systems.ifvit.prints import background
from gradatim.systems.ifvit.warping import Matrix, Picture, Points, inverse, moved, warped

Compute = Callable[[str, Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
"""(task, sample with a batch axis, wanted values) -> values: the `compute` of a loaded model, without gradients."""
LEAST_SURE = 1e-3
"""Probability of a match; cells without ridges have 0."""
_LEAST_COVERED = 0.5
"""Share of a cell that a print covers, so that it can be matched."""
_CELLS = {"resnet18": 16, "loftr_fpn": 8}
"""Pixels of a cell by backbone."""
_REACH = 1.5
"""Cells that matched cells may leave a motion wrong by."""


@dataclass(frozen=True)
class Registered:
    """How one print comes to lie on another.

    Args:
        alignment: what matched cells agree on; None where they agree on nothing.
        matrix: from the first print's points to the second's, ridges on ridges.
        likeness: correlation of the ridges that both show there, in [-1, 1].
    """

    alignment: Alignment | None
    matrix: Matrix
    likeness: float


class Registrar:
    """Registers prints.

    Args:
        compute: of a model with the task `dense`.
        backbone: kind of its backbone.
        search: how a motion is looked for.
        still: whether prints lie on one another already, and none is looked for.
        device: where the model is.
    """

    def __init__(
        self,
        compute: Compute,
        backbone: str,
        *,
        search: Search | None = None,
        still: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.compute, self.cell, self.still, self.device = compute, _CELLS[backbone], still, device
        self.search = search or Search(threshold=LEAST_SURE)
        self._last: tuple[Picture, Mask] | None = None

    def register(self, first: Picture, second: Picture, masks: tuple[Mask, Mask]) -> Registered:
        """The motion that brings the first print onto the second.

        Args:
            first, second: squares (S, S) in [0, 1], S a multiple of a cell.
            masks: (S, S), where they show ridges.
        """
        if self.still:
            return Registered(None, *settled(first, second, masks, np.eye(3), reach=0, degrees=0))
        found = align(first, second, self.probability, self.search)
        rough = np.eye(3) if found is None else found.matrix
        matrix, likeness = settled(first, second, masks, rough, reach=_REACH * self.cell)
        return Registered(found, matrix, likeness)

    def probability(self, first: Picture, second: Picture) -> NDArray[np.float32]:
        """(cells of the first, cells of the second); cells that show no ridges match nothing."""
        sample = {"image1": as_batch(first, self.device), "image2": as_batch(second, self.device)}
        values = self.compute("dense", sample, ("probability", "features1"))
        result: NDArray[np.float32] = values["probability"][0].float().cpu().numpy().copy()
        grid = tuple(values["features1"].shape[2:])
        result[~_covered(ridge_mask(first), grid), :] = 0
        result[:, ~_covered(self._mask_of(second), grid)] = 0
        return result

    def correspondences(self, first: Picture, second: Picture, matrix: Matrix) -> tuple[Points, NDArray[np.float64]]:
        """Places of both prints that correspond when one lies on the other, the surest first.

        Returns:
            (N, 4), x and y in the first print, x and y in the second; and how probable each is, (N,) in [0, 1].
        """
        probability = self.probability(warped(first, matrix, fill=background(first)), second)
        cells = mutual_matches(probability, threshold=self.search.threshold)
        side = round(len(probability) ** 0.5)
        places = [cell_points(cells[:, at], (side, side), second.shape) for at in (0, 1)]
        sure = probability[cells[:, 0], cells[:, 1]].astype(np.float64)
        near = np.linalg.norm(places[0] - places[1], axis=1) <= _REACH * self.cell
        order = np.flatnonzero(near)[np.argsort(-sure[near], kind="stable")]
        back = moved(places[0][order], inverse(matrix))
        return np.concatenate([back, places[1][order]], axis=1), sure[order]

    def _mask_of(self, picture: Picture) -> Mask:
        """The mask of a picture that is asked for again and again: the second, while turns of the first are tried."""
        if self._last is None or self._last[0] is not picture:
            self._last = (picture, ridge_mask(picture))
        return self._last[1]


def as_batch(picture: Picture, device: torch.device | str) -> Tensor:
    """A picture (H, W) as (1, 1, H, W) on a device."""
    return torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None, None].to(device)


def _covered(mask: Mask, grid: Sequence[int]) -> NDArray[np.bool_]:
    """Cells that a print covers by half, (cells,)."""
    rows, columns = grid
    inside = torch.from_numpy(mask.astype(np.float32))[None, None]
    shares = torch.nn.functional.adaptive_avg_pool2d(inside, (rows, columns))
    return (shares.flatten() >= _LEAST_COVERED).numpy()
