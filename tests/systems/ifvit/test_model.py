"""Sizes: what goes together, what is refused, and what a file's shapes tell."""

import pytest
import torch
from pydantic import ValidationError

from gradatim.errors import PlanError, WeightsError
from gradatim.systems.ifvit.model import PARTS, IFViTSettings, sizes_of

SMALL = {"widths": (2, 4, 8), "width": 8, "layers": 3, "heads": 2, "mlp_width": 6, "grid": (3, 3), "embedding": 4}
VARIANTS = ["loftr", "legacy", "generic"]


def settings(**changes):
    return IFViTSettings(**{**SMALL, "classes": 5, **changes})


def shapes(chosen):
    return {
        f"{name}.{array}": tuple(value.shape)
        for name, build in PARTS.items()
        for array, value in build(chosen).state_dict().items()
    }


def values(part, chosen):
    return sum(array.numel() for array in PARTS[part](chosen).parameters())


def test_published_sizes_have_the_published_numbers_of_values():
    legacy = IFViTSettings(transformer="legacy")
    assert values("backbone", legacy) == 2_776_512
    assert values("transformer", legacy) == 5_265_408
    assert values("transformer", IFViTSettings(layers=8)) == 5_251_072
    assert sum(values(part, legacy) for part in ("backbone", "transformer", "embedding")) == 8_107_712


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"transformer": "loftr", "attention": "full"}, ("attention 'full'", "transformer 'loftr'")),
        ({"transformer": "generic", "attention": "linear"}, ("attention 'linear'", "transformer 'generic'")),
        ({"transformer": "legacy", "positions": "fixed"}, ("positions 'fixed'", "transformer 'legacy'")),
        ({"width": 9}, ("width 9", "heads 2")),
        ({"width": 6, "heads": 3, "widths": (2, 4, 6)}, ("width 6", "multiple of 4")),
        ({"width": 16}, ("width 16", "last channels 8")),
        ({"depth": 3}, ("depth", "Extra inputs")),
    ],
)
def test_settings_that_do_not_go_together_are_refused_and_both_are_named(wrong, named):
    with pytest.raises(ValidationError) as error:
        settings(**wrong)
    assert all(word in str(error.value) for word in named)


@pytest.mark.parametrize(
    ("kind", "attention", "positions"),
    [("loftr", "linear", "outdoor"), ("legacy", "linear", None), ("generic", "full", None)],
)
def test_what_follows_from_the_transformer_is_the_same_said_or_not(kind, attention, positions):
    unsaid = settings(transformer=kind)
    assert (unsaid.attention, unsaid.positions) == (attention, positions)
    assert unsaid == settings(transformer=kind, attention=attention, positions=positions)
    assert unsaid == IFViTSettings(**unsaid.model_dump(mode="json"))


@pytest.mark.parametrize("backbone", ["resnet18", "loftr_fpn"])
@pytest.mark.parametrize("transformer", VARIANTS)
def test_shapes_tell_the_settings_of_every_variant(backbone, transformer):
    chosen = settings(backbone=backbone, transformer=transformer)

    found = sizes_of(shapes(chosen), {"heads": 2})

    again = IFViTSettings(**found, heads=2)
    assert shapes(again) == shapes(chosen)
    assert (again.backbone, again.transformer) == (backbone, transformer)


def test_settings_that_are_given_win_over_shapes():
    found = sizes_of(shapes(settings(transformer="generic")), {"classes": 9, "grid": (1, 9)})
    assert not {"classes", "grid"} & found.keys()


def test_a_transformer_without_a_backbone_tells_sizes_that_fit_it():
    alone = {name: shape for name, shape in shapes(settings()).items() if name.startswith("transformer.")}
    assert IFViTSettings(**sizes_of(alone, {}), heads=2).width == 8


def test_learned_positions_of_no_square_ask_for_their_grid():
    chosen = settings(transformer="generic", grid=(2, 3))
    with pytest.raises(WeightsError, match="6 learned positions are no square; say which `grid`"):
        sizes_of(shapes(chosen), {})
    assert "grid" not in sizes_of(shapes(chosen), {"grid": (2, 3)})


def test_centers_need_a_number_of_classes():
    with pytest.raises(PlanError, match="say `classes`"):
        PARTS["centers"](settings(classes=None))


@pytest.mark.parametrize("transformer", VARIANTS)
def test_parts_can_be_outlined_without_memory(transformer):
    with torch.device("meta"):
        for build in PARTS.values():
            assert all(array.is_meta for array in build(settings(transformer=transformer)).state_dict().values())


def test_parts_begin_as_they_say():
    torch.manual_seed(0)
    legacy = PARTS["transformer"](settings(transformer="legacy"))
    generic = PARTS["transformer"](settings(transformer="generic", grid=(20, 20)))
    centers = PARTS["centers"](settings(classes=500))

    assert all(not array.any() for name, array in legacy.named_parameters() if "bias" in name)
    assert abs(float(generic.positions_first.detach().std()) - 0.02) < 2e-3
    assert abs(float(centers.weight.detach().std()) - 0.01) < 1e-3
