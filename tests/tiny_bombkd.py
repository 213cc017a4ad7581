"""BombKD in the smallest: backbones, plans and clips of motions, for tests of the whole way."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradatim import find_system, run
from gradatim.find import read_plan_document
from gradatim.plan import Plan, Stage
from gradatim.systems.bombkd.feature_files import export_features
from gradatim.systems.bombkd.feature_shards import FeatureRecord
from gradatim.systems.bombkd.synthetic import MotionSettings, write_clips
from once import drawn

_TEACHER = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "patch_size": 16, "num_frames": 4,
}  # fmt: skip
STUDENT = {
    "name": "vjepa2",
    "config": {
        "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 16,
        "crop_size": 32, "tubelet_size": 2, "frames_per_clip": 4,
    },
}  # fmt: skip
CONFIGS = {
    "videomae": {**_TEACHER, "tubelet_size": 2},
    "timesformer": _TEACHER,
    "vivit": {**{k: v for k, v in _TEACHER.items() if k != "patch_size"}, "tubelet_size": [2, 16, 16]},
}
"""Fields of each family's configuration: 8 tokens a clip, of TimeSformer 16."""


def tiny_teacher(name: str) -> dict[str, Any]:
    """Settings of a teacher of a public name, tiny."""
    family = next(family for family in CONFIGS if name.startswith(family))
    return {"name": name, "config": CONFIGS[family]}


TEACHERS = {name: tiny_teacher(name) for name in ("videomae", "vivit")}
CLASSES = ("pan_left", "pan_right", "zoom_in", "zoom_out")
MODEL = {"student": STUDENT, "teachers": TEACHERS, "class_names": list(CLASSES)}
MOTION = {"dataset": "motion", "options": {"count": 12, "validate_count": 6, "frames": 6, "classes": list(CLASSES)}}
TRANSLATION = {"l2": 1.0, "cos": 0.5, "nce": 0.1}
CLASSIFICATION = {"classification": 1.0, "sparsity": 1e-3}


def converters(**changes: Any) -> Stage:
    """A stage that trains converters behind fresh backbones."""
    settings: dict[str, Any] = {
        "name": "converters",
        "task": "translate",
        "init": {"student": "fresh", "teachers": "fresh", "converters": "fresh"},
        "train": ["converters"],
        "losses": TRANSLATION,
        "epochs": 2,
    }
    return Stage(**{**settings, **changes})


def fusion(**changes: Any) -> Stage:
    """A stage that trains fusion behind frozen converters."""
    settings: dict[str, Any] = {
        "name": "fusion",
        "task": "classify",
        "init": {"fusion": "fresh"},
        "train": ["fusion"],
        "losses": CLASSIFICATION,
        "epochs": 2,
    }
    return Stage(**{**settings, **changes})


def plan(*stages: Stage, model: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """A plan on clips of motions; both stages if none is given."""
    settings: dict[str, Any] = {
        "system": "bombkd",
        "model": {**MODEL, **(model or {})},
        "defaults": {"data": MOTION, "batch_size": 4, "lr": 1e-3, "log_every": 2},
        "stages": stages or (converters(), fusion()),
    }
    return Plan(**{**settings, **changes})


def clip_files(folder: Path, *, count: int = 8, validate_count: int = 4) -> Path:
    """Little video files of motions, `{split}/{class}/clip_00000.mp4`; returns the folder."""
    settings = MotionSettings(count=count, validate_count=validate_count, frames=6, classes=CLASSES)
    return drawn(folder, write_clips, settings)


def files_plan(root: Path, *stages: Stage, model: dict[str, Any] | None = None) -> Plan:
    """A plan on files of `clip_files`, whose model knows its classes by the folders alone."""
    own = {name: value for name, value in MODEL.items() if name != "class_names"}
    data = {"dataset": "folders", "root": str(root), "validate_split": "validation"}
    defaults = {"data": data, "batch_size": 4, "lr": 1e-3, "log_every": 2}
    return plan(*stages, defaults=defaults).model_copy(update={"model": {**own, "classes": 4, **(model or {})}})


def tiny_changes(name: str) -> list[str]:
    """For `--set`: a recipe on tiny backbones with fresh weights, instead of those of the hub."""
    tree = read_plan_document(name).tree
    teachers = tree["model"].get("teachers", ())
    fresh = []
    for stage in tree["stages"]:
        parts = dict.fromkeys(part.partition(".")[0] for part in stage["init"])
        fresh.append(f"stages.{stage['name']}.init={{{', '.join(f'{part}: fresh' for part in parts)}}}")
    model = {"student": STUDENT, "teachers": {teacher: tiny_teacher(teacher) for teacher in teachers}}
    sizes = [f"model.{part}={settings}".replace("'", "") for part, settings in model.items() if settings]
    own = ["defaults.data.options={count: 28, validate_count: 14, frames: 6}"] if name.endswith("/motion") else []
    return [*sizes, *fresh, *own, *(f"stages.{stage['name']}.batch_size=2" for stage in tree["stages"])]


def authors_converters(path: Path) -> Path:
    """Converters of the guide's three teachers as the authors' program saves them, tiny; returns the path."""
    system = find_system("bombkd")
    teachers = {name: tiny_teacher(name) for name in ("videomae", "timesformer", "vivit")}
    torch.manual_seed(0)
    part = system.parts["converters"](system.settings(student=STUDENT, teachers=teachers))
    fields = {"keys": list(teachers), "d_in": 24, "d_out": 16, "d_out_map": None, "kind": "b", "teacher_lens": None}
    torch.save({"state_dict": part.state_dict(), "token_k": None, **fields}, path)
    return path


def trained_on_clips(folder: Path) -> None:
    """Little videos in `clips`, a run with fusion that learned from them in `runs/bombkd-1`, features of its size."""
    clip_files(folder / "clips")
    run(files_plan(folder / "clips", converters(epochs=1), fusion(epochs=1)), folder / "runs" / "bombkd-1")
    random = np.random.default_rng(0)
    made = [
        FeatureRecord(
            path=f"{number}.mp4",
            label=number % 3,
            student=random.normal(size=(8, 24)).astype(np.float32),
            teachers={name: random.normal(size=(8, 16)).astype(np.float32) for name in TEACHERS},
        )
        for number in range(12)
    ]
    export_features(folder / "features" / "ucf101", made, dataset="ucf101", split="train", shard_size=5)
