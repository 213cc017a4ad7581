"""Sampling pictures where a flow points, carrying a flow on with itself, and padding pictures to a size.

A flow is x and y in pixels, (B, 2, H, W); places likewise, whole numbers at the pixels' middles, counted from 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.vision.precision import widened

_CHUNK = 4096


def pixel_grid(size: tuple[int, int], device: torch.device) -> Tensor:
    """Place of each pixel, (1, 2, H, W) float32 for a `size` of (H, W)."""
    y, x = (torch.arange(side, dtype=torch.float32, device=device) for side in size)
    return torch.stack([x.expand(size), y[:, None].expand(size)])[None]


def sampled(image: Tensor, places: Tensor) -> Tensor:
    """Values of images at places, bilinear between pixels, 0 beyond the border; at least float32.

    Args:
        image: (B, C, H, W).
        places: (B, h, w, 2), x and y in pixels of the image.

    Returns:
        (B, C, h, w).
    """
    height, width = image.shape[2:]
    # One row or column has no extent that its own place could be a share of.
    x, y = 2 * places[..., 0] / max(width - 1, 1) - 1, 2 * places[..., 1] / max(height - 1, 1) - 1
    values = widened(image)
    return F.grid_sample(values, torch.stack([x, y], dim=-1).to(values.dtype), align_corners=True)


def warped(image: Tensor, flow: Tensor) -> Tensor:
    """Images seen through a flow: a pixel at (x, y) becomes the one at (x + u, y + v), 0 beyond the border.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W).

    Returns:
        (B, C, H, W), at least float32.
    """
    places = pixel_grid((flow.shape[2], flow.shape[3]), flow.device) + flow
    return sampled(image, places.permute(0, 2, 3, 1))


def warp_color_by_flow(ab: Tensor, flow: Tensor) -> Tensor:
    """Colors carried by a flow, clamped to [-1, 1].

    Args:
        ab: a and b of LAB divided by 127, (B, 2, H, W).
        flow: (B, 2, H, W) in pixels, on the grid of the frame that is to be colored.

    Returns:
        (B, 2, H, W); 0, which is gray, where the flow leaves the picture.
    """
    return warped(ab, flow).clamp(-1, 1)


@torch.no_grad()
def carried_on(flow: Tensor) -> Tensor:
    """A flow moved along itself, the guess for the next pair of frames.

    Every pixel takes the flow of the pixel that lands nearest to it; pixels that leave the picture land nowhere.

    Args:
        flow: (B, 2, H, W).

    Returns:
        The same shape; 0 where no pixel lands in the picture at all.

    Source:
        RAFT's warm start (Teed and Deng 2020, section 3.3).
    """
    height, width = flow.shape[2:]
    grid = pixel_grid((height, width), flow.device)
    landing_BN2 = (grid + flow).flatten(2).transpose(1, 2)
    inside = (landing_BN2 > 0).all(dim=2) & (landing_BN2 < landing_BN2.new_tensor([width, height])).all(dim=2)
    landing_BN2 = landing_BN2.masked_fill(~inside[..., None], torch.inf)
    pixels_BN2 = grid.flatten(2).transpose(1, 2).expand(len(flow), -1, -1)
    # In pieces: a whole table of distances would be as large as the number of pixels squared.
    starts = range(0, height * width, _CHUNK)
    nearest = [_nearest(pixels_BN2[:, start : start + _CHUNK], landing_BN2) for start in starts]
    chosen = torch.cat(nearest, dim=1)[:, None].expand(-1, 2, -1)
    carried = flow.flatten(2).gather(2, chosen).view_as(flow)
    return torch.where(inside.any(dim=1)[:, None, None, None], carried, 0.0)


def _nearest(places: Tensor, among: Tensor) -> Tensor:
    """For each place the nearest among others, (B, N, 2) and (B, M, 2) -> (B, N)."""
    # Not by products of matrices, in which infinite places become nan.
    return torch.cdist(places, among, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=2)


@dataclass(frozen=True)
class Padding:
    """Pixels that were added around a picture."""

    left: int
    right: int
    top: int
    bottom: int


def padded(frames: Tensor, *, multiple: int = 8, least: int = 128) -> tuple[Tensor, Padding]:
    """Frames with their border repeated until both sides suit the network.

    Args:
        frames: (..., C, H, W).
        multiple: what the sides shall be a multiple of.
        least: what the sides shall have at least.

    Returns:
        The frames, and what `cropped` needs; what cannot be halved goes to the right and to the bottom.
    """
    height, width = frames.shape[-2:]
    y, x = (-(-max(side, least) // multiple) * multiple - side for side in (height, width))
    padding = Padding(x // 2, x - x // 2, y // 2, y - y // 2)
    flat = frames.reshape(-1, *frames.shape[-3:])
    around = (padding.left, padding.right, padding.top, padding.bottom)
    return F.pad(flat, around, mode="replicate").reshape(*frames.shape[:-2], height + y, width + x), padding


def cropped(frames: Tensor, padding: Padding) -> Tensor:
    """Undo `padded` on frames, flows or anything else of (..., H, W)."""
    height, width = frames.shape[-2:]
    return frames[..., padding.top : height - padding.bottom, padding.left : width - padding.right]
