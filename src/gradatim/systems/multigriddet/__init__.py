"""MultiGridDet: detects objects; each is predicted by the cells around its center."""

from gradatim.system import DataKind, System
from gradatim.systems.multigriddet.data import DetectionSettings, misfits, open_data, sample_shapes, with_size
from gradatim.systems.multigriddet.layouts import LAYOUTS
from gradatim.systems.multigriddet.losses import LOSSES
from gradatim.systems.multigriddet.metrics import METRICS
from gradatim.systems.multigriddet.model import PARTS, MultiGridDetSettings, sizes_of
from gradatim.systems.multigriddet.recipes import RECIPES
from gradatim.systems.multigriddet.rules import RULES
from gradatim.systems.multigriddet.steps import TASKS

SYSTEM = System(
    name="multigriddet",
    summary="Detects objects; each is predicted by the cells around its center (IEEE 9730183).",
    settings=MultiGridDetSettings,
    parts=PARTS,
    tasks=TASKS,
    losses=LOSSES,
    data=DataKind(
        settings=DetectionSettings,
        open=open_data,
        fields=lambda settings: settings.fields,
        shapes=sample_shapes,
        varies=lambda settings: settings.varies,
        defaults=with_size,
        check=misfits,
        glance=lambda settings, split: open_data(settings.model_copy(update={"check": "headers"}), split),
    ),
    fields=("image", "boxes", "class_weights"),
    metrics=METRICS,
    layouts=LAYOUTS,
    sizes=sizes_of,
    fixed={"predict": ("anchors",)},
    recipes=RECIPES,
    rules=RULES,
)
