"""MaeFuse: fuses a registered infrared and visible image into one."""

from gradatim.system import DataKind, Metric, System
from gradatim.systems.maefuse.data import PairSettings, open_pairs, sample_shapes
from gradatim.systems.maefuse.layouts import LAYOUTS
from gradatim.systems.maefuse.losses import LOSSES
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings, sizes_of
from gradatim.systems.maefuse.recipes import RECIPES, RULES
from gradatim.systems.maefuse.steps import TASKS
from gradatim.systems.maefuse.validation import LOWER_IS_BETTER, METRICS

SYSTEM = System(
    name="maefuse",
    summary="Fuses a registered infrared and visible image into one (arXiv 2404.11016).",
    settings=MaeFuseSettings,
    parts=PARTS,
    tasks=TASKS,
    losses=LOSSES,
    data=DataKind(
        settings=PairSettings,
        open=open_pairs,
        fields=lambda settings: settings.fields,
        shapes=lambda data, model: sample_shapes(data, model.image_size),
        varies=lambda settings: settings.varies,
        glance=lambda settings, split: open_pairs(settings.model_copy(update={"check": "headers"}), split),
    ),
    fields=("visible", "infrared", "image"),
    metrics={name: Metric(function, name not in LOWER_IS_BETTER) for name, function in METRICS.items()},
    layouts=LAYOUTS,
    sizes=sizes_of,
    fixed={"cfm": ("attention_axis",), "mfm": ("attention_axis",)},
    recipes=RECIPES,
    rules=RULES,
    coupled=lambda settings: ("cfm", "mfm") if settings.attention_axis == "batch" else (),
    pictures=("visible", "infrared", "fused", "image", "reconstructed"),
)
