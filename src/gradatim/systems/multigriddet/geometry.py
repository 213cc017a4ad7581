"""Where a cell's prediction lies: the activation of offsets, cells' corners, boxes in pixels, overlaps.

Boxes are corners x1, y1, x2, y2 or centers with sizes cx, cy, w, h, always in this order. Letters: B batch, h x w cells
of a scale, A anchors of a scale, N boxes.
"""

import torch
from torch import Tensor

CLAMP = 10.0
"""Largest logarithm of a size relative to its anchor; beyond it exp would soon be infinite."""


def offset(raw: Tensor) -> Tensor:
    """tanh(0.15 t) + sigmoid(0.15 t): the place in units of a cell, -1 to 2, 0.5 at zero."""
    return torch.tanh(0.15 * raw) + torch.sigmoid(0.15 * raw)


def offset_inverse(value: Tensor) -> Tensor:
    """The raw number whose `offset` is `value`, by Newton's method in double precision."""
    wanted = value.double()
    x = ((wanted - 0.5) / 0.1875).clamp(-30, 30)
    for _ in range(50):
        tanh, sigmoid = torch.tanh(0.15 * x), torch.sigmoid(0.15 * x)
        slope = 0.15 * (1 - tanh * tanh) + 0.15 * sigmoid * (1 - sigmoid)
        move = ((tanh + sigmoid - wanted) / slope.clamp_min(1e-30)).clamp(-50, 50)
        x = x - move
        if bool((move.abs() < 1e-8).all()):
            break
    return x.to(value.dtype)


def cells(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(column, row) of every cell, (h, w, 2)."""
    rows = torch.arange(height, device=device, dtype=torch.float32)
    columns = torch.arange(width, device=device, dtype=torch.float32)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], -1)


def corners(boxes: Tensor) -> Tensor:
    """cx, cy, w, h -> x1, y1, x2, y2."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], -1)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area that corner boxes of broadcast shapes share."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    size = (high - low).clamp_min(0)
    return size[..., 0] * size[..., 1]


def area(boxes: Tensor) -> Tensor:
    """Area of corner boxes."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Intersection over union of corner boxes of broadcast shapes."""
    both = intersection(a, b)
    return both / (area(a) + area(b) - both + epsilon)


def common_center_iol(sizes: Tensor, anchors: Tensor, epsilon: float = 0.0) -> Tensor:
    """Intersection over the larger area at a common center, (N, 2) and (A, 2) -> (N, A)."""
    shared = torch.minimum(sizes[:, None], anchors[None]).prod(-1)
    return shared / (torch.maximum(sizes.prod(-1)[:, None], anchors.prod(-1)[None]) + epsilon)
