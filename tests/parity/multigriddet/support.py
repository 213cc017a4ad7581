"""What the parity tests of MultiGridDet share."""

import json
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gradatim.systems.multigriddet.assessment import Scale
from gradatim.systems.multigriddet.parts.backbone import SCALES, STRIDES
from parity.support import filled

OUTPUT, TARGET, DECODED, LOSS, GRADIENT, STEP = 1e-4, 1e-6, 1e-5, 1e-4, 1e-3, 1e-3
"""Tolerances of the specification: of an output's largest number, of targets, of decoded boxes, relative for losses,
for gradients, and for the losses of training mode."""


class Folder:
    """Files of the system's parity folder, each array of which must be used."""

    def __init__(self, root):
        self.root, self.folder = root, root / "multigriddet"

    def json(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())

    def arrays(self, name):
        """Arrays of an .npz as tensors."""
        with np.load(self.folder / f"{name}.npz") as found:
            return {key: torch.from_numpy(found[key]) for key in found.files}

    def rule(self, keys: Mapping[str, list[int]]) -> dict[str, Tensor]:
        """Arrays by the fill rule, named as our reader of Keras files names them."""
        return {key.removesuffix(":0"): array for key, array in filled(self.root, keys).items()}


def anchors_of(info):
    return [torch.tensor(one) for one in info["anchors"]]


def channels_first(x):
    return x.permute(0, 3, 1, 2)


def relative(found, expected):
    """Largest difference relative to the largest number."""
    assert found.shape == expected.shape
    return float((found.detach() - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def scales_of(raw, told, anchors):
    """Scales whose every cell with an object tells one of its own, as in a file that does not say whose it is."""
    found = []
    for p, t, one, stride in zip(raw, told, anchors, STRIDES, strict=True):
        has = t[..., 4] > 0.5
        owners = torch.full(has.shape, -1)
        owners[has] = torch.cat([torch.arange(int(image.sum())) for image in has])
        found.append(
            Scale(raw=p, told=t, owners=owners, objects=int(owners.max()) + 1, anchors=one, stride=(stride, stride))
        )
    return found


def by_scale(values):
    return dict(zip(SCALES, values, strict=True))
