"""What the detector shall say: each object is told to the 3 x 3 cells around its center, at the scale of its anchor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradatim.systems.multigriddet.geometry import common_center_iol
from gradatim.systems.multigriddet.parts.backbone import SCALES

Encoding = Literal["exact", "floor", "transposed"]
_ENOUGH = 3
_LEAST = 1e-3
_AROUND = (-1, 0, 1)


@dataclass(frozen=True)
class Targets:
    """Targets of a batch.

    Args:
        cells: by scale, (B, h, w, 5 + A + classes): x, y in cells from the cell's corner, logarithms of width and
            height over the anchor's, 1 where an object is told, the anchor and the class one-hot.
        owners: by scale, (B, h, w) int64: which of the image's boxes a cell tells; -1 for none.
    """

    cells: dict[str, Tensor]
    owners: dict[str, Tensor]


def encode(
    boxes: Tensor,
    grids: Sequence[tuple[int, int]],
    pixels: tuple[int, int],
    anchors: Sequence[Tensor],
    classes: int,
    *,
    encoding: Encoding = "exact",
    center_first: bool = False,
) -> Targets:
    """Write boxes into the cells of three scales.

    An object belongs to the anchor with the largest intersection over the larger area at a common center, and to that
    anchor's scale. Objects are written in order; one that comes later takes cells from earlier ones as long as it has
    fewer than three.

    Args:
        boxes: (B, N, 5) corners in pixels of the network's input and class; without area where there is none.
        grids: (h, w) of each scale.
        pixels: (height, width) of the network's input.
        anchors: (A, 2) of each scale.
        classes: how many.
        encoding: `exact` centers; `floor` to whole pixels first, as the original's reference does; `transposed` as its
            default pipeline, with the fractions of x and y exchanged, for comparison with runs of it.
        center_first: an object's own center cell is never taken by another's neighbor.

    Returns:
        Targets on the boxes' device.
    """
    host = boxes.detach().double().cpu().numpy()
    all_anchors = torch.cat([one.detach().double().cpu() for one in anchors])
    counts = [len(one) for one in anchors]
    found = [
        np.zeros((len(host), h, w, 5 + count + classes), np.float32)
        for (h, w), count in zip(grids, counts, strict=True)
    ]
    owners = [np.full((len(host), h, w), -1, np.int64) for h, w in grids]
    for image, image_boxes in enumerate(host):
        sizes = image_boxes[:, 2:4] - image_boxes[:, :2]
        real = np.flatnonzero((sizes > 0).all(1))
        if not len(real):
            continue
        best = _best_anchors(torch.from_numpy(sizes[real]), all_anchors, encoding)
        placed = [
            _place(image_boxes[n], number, counts, all_anchors, grids, pixels, encoding)
            for n, number in zip(real, best.tolist(), strict=True)
        ]
        kept = {(one.scale, one.row, one.column) for one in placed} if center_first else set()
        for n, one in zip(real.tolist(), placed, strict=True):
            _write(one, n, found[one.scale][image], owners[one.scale][image], kept, encoding)
    device = boxes.device
    return Targets(
        cells={name: torch.from_numpy(one).to(device) for name, one in zip(SCALES, found, strict=True)},
        owners={name: torch.from_numpy(one).to(device) for name, one in zip(SCALES, owners, strict=True)},
    )


def _best_anchors(sizes: Tensor, anchors: Tensor, encoding: Encoding) -> Tensor:
    """Number of each size's anchor among those of all scales; the first of equal ones."""
    if encoding == "transposed":
        return common_center_iol(sizes, anchors, 1e-7).argmax(1)
    # The reference rounds to three decimals, so that nearly equal anchors count as equal.
    overlap = (common_center_iol(sizes, anchors) * 1000).round() / 1000
    return overlap.argmax(1)


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """An object at its scale: the cell of its center, the place in it, and the channels that are the same in all."""

    scale: int
    row: int
    column: int
    x: float
    y: float
    rest: np.ndarray


def _place(
    box: np.ndarray,
    number: int,
    counts: Sequence[int],
    anchors: Tensor,
    grids: Sequence[tuple[int, int]],
    pixels: tuple[int, int],
    encoding: Encoding,
) -> _Placed:
    scale, anchor = 0, number
    while anchor >= counts[scale]:
        anchor -= counts[scale]
        scale += 1
    x1, y1, x2, y2, label = box.tolist()
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    if encoding == "floor":
        x, y = float(x // 1), float(y // 1)
    height, width = grids[scale]
    gx, gy = x * width / pixels[1], y * height / pixels[0]
    column, row = min(int(gx), width - 1), min(int(gy), height - 1)
    own_w, own_h = anchors[number].tolist()
    rest = np.zeros(3 + counts[scale] + 1 + int(label), np.float32)
    rest[:3] = math.log(max((x2 - x1) / own_w, _LEAST)), math.log(max((y2 - y1) / own_h, _LEAST)), 1
    rest[3 + anchor] = rest[-1] = 1
    return _Placed(scale=scale, row=row, column=column, x=gx - column, y=gy - row, rest=rest)


def _write(
    one: _Placed,
    number: int,
    cells: np.ndarray,
    owners: np.ndarray,
    kept: set[tuple[int, int, int]],
    encoding: Encoding,
) -> None:
    """Write one object into its cells, column by column."""
    height, width = owners.shape
    count = 0
    for across in _AROUND:
        for down in _AROUND:
            row, column = one.row + down, one.column + across
            if not (0 <= row < height and 0 <= column < width):
                continue
            own = not across and not down
            if not own and (one.scale, row, column) in kept:
                continue
            sated = count >= _ENOUGH and not (own and kept)
            if sated and owners[row, column] >= 0 and encoding != "transposed":
                continue
            cell = cells[row, column]
            cell[:] = 0
            cell[:2] = (one.y - across, one.x - down) if encoding == "transposed" else (one.x - across, one.y - down)
            cell[2 : 2 + len(one.rest)] = one.rest
            owners[row, column] = number
            count += 1


def smoothed(one_hot: Tensor, amount: float) -> Tensor:
    """Label smoothing: t (1 - e) + e / classes."""
    return one_hot * (1 - amount) + amount / one_hot.shape[-1] if amount else one_hot
