"""FlowChroma in the smallest: a model's sizes, its parts, a file with them, and scenes to color."""

import numpy as np
import torch

from gradatim.runs.lineage import Lineage, Origin
from gradatim.systems.flowchroma.model import PARTS, FlowChromaSettings
from gradatim.weights import part_digest, write_weights
from pictures import save

MODEL = {
    "flow": {"width": 8, "features": 8, "widths": [4, 4, 8], "levels": 2, "radius": 1, "iterations": 2},
    "swin": {"width": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "window": 1, "hidden": 8},
    "match_width": 8, "fusion": "simple", "fusion_width": 4, "train_tokens": 20.0, "size": [32, 40], "match_size": 32,
}  # fmt: skip
USED = ("memflow", "swin", "warpnet", "fusion")


def sizes(**changes):
    """Settings of the tiny model."""
    return FlowChromaSettings(**{**MODEL, **changes})


def parts(names=USED, **changes):
    """Parts that carry colors somewhere, in evaluation mode."""
    torch.manual_seed(0)
    built = {name: PARTS[name](sizes(**changes)).eval().requires_grad_(False) for name in names}
    if "memflow" in built:
        built["memflow"].update.gamma.fill_(1)
        # A network that has learned nothing hardly looks at the second frame.
        built["memflow"].features.out.weight.mul_(30)
    return built


def model_file(path, names=USED):
    """A file of ours; returns its path."""
    built = parts(names)
    lineage = {
        name: Lineage(part=name, origin=Origin(kind="fresh", digest=part_digest(part), detail={})).to_json()
        for name, part in built.items()
    }
    header = {"system": "flowchroma", "model": MODEL, "lineage": lineage}
    write_weights(path, {name: part.state_dict() for name, part in built.items()}, header)
    return path


def scene(count=3, *, size=(36, 50), gray=False):
    """Smooth frames whose pattern moves, (H, W, 3) uint8 each, of mild colors or none."""
    y, x = np.mgrid[: size[0], : size[1]] / 8
    frames = []
    for number in range(count):
        lightness = 120 + 40 * np.sin(x + 0.3 * number) * np.cos(y)
        tint = np.zeros(3) if gray else np.array([20, -5, -20])
        frames.append(np.rint(lightness[..., None] + tint * np.cos(y / 2)[..., None]).astype(np.uint8))
    return frames


def scene_folder(folder, count=3, *, suffix=".png", **how):
    """Write a scene as `f0.png` and so on; returns the folder."""
    for number, frame in enumerate(scene(count, **how)):
        save(folder / f"f{number}{suffix}", frame)
    return folder
