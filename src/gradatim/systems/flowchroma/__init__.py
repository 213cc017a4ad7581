"""FlowChroma: colors gray videos from a reference picture."""

from gradatim.system import DataKind, Metric, System
from gradatim.systems.flowchroma.data import SequenceSettings, open_sequences, sample_shapes, with_sizes
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.model import PARTS, FlowChromaSettings
from gradatim.systems.flowchroma.recipes import RECIPES
from gradatim.systems.flowchroma.stage_losses import LOSSES
from gradatim.systems.flowchroma.steps import TASKS
from gradatim.systems.flowchroma.validation import HIGHER_IS_BETTER, METRICS

SYSTEM = System(
    name="flowchroma",
    summary="Colors gray videos from a reference picture, by flow and by matching.",
    settings=FlowChromaSettings,
    parts=PARTS,
    tasks=TASKS,
    losses=LOSSES,
    data=DataKind(
        settings=SequenceSettings,
        open=open_sequences,
        fields=lambda settings: settings.fields,
        shapes=lambda data, model: sample_shapes(data),
        varies=lambda settings: settings.varies,
        defaults=with_sizes,
    ),
    fields=("frames", "lightness", "references"),
    metrics={name: Metric(function, name in HIGHER_IS_BETTER) for name, function in METRICS.items()},
    layouts=LAYOUTS,
    fixed={"memflow": ("train_tokens", "memory_keys"), "fusion": ("flow_scale", "target_colors", "max_history")},
    recipes=RECIPES,
)
