"""LAB as the networks take it, and the ways between it and RGB.

Networks take L / 50 - 1, a / 127 and b / 127, here called normalized. Two ways lead there from pixels, whose numbers
differ by up to two levels: `lab_of_levels` through OpenCV's tables of whole numbers, for frames, and `lab_of_values`
through its formula, for what is matched with a reference. Both need OpenCV, `rgb_of_lab` does not and has a gradient.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.data.image import Picture
from gradatim.data.opencv import opencv
from gradatim.vision.precision import full_precision, widened

MIDDLE_L = 50.0
"""What L is divided by; 1 is then taken away."""
LARGEST_AB = 127.0
"""What a and b are divided by."""
_PURPOSE = "LAB of pixels"
_WHITE = (0.95047, 1.0, 1.08883)
_TO_RGB = (
    (3.24048134, -1.53715152, -0.49853633),
    (-0.96925495, 1.87599, 0.04155593),
    (0.05564664, -0.20404134, 1.05731107),
)


def normalized(lab: Tensor) -> Tensor:
    """L in [0, 100], a and b in about [-128, 127], (..., 3, H, W) -> the same in about [-1, 1]."""
    return torch.cat([lab[..., :1, :, :] / MIDDLE_L - 1, lab[..., 1:, :, :] / LARGEST_AB], dim=-3)


def restored(lab: Tensor, *, ab: bool = True) -> Tensor:
    """Undo `normalized`.

    Args:
        lab: normalized, (..., 3, H, W).
        ab: False leaves a and b as they are, so that colors of the result are almost gray. Weights of SwinTExCo that
            FlowChroma's variant trained have seen references so.
    """
    lightness, colors = lab[..., :1, :, :], lab[..., 1:, :, :]
    return torch.cat([(lightness + 1) * MIDDLE_L, colors * LARGEST_AB if ab else colors], dim=-3)


def gray_picture(lightness: Tensor) -> Tensor:
    """RGB that shows the lightness alone: normalized, (B, 1, H, W) -> (B, 3, H, W) in [0, 1]."""
    return ((lightness + 1) / 2).expand(-1, 3, -1, -1)


def rgb_of_lab(lab: Tensor) -> Tensor:
    """sRGB of colors, with a gradient; what no screen can show is clipped, and has none.

    Args:
        lab: L in [0, 100], a and b, (..., 3, H, W); see `restored`.

    Returns:
        (..., 3, H, W) in [0, 1], at least float32.

    Source:
        CIE 1976 L*a*b* for the white of D65, and IEC 61966-2-1. Of the three arguments of the inverse only that of Z
        is held at 0 from below.
    """
    with full_precision(lab):
        lightness, a, b = widened(lab).unbind(dim=-3)
        y = (lightness + 16) / 116
        roots = torch.stack([a / 500 + y, y, (y - b / 200).clamp_min(0)], dim=-3)
        white = roots.new_tensor(_WHITE)[:, None, None]
        xyz = torch.where(roots > 0.2068966, roots**3, (roots - 16 / 116) / 7.787) * white
        linear = torch.einsum("rx,...xhw->...rhw", roots.new_tensor(_TO_RGB), xyz)
        # A power of what is not positive would make the gradient nan, though the other branch is chosen.
        curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
        return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)


def lab_of_levels(picture: Picture) -> Tensor:
    """Normalized LAB of a frame, by whole numbers.

    Args:
        picture: RGB, (H, W, 3) uint8.

    Returns:
        (3, H, W) float32.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = opencv(_PURPOSE)
    levels = _channels_first(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32))
    return normalized(torch.cat([levels[:1] * 100 / 255, levels[1:] - 128]))


def lab_of_values(picture: Picture) -> Tensor:
    """Normalized LAB of a picture, by the formula; arguments, results and errors as of `lab_of_levels`."""
    cv2 = opencv(_PURPOSE)
    values = picture.astype(np.float32) / 255
    return normalized(_channels_first(cv2.cvtColor(values, cv2.COLOR_RGB2LAB)))


def levels_of_lab(lab: Tensor) -> Picture:
    """A picture to be written.

    Args:
        lab: normalized, (3, H, W), anywhere.

    Returns:
        RGB, (H, W, 3) uint8, through LAB that is cut down to whole numbers as published pictures are.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = opencv(_PURPOSE)
    true = restored(widened(lab.detach())).cpu()
    levels = torch.cat([true[:1] * 255 / 100, true[1:] + 128]).clamp(0, 255).to(torch.uint8)
    picture: Picture = cv2.cvtColor(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()), cv2.COLOR_LAB2RGB)
    return picture


def _channels_first(picture: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
