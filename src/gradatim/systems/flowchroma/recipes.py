"""Plans of FlowChroma, and one for two processor cores."""

from collections.abc import Callable, Mapping

from gradatim.plan import Plan, Stage

_SMALL = {
    "flow": {"width": 32, "features": 32, "widths": [16, 24, 32], "levels": 2, "radius": 3, "iterations": 4},
    "swin": {"width": 24, "depths": [1, 1, 2, 1], "heads": [2, 4, 8, 8], "window": 2, "hidden": 32},
    "match_width": 24, "fusion": "simple", "train_tokens": 100.0, "size": [64, 64], "match_size": 64,
}  # fmt: skip
_DRAWN = {"drawn": {"count": 160, "frames": 8}, "holdout": 0.1}


def small() -> Plan:
    """From nothing, on videos drawn on the spot: all stages in minutes on two cores."""
    return Plan(
        system="flowchroma",
        model=_SMALL,
        stages=(
            Stage(
                name="flow",
                task="flow",
                init={"memflow": "fresh"},
                train=("memflow",),
                losses={"flow_colors": 1.0},
                lr=1e-3,
                schedule={"one_cycle": {}},
                epochs=2,
                batch_size=4,
                data={"samples": "flow", **_DRAWN},
                validation={"metric": "flow_error"},
            ),
            Stage(
                name="match",
                task="match",
                init={"swin": "fresh", "warpnet": "fresh"},
                train=("swin", "warpnet"),
                losses={"matched_colors": 1.0},
                lr=1e-3,
                schedule={"one_cycle": {}},
                epochs=2,
                batch_size=4,
                data=_DRAWN,
                validation={"metric": "match_error"},
            ),
            Stage(
                name="fuse",
                task="fuse_alone",
                init={"fusion": "fresh"},
                train={"warpnet": {"lr": 1e-4}, "fusion": {}},
                losses={"colors": 1.0, "temporal": 0.5},
                lr=1e-3,
                schedule={"one_cycle": {}},
                epochs=2,
                batch_size=4,
                data=_DRAWN,
                validation={"metric": "psnr"},
            ),
        ),
    )


RECIPES: Mapping[str, Callable[[], Plan]] = {"small": small}
