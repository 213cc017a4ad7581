"""BombKD: recognizes actions in video by translating one backbone's tokens into the spaces of several."""

from gradatim.system import DataKind, System
from gradatim.systems.bombkd.checkpoints import settings_in_fields
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.losses import LOSSES
from gradatim.systems.bombkd.metrics import METRICS
from gradatim.systems.bombkd.model import PARTS, BombKDSettings, sizes_of
from gradatim.systems.bombkd.recipes import RECIPES, RULES
from gradatim.systems.bombkd.samples import SampleSettings, misfits, open_samples, sample_shapes, with_views
from gradatim.systems.bombkd.steps import TASKS

SYSTEM = System(
    name="bombkd",
    summary="Recognizes actions in video by translating one backbone into the spaces of several (TC-BombKD).",
    settings=BombKDSettings,
    parts=PARTS,
    tasks=TASKS,
    losses=LOSSES,
    data=DataKind(
        settings=SampleSettings,
        open=open_samples,
        fields=lambda settings: settings.fields,
        shapes=sample_shapes,
        defaults=with_views,
        check=misfits,
    ),
    fields=("student_clip", "teacher_clips", "student_tokens", "teacher_tokens", "label", "frame_labels"),
    metrics=METRICS,
    layouts=LAYOUTS,
    sizes=sizes_of,
    told=settings_in_fields,
    fixed={"converters": ("batch_stats",), "fusion": ("teacher_scale",)},
    comparing=("vic", "bar"),
    coupled=lambda settings: ("converters",) if settings.couples_clips else (),
    recipes=RECIPES,
    rules=RULES,
)
