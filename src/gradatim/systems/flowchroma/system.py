"""FlowChroma: colors gray videos from a reference picture.

Not offered by name yet: its commands are to come.
"""

from collections.abc import Mapping
from typing import Any

from gradatim.system import DataKind, Metric, System
from gradatim.systems.flowchroma.data import SequenceSettings, open_sequences, sample_shapes
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.model import PARTS, FlowChromaSettings
from gradatim.systems.flowchroma.stage_losses import LOSSES
from gradatim.systems.flowchroma.steps import TASKS
from gradatim.systems.flowchroma.validation import HIGHER_IS_BETTER, METRICS


def with_sizes(model: FlowChromaSettings, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Data with the model's sizes, where they say none of their own."""
    return {"size": model.size, "match_size": model.match_size, **data}


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
)
