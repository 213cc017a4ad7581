"""FlowChroma in the smallest: sizes, a file with its parts, videos, and finished runs of all stages or of one."""

import numpy as np
import torch
from PIL import Image

from gradatim import Plan, Stage, run
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.runs.lineage import Lineage, Origin
from gradatim.systems.flowchroma.model import PARTS, FlowChromaSettings
from gradatim.systems.flowchroma.synthetic import DrawnSettings, drawn_videos
from gradatim.weights import part_digest, write_weights
from once import drawn
from pictures import save

MODEL = {
    "flow": {"width": 8, "features": 8, "widths": [4, 4, 8], "levels": 2, "radius": 1, "iterations": 2},
    "swin": {"width": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "window": 1, "hidden": 8},
    "match_width": 8, "fusion": "simple", "fusion_width": 4, "color_width": 4, "train_tokens": 20.0,
    "size": [32, 40], "match_size": 32,
}  # fmt: skip
DATA = {"drawn": {"count": 4, "frames": 6}, "holdout": 0.5, "length": 5}
USED = ("memflow", "swin", "warpnet", "fusion")
VIDEOS = {"count": 3, "frames": 4}


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


def tiny_changes(name):
    """What makes a recipe tiny; public files give way to fresh weights."""
    changes = [f"model={MODEL}".replace("'", "")]
    for stage in read_plan_document(name).tree["stages"]:
        own = f"stages.{stage['name']}"
        changes += [f"{own}.batch_size=2"]
        changes += [f"{own}.init.{part}=fresh" for part, source in stage["init"].items() if source != "fresh"]
        if "drawn" in stage["data"]:
            changes.append(f"{own}.data.drawn={VIDEOS}".replace("'", ""))
        else:
            changes += [f"{own}.data.holdout=0.4", f"{own}.precision=fp32"]
    return changes


def frame_folders(folder):
    """Videos as folders of frames and their references, under the names that the recipes give them."""
    drawn(folder / "frames", _write_frames)
    drawn(folder / "references", _write_references)


def _videos():
    return drawn_videos(DrawnSettings(**VIDEOS), (32, 40))


def _write_frames(folder):
    for number, video in enumerate(_videos()):
        (folder / f"scene{number}").mkdir(parents=True)
        for place, frame in enumerate(video.frames):
            Image.fromarray(frame.read()).save(folder / f"scene{number}" / f"{place:03}.png")


def _write_references(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, video in enumerate(_videos()):
        Image.fromarray(video.references[0][0].read()).save(folder / f"{number}.png")


def finished_colorizer(folder):
    """A run of all stages, an epoch each, in `runs/flowchroma-1`."""
    return drawn(folder / "runs" / "flowchroma-1", _train)


def _train(folder):
    changes = [*tiny_changes("flowchroma/small"), *(f"stages.{n}.epochs=1" for n in ("flow", "match", "fuse"))]
    run(override(read_plan_document("flowchroma/small"), changes), folder)


def coloring_run(folder, *, parts=USED, task="fuse_alone", losses=None):
    """Run one step of one stage; returns the run's folder."""
    stage = Stage(
        name="fuse",
        task=task,
        init=dict.fromkeys(parts, "fresh"),
        train=(parts[-1],),
        losses=losses or {"colors": 1.0},
        lr=1e-3,
        steps=1,
        batch_size=1,
        data=DATA,
    )
    run(Plan(system="flowchroma", model=MODEL, stages=(stage,)), folder)
    return folder
