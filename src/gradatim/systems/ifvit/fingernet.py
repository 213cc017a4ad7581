"""FingerNet from its published weights, and the enhancer that it makes.

There are no other weights to begin with, so a file either gives every array of the network, or nothing is loaded.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from gradatim.systems.ifvit.fingernet_layouts import FINGERNET_LAYOUTS
from gradatim.systems.ifvit.minutiae import Minutiae, decoded, foreground, thinned_out
from gradatim.systems.ifvit.overlap import Mask
from gradatim.systems.ifvit.parts.fingernet import FingerNet, Semantics
from gradatim.systems.ifvit.parts.gabor import CELL
from gradatim.systems.ifvit.warping import Picture
from gradatim.weights import read_weights, transfer


def load_fingernet(path: str | Path, *, semantics: Semantics = "keras") -> FingerNet:
    """FingerNet in evaluation mode, with all arrays of a file.

    Args:
        path: Keras weights or a whole Keras model (`Model.model`), their .npz export, or a file of the Flax copy.
        semantics: the program that the weights were trained in, which is Keras for all published ones; see
            `gradatim.systems.ifvit.parts.fingernet`.

    Raises:
        FormatError: no such file, a damaged one, or one with anything that would have to be run.
        WeightsError: an array is missing, unexpected or of another shape; the message lists them.
        MissingExtraError: a Keras file, and h5py is not installed.
    """
    network = FingerNet(semantics)
    transfer(read_weights(path), {"fingernet": network}, layouts=FINGERNET_LAYOUTS)
    return network.eval()


@dataclass(frozen=True)
class FingerNetEnhancer:
    """Prints with clear ridges on an empty ground, by FingerNet; to be called like `enhancement.enhanced`.

    Args:
        network: in evaluation mode, on any device.
    """

    network: FingerNet

    @torch.no_grad()
    def __call__(self, picture: Picture, mask: Mask | None = None) -> Picture:
        """A print with clear ridges on an empty ground.

        Args:
            picture: (H, W) in [0, 1], dark ridges, of any size.
            mask: (H, W), where the print is; by default what the network says.

        Returns:
            (H, W) in [0, 1]: ridges are dark, the ground is white. The network's values are divided by their root mean
            square within the mask, v, and become (1 + tanh(1.5 v)) / 2, as in the classical enhancer.
        """
        height, width = picture.shape
        found = self.network.ridges(_batch(self.network, picture))
        if mask is None:
            mask = foreground(found.segmentation[0, 0])[:height, :width]
        if not mask.any():
            return np.ones_like(picture, np.float32)
        values = found.enhanced[0, 0, :height, :width].cpu().numpy()
        strength = np.sqrt(np.mean(values[mask] ** 2)) + 1e-6
        return np.where(mask, 0.5 * (1 + np.tanh(1.5 * values / strength)), 1).astype(np.float32)

    @torch.no_grad()
    def mask(self, picture: Picture) -> Mask:
        """Where a print (H, W) is: the network's foreground without small areas."""
        height, width = picture.shape
        return foreground(self.network.ridges(_batch(self.network, picture)).segmentation[0, 0])[:height, :width]


@torch.no_grad()
def find_minutiae(network: FingerNet, picture: Picture, *, threshold: float = 0.5) -> Minutiae:
    """Minutiae of a print, the best of those that lie together, best first.

    Args:
        network: in evaluation mode.
        picture: (H, W) in [0, 1], dark ridges, of any size.
        threshold: score that a minutia must exceed.

    Returns:
        (N, 4): x, y, direction in radians, score. Those beyond the network's foreground are left out.
    """
    height, width = picture.shape
    ridges, maps = network(_batch(network, picture))
    (found,) = decoded(maps, threshold=threshold)
    mask = foreground(ridges.segmentation[0, 0])[:height, :width]
    x, y = found[:, 0].astype(int), found[:, 1].astype(int)
    within = (x < width) & (y < height)
    within[within] = mask[y[within], x[within]]
    return thinned_out(found[within])


def _batch(network: FingerNet, picture: Picture) -> torch.Tensor:
    """A print (H, W) as a batch (1, 1, h, w) of multiples of 8: its last row and column are repeated."""
    height, width = picture.shape
    image = torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None, None]
    whole = F.pad(image, (0, -width % CELL, 0, -height % CELL), mode="replicate")
    return whole.to(network.gabor.real.device)
