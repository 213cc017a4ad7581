"""Published plans of BombKD, and one that two processor cores train from nothing in minutes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gradatim.plan import Plan, Rule, Stage, StageDefaults
from gradatim.systems.bombkd.names import find_backbone

_ADAMW = {"weight_decay": 0.01, "lr": 3e-4}
_TRANSLATION = {"l2": 0.1, "cos": 0.1, "nce": 0.2, "vic": 0.05, "bar": 0.55}
"""The weights that the authors use most."""
_CLASSES = {"classification": 1, "sparsity": 1e-3}
_TEACHERS = ("videomae", "timesformer", "vivit")
_GUIDE_STUDENT = {"name": "vjepa2", "frames": 16}
_LATEST_TEACHERS = ("vivit", "videomaeg", "timesformerg")


def _public(student: str, teachers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Where backbones come from: the hub, each teacher into its own place."""
    names = {"student": student, **{f"teachers.{name}": name for name in teachers}}
    return {
        place: {
            "hub": find_backbone(name).hub,
            "revision": "main",
            "layout": find_backbone(name).family,
            "part": "student",
        }
        for place, name in names.items()
    }


def _plan(dataset: str, root: str, classes: int, *stages: Stage, model: Mapping[str, Any], **data: Any) -> Plan:
    return Plan(
        system="bombkd",
        model={"classes": classes, **model},
        defaults=StageDefaults(data={"dataset": dataset, "root": root, **data}, **_ADAMW),
        stages=stages,
    )


def _converters(student: str, teachers: tuple[str, ...], **changes: Any) -> Stage:
    settings: dict[str, Any] = {
        "name": "converters",
        "task": "translate",
        "init": {**_public(student, teachers), "converters": "fresh"},
        "train": ("converters",),
        "losses": _TRANSLATION,
        "batch_size": 8,
        "epochs": 10,
        "cache": {"dtype": "float16"},
    }
    return Stage(**{**settings, **changes})


def _fusion(**changes: Any) -> Stage:
    settings: dict[str, Any] = {
        "name": "fusion",
        "task": "classify",
        "init": {"fusion": "fresh"},
        "train": ("fusion",),
        "losses": _CLASSES,
        "batch_size": 32,
        "epochs": 20,
        "cache": {"dtype": "float16"},
        "validation": {"metric": "top1"},
    }
    return Stage(**{**settings, **changes})


def converters() -> Plan:
    """Converters of UCF101's clips into the spaces of three teachers."""
    model = {"student": _GUIDE_STUDENT, "teachers": list(_TEACHERS)}
    stage = _converters("vjepa2", _TEACHERS, validation={"metric": "cosine"})
    return _plan("ucf101", "data/UCF101", 101, stage, model=model, holdout=0.05)


def fusion() -> Plan:
    """Converters, then the fusion head on UCF101, judged on its test list."""
    model = {"student": _GUIDE_STUDENT, "teachers": list(_TEACHERS)}
    stages = (_converters("vjepa2", _TEACHERS), _fusion())
    return _plan("ucf101", "data/UCF101", 101, *stages, model=model, validate_split="test")


def paper() -> Plan:
    """As the authors' last scripts on Breakfast: the largest student, 10 epochs of converters, 50 of fusion."""
    model = {"student": {"name": "vjepa2g", "frames": 16}, "teachers": list(_LATEST_TEACHERS), "batch_stats": "batch"}
    stages = (
        _converters("vjepa2g", _LATEST_TEACHERS),
        _fusion(batch_size=8, epochs=50, validation={"metric": "top1", "keep": "last"}),
    )
    return _plan("breakfast", "data/breakfast", 10, *stages, model=model, validate_split="test")


def vad() -> Plan:
    """Anomaly scores on UCF-Crime, whose training clips are of both kinds: converters, then fusion and projection."""
    model = {"student": _GUIDE_STUDENT, "teachers": list(_TEACHERS), "head": "none", "low_rank": 128}
    stages = (
        _converters("vjepa2", _TEACHERS),
        Stage(
            name="judge",
            task="judge",
            init={"fusion": "fresh", "projection": "fresh"},
            train=("fusion", "projection"),
            losses={"margin": 1},
            batch_size=32,
            epochs=5,
            cache={"dtype": "float16"},
        ),
    )
    return _plan("ucf-crime", "data/UCF-Crime", 2, *stages, model=model, validate_split="test")


def probe() -> Plan:
    """The student alone on UCF101: what fusion has to beat."""
    stage = Stage(
        name="probe",
        task="probe",
        init={**_public("vjepa2"), "probe": "fresh"},
        train=("probe",),
        losses=_CLASSES,
        lr=1e-3,
        weight_decay=0.0,
        batch_size=8,
        epochs=10,
        cache={"dtype": "float16"},
        validation={"metric": "top1"},
    )
    return _plan("ucf101", "data/UCF101", 101, stage, model={"student": _GUIDE_STUDENT}, validate_split="test")


_STUDENT = {
    "name": "vjepa2",
    "config": {
        "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 8,
        "crop_size": 32, "tubelet_size": 2, "frames_per_clip": 8,
    },
}  # fmt: skip
_TEACHER = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 32,
    "num_frames": 8, "initializer_range": 0.1,
}  # fmt: skip
_MOTION_MODEL = {
    "student": _STUDENT,
    "teachers": {
        "videomae": {"name": "videomae", "config": {**_TEACHER, "patch_size": 8, "tubelet_size": 2}},
        "vivit": {"name": "vivit", "config": {**_TEACHER, "tubelet_size": [2, 8, 8]}},
    },
    "classes": 14,
    "probe": "linear",
}
_BEFORE = ("pan_left", "pan_right", "zoom_in", "zoom_out", "rotate_left", "rotate_right")
"""Motions that the student learns first; it meets the others only behind frozen weights."""


def _motion(count: int, epochs: Mapping[str, int], **model: Any) -> Plan:
    """Small backbones learn motions drawn on the spot and are frozen; then as `fusion`, beside the student alone."""
    data = {"dataset": "motion", "options": {"count": count, "validate_count": 280, "frames": 16}}
    slow: dict[str, Any] = {"lr": 2e-3, "schedule": {"cosine": {"warmup": 50}}, "batch_size": 32, "clip": 1.0}
    judged = {"metric": "top1", "every": 5, "keep": "last"}
    classes: dict[str, Any] = {"losses": _CLASSES, "validation": judged, **slow}
    return Plan(
        system="bombkd",
        model={**_MOTION_MODEL, **model},
        defaults=StageDefaults(data=data, weight_decay=0.01),
        stages=(
            Stage(
                name="student",
                task="probe",
                init={"student": "fresh", "probe": "fresh"},
                train=("student", "probe"),
                losses={"classification": 1},
                data={"options": {**data["options"], "classes": list(_BEFORE)}},  # type: ignore[dict-item]
                epochs=epochs["student"],
                **slow,
            ),
            Stage(
                name="teachers",
                task="probe_teachers",
                init={"teachers": "fresh", "teacher_heads": "fresh"},
                train=("teachers", "teacher_heads"),
                losses={"teacher_classification": 1},
                epochs=epochs["teachers"],
                **slow,
            ),
            Stage(
                name="alone", task="probe", init={"probe": "fresh"}, train=("probe",), epochs=epochs["heads"], **classes
            ),
            Stage(
                name="converters",
                task="translate",
                init={"converters": "fresh"},
                train=("converters",),
                losses=_TRANSLATION,
                validation={"metric": "cosine", "every": 5, "keep": "last"},
                epochs=epochs["converters"],
                **slow,
            ),
            Stage(
                name="fusion",
                task="classify",
                init={"fusion": "fresh"},
                train=("fusion",),
                epochs=epochs["heads"],
                **classes,
            ),
        ),
    )


def motion() -> Plan:
    """From nothing: small backbones, converters and fusion on motions drawn on the spot, in minutes on two cores."""
    return _motion(3500, {"student": 20, "teachers": 20, "converters": 15, "heads": 25})


RECIPES: Mapping[str, Callable[[], Plan]] = {
    "motion": motion,
    "converters": converters,
    "fusion": fusion,
    "paper": paper,
    "vad": vad,
    "probe": probe,
}


def _one_class(plan: Plan) -> Iterator[tuple[int, str, str]]:
    for index, stage in enumerate(plan.stages):
        if set(stage.loss_names()) == {"margin"} and stage.data.get("dataset") in ("shanghaitech", "stech", "shtech"):
            yield index, "losses", "all training clips of this data set are normal"


def _leak(plan: Plan) -> Iterator[tuple[int, str, str]]:
    for index, stage in enumerate(plan.stages):
        judged = stage.data.get("validate_split") if stage.validation else None
        if judged is not None and str(judged) == str(stage.data.get("split", "train")):
            yield index, "data", f"training and validation both read {judged!r}"


def _lone_clip(plan: Plan) -> Iterator[tuple[int, str, str]]:
    for index, stage in enumerate(plan.stages):
        chosen = [name for name in ("vic", "bar") if name in stage.loss_names()]
        if chosen and stage.batch_size == 1:
            yield index, "batch_size", f"loss {chosen[0]!r} compares the clips of a batch, and a batch holds one"


RULES: Mapping[str, Rule] = {
    "one-class": Rule(
        why="with normal clips alone the margin loss is least when fusion moves nothing, and all scores become zero; "
        "add the loss `spread`, which keeps projected tokens apart",
        check=_one_class,
    ),
    "leak": Rule(why="what a model has learned from cannot judge it", check=_leak),
    "lone-clip": Rule(why="its spread is not defined, and every weight would become nan", check=_lone_clip),
}
