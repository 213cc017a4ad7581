"""How good colored frames are: SSIM and PSNR to the true ones, and CDC, the steadiness of colors over time.

Frames are RGB (H, W, 3) in 0..255; all is computed in double precision.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.data.image import Picture
from gradatim.data.opencv import opencv
from gradatim.errors import DataError
from gradatim.vision.similarity import structural_similarity

_DATA_RANGE = 255.0
DILATIONS = (1, 2, 4)
"""Distances in frames over which CDC compares colors."""


def ssim(frame: NDArray[Any], target: NDArray[Any]) -> float:
    """Mean structural similarity of the three colors, 1 for equal frames.

    Raises:
        DataError: sizes differ, or are below 7 pixels.
    """
    _check_sizes(frame, target)
    if min(frame.shape[:2]) < 7:
        raise DataError(f"frame is {frame.shape[0]} x {frame.shape[1]}, SSIM needs at least 7 x 7.")
    return float(structural_similarity(_colors(frame), _colors(target), data_range=_DATA_RANGE).mean())


def psnr(frame: NDArray[Any], target: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB over all three colors; infinite for equal frames.

    Raises:
        DataError: sizes differ.
    """
    _check_sizes(frame, target)
    error = (_colors(frame) - _colors(target)).square().mean()
    return float(10 * torch.log10(_DATA_RANGE**2 / error))


def resized_for_comparison(frame: Picture, size: tuple[int, int] = (224, 224)) -> NDArray[np.float32]:
    """A frame at the size (height, width) at which published SSIM and PSNR are taken.

    It goes through OpenCV's Lanczos filter, and what overshoots 0..255 is not clipped.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = opencv("comparison at a published size")
    values = frame.astype(np.float32)
    resized: NDArray[np.float32] = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LANCZOS4)
    return resized


def color_distribution_consistency(frames: Sequence[Picture], dilations: Sequence[int] = DILATIONS) -> float:
    """CDC: how much the frames' histograms of colors change over time; 0 if not at all, at most ln 2.

    Args:
        frames: uint8, in order; their sizes may differ.
        dilations: distances in frames, which weigh the same.

    Raises:
        DataError: there are too few frames for the largest distance.

    Source:
        Temporally consistent video colorization (Liu et al. 2021, arXiv 2110.04562): Jensen-Shannon divergence of
        each color's 256 levels by the natural logarithm.
    """
    if len(frames) <= max(dilations):
        raise DataError(f"{len(frames)} frame(s), CDC over {max(dilations)} frames needs {max(dilations) + 1}.")
    shares = torch.stack([_shares(frame) for frame in frames])
    return float(torch.stack([_divergence(shares[:-d], shares[d:]).mean() for d in dilations]).mean())


def _shares(frame: Picture) -> Tensor:
    """Share of each level in each color, (3, 256)."""
    counts = torch.stack([torch.bincount(color.flatten().long(), minlength=256) for color in _colors(frame)])
    return counts / counts.sum(dim=1, keepdim=True).double()


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last axis."""
    mixed: Tensor = torch.special.entr((first + second) / 2)
    alone: Tensor = (torch.special.entr(first) + torch.special.entr(second)) / 2
    return (mixed - alone).sum(dim=-1)


def _check_sizes(frame: NDArray[Any], target: NDArray[Any]) -> None:
    if frame.shape != target.shape:
        raise DataError(f"frame is {frame.shape}, its target {target.shape}: both must have one size.")


def _colors(frame: NDArray[Any]) -> Tensor:
    return torch.from_numpy(frame.astype(np.float64)).permute(2, 0, 1)
