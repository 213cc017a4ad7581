"""FlowChroma in the smallest: sizes, and a finished run of one step on videos that are drawn."""

from gradatim import Plan, Stage, run

MODEL = {
    "flow": {"width": 8, "features": 8, "widths": [4, 4, 8], "levels": 2, "radius": 1, "iterations": 2},
    "swin": {"width": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "window": 1, "hidden": 8},
    "match_width": 8, "fusion": "simple", "fusion_width": 4, "train_tokens": 20.0, "size": [32, 40], "match_size": 32,
}  # fmt: skip
DATA = {"drawn": {"count": 4, "frames": 6}, "holdout": 0.5, "length": 5}
PARTS = ("memflow", "swin", "warpnet", "fusion")


def coloring_run(folder, *, parts=PARTS, task="fuse_alone", losses=None):
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
