"""FingerNet: ridges made clear, their directions, where the print is, and its minutiae, in one pass.

Two programs hold this network and differ, so weights mean what they did in one of them only. `semantics` says which:

             normalization's epsilon   the filters act on   phase
    keras    1e-3                      the image            of (real + 1e-7, imaginary), 0 where that is upright
    flax     1e-5                      the evened image     of (real, imaginary)
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.ifvit.parts.backbone import start_convolutions
from gradatim.systems.ifvit.parts.gabor import CELL, DIRECTIONS, GaborBank
from gradatim.vision.batch_norm import BatchNorm

Semantics = Literal["keras", "flax"]
_EPSILON: Mapping[Semantics, float] = {"keras": 1e-3, "flax": 1e-5}
_DILATIONS = (1, 4, 8)
_ANGLES = 180
_LEAST = 1e-12


class RidgeMaps(NamedTuple):
    """What FingerNet says of the ridges of a batch of prints.

    Args:
        enhanced: (B, 1, H, W), the filters' even responses; not bounded, ridges are below 0.
        imaginary: the odd ones.
        orientation: (B, 90, H / 8, W / 8) in [0, 1], number n for 2 n - 89 degrees.
        segmentation: (B, 1, H / 8, W / 8) in [0, 1], above one half where the print is.
    """

    enhanced: Tensor
    imaginary: Tensor
    orientation: Tensor
    segmentation: Tensor


class MinutiaeMaps(NamedTuple):
    """What FingerNet says of the minutia that each cell of 8 x 8 pixels may hold.

    Args:
        angle: (B, 180, H / 8, W / 8) in [0, 1], number n for 2 n - 89 degrees.
        x: (B, 8, H / 8, W / 8) in [0, 1], the column within the cell.
        y: same shape, the row within the cell.
        score: (B, 1, H / 8, W / 8) in [0, 1], whether there is one.
    """

    angle: Tensor
    x: Tensor
    y: Tensor
    score: Tensor


class Unit(nn.Module):
    """Convolution, batch normalization and a rectifier with a slope of its own for each channel.

    Args:
        inside, outside: channels.
        kernel: side of the kernel.
        epsilon: of the normalization.
        dilation: of the kernel.
    """

    def __init__(self, inside: int, outside: int, kernel: int, *, epsilon: float, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2 * dilation, dilation=dilation)
        self.norm = BatchNorm(outside, epsilon=epsilon)
        self.slope = nn.PReLU(outside)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H, W)."""
        y: Tensor = self.slope(self.norm(self.conv(x)))
        return y


class Head(nn.Module):
    """Two convolutions of single pixels.

    Args:
        inside, between, outside: channels.
        epsilon: of the normalization behind the first.
    """

    def __init__(self, inside: int, between: int, outside: int, *, epsilon: float) -> None:
        super().__init__()
        self.unit = Unit(inside, between, 1, epsilon=epsilon)
        self.out = nn.Conv2d(between, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H, W), not bounded."""
        y: Tensor = self.out(self.unit(x))
        return y


class Branch(nn.Module):
    """Directions and foreground from what lies around a cell, near or far.

    Args:
        dilation: how far.
        epsilon: of the normalizations.
    """

    def __init__(self, dilation: int, *, epsilon: float) -> None:
        super().__init__()
        self.context = Unit(256, 256, 3, dilation=dilation, epsilon=epsilon)
        self.orientation = Head(256, 128, DIRECTIONS, epsilon=epsilon)
        self.segmentation = Head(256, 128, 1, epsilon=epsilon)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 256, h, w) -> (B, 90, h, w) and (B, 1, h, w), not bounded."""
        around = self.context(x)
        return self.orientation(around), self.segmentation(around)


class MinutiaeNet(nn.Module):
    """Minutiae from the ridges' phase and the foreground.

    Args:
        epsilon: of the normalizations.
    """

    def __init__(self, *, epsilon: float) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(
            Unit(inside, outside, kernel, epsilon=epsilon)
            for inside, outside, kernel in ((2, 64, 9), (64, 128, 5), (128, 256, 3))
        )
        self.angle = Head(256 + DIRECTIONS, 256, _ANGLES, epsilon=epsilon)
        self.x = Head(256, 256, CELL, epsilon=epsilon)
        self.y = Head(256, 256, CELL, epsilon=epsilon)
        self.score = Head(256, 256, 1, epsilon=epsilon)

    def forward(self, ridges: Tensor, orientation: Tensor) -> MinutiaeMaps:
        """Ridges (B, 2, H, W) and orientation (B, 90, H / 8, W / 8) -> maps."""
        x = ridges
        for unit in self.trunk:
            x = F.max_pool2d(unit(x), 2)
        angle = self.angle(torch.cat([x, orientation], dim=1))
        return MinutiaeMaps(angle.sigmoid(), self.x(x).sigmoid(), self.y(x).sigmoid(), self.score(x).sigmoid())


class FingerNet(nn.Module):
    """FingerNet (Tang et al. 2017); He-normal weights to begin with.

    Args:
        semantics: the program whose weights are loaded.
    """

    def __init__(self, semantics: Semantics = "keras") -> None:
        super().__init__()
        self.semantics = semantics
        epsilon = _EPSILON[semantics]
        widths = (1, 64, 64, 128, 128, 256, 256, 256)
        self.stem = nn.ModuleList(Unit(inside, outside, 3, epsilon=epsilon) for inside, outside in pairwise(widths))
        self.branches = nn.ModuleList(Branch(dilation, epsilon=epsilon) for dilation in _DILATIONS)
        self.gabor = GaborBank()
        self.minutiae = MinutiaeNet(epsilon=epsilon)
        start_convolutions(self)

    def forward(self, image: Tensor) -> tuple[RidgeMaps, MinutiaeMaps]:
        """All that the network says of prints (B, 1, H, W) in [0, 1]; raises as `ridges` does."""
        found = self.ridges(image)
        phase = torch.atan2(found.imaginary, found.enhanced)
        if self.semantics == "keras":
            upright = found.enhanced + 1e-7
            phase = torch.where(upright == 0, 0.0, torch.atan2(found.imaginary, upright))
        weight = _spread(F.softsign(found.segmentation))
        return found, self.minutiae(torch.cat([phase, weight], dim=1), found.orientation)

    def ridges(self, image: Tensor) -> RidgeMaps:
        """Clear ridges, their directions and the foreground of prints (B, 1, H, W) in [0, 1], without the minutiae.

        Raises:
            DataError: a side is no multiple of 8.
        """
        height, width = image.shape[2:]
        if height % CELL or width % CELL:
            raise DataError(f"a print of {height} x {width} pixels: FingerNet needs multiples of {CELL}")
        even = evened(image)
        features = even
        for number, unit in enumerate(self.stem):
            features = unit(features)
            if number in (1, 3, 6):
                features = F.max_pool2d(features, 2)
        orientation, segmentation = (
            torch.stack(maps).sum(0).sigmoid()
            for maps in zip(*(branch(features) for branch in self.branches), strict=True)
        )
        filtered = image if self.semantics == "keras" else even
        enhanced, imaginary = self.gabor(filtered, self.gabor.peak(orientation))
        return RidgeMaps(enhanced, imaginary, orientation, segmentation)


def evened(image: Tensor) -> Tensor:
    """Prints (B, 1, H, W) with mean 0 and deviation 1 each; 0 where a print has one value only."""
    away = image - image.mean((1, 2, 3), keepdim=True)
    return away / away.square().mean((1, 2, 3), keepdim=True).clamp(min=_LEAST).sqrt()


def _spread(cells: Tensor) -> Tensor:
    """Each cell's value for all of its pixels."""
    return F.interpolate(cells, scale_factor=CELL, mode="nearest")
