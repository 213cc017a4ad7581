"""Augmentation of a window of frames as a whole: all frames alike, so that colors still follow the motion."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradatim.systems.flowchroma.color import normalized, restored

_FLIP = 0.5
_CHANGED = 0.3
_FACTORS = (0.8, 1.2)


@dataclass(frozen=True)
class JointChange:
    """What was drawn for one window.

    Args:
        flip: whether left and right are exchanged.
        lightness: factor of L, from black.
        color: factor of a and b.
    """

    flip: bool = False
    lightness: float = 1.0
    color: float = 1.0

    def of(self, frames: Tensor) -> Tensor:
        """Do it to normalized LAB, (T, 3, H, W); L stays in [0, 100], a and b in [-128, 127]."""
        if self.flip:
            frames = frames.flip(-1)
        if (self.lightness, self.color) == (1.0, 1.0):
            return frames
        lab = restored(frames)
        lightness = (lab[:, :1] * self.lightness).clamp(0, 100)
        return normalized(torch.cat([lightness, (lab[:, 1:] * self.color).clamp(-128, 127)], dim=1))


def draw_joint_change(random: np.random.Generator) -> JointChange:
    """Choose what is done to a window.

    Args:
        random: the one source of the choice.

    Source:
        The color training of MemFlow: mirrored with probability 0.5; with 0.3 each, L and the colors are multiplied by
        0.8 to 1.2.
    """
    flip = bool(random.random() < _FLIP)
    lightness, color = (float(random.uniform(*_FACTORS)) if random.random() < _CHANGED else 1.0 for _ in range(2))
    return JointChange(flip=flip, lightness=lightness, color=color)
