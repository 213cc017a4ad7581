"""IFViT: matches fingerprints, and shows by dense correspondences why."""

from gradatim.system import DataKind, System
from gradatim.systems.ifvit.aligning import PREPARED
from gradatim.systems.ifvit.data import FingerprintSettings, glance_data, misfits, open_data, sample_shapes, with_sizes
from gradatim.systems.ifvit.layouts import LAYOUTS, told_of
from gradatim.systems.ifvit.losses import LOSSES
from gradatim.systems.ifvit.metrics import METRICS
from gradatim.systems.ifvit.model import PARTS, IFViTSettings, sizes_of
from gradatim.systems.ifvit.recipes import RECIPES
from gradatim.systems.ifvit.rules import RULES
from gradatim.systems.ifvit.steps import TASKS

SYSTEM = System(
    name="ifvit",
    summary="Matches fingerprints, and shows by dense correspondences why (arXiv 2404.08237).",
    settings=IFViTSettings,
    parts=PARTS,
    tasks=TASKS,
    losses=LOSSES,
    data=DataKind(
        settings=FingerprintSettings,
        open=open_data,
        fields=lambda settings: settings.fields,
        shapes=sample_shapes,
        varies=lambda settings: settings.varies,
        check=misfits,
        defaults=with_sizes,
        glance=glance_data,
        prepared=PREPARED,
    ),
    fields=(
        "image1", "image2", "roi1", "roi2", "points", "mask1", "mask2", "overlap", "label", "finger1", "finger2",
    ),
    metrics=METRICS,
    layouts=LAYOUTS,
    sizes=sizes_of,
    told=told_of,
    fixed=dict.fromkeys(("transformer", "local_transformer"), ("transformer", "positions", "attention", "heads")),
    recipes=RECIPES,
    rules=RULES,
)  # fmt: skip
