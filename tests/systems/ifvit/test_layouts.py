"""Files of LoFTR and of IFViT's code: what they feed, what is left, and when they are refused."""

from pathlib import Path

import pytest
import torch

from gradatim.errors import WeightsError
from gradatim.systems.ifvit.layouts import LAYOUTS, told_of
from gradatim.systems.ifvit.model import PARTS, IFViTSettings
from gradatim.weights import Weights, Wish, transfer
from systems.ifvit.foreign import legacy_file, loftr_file, matcher_file

SETTINGS = IFViTSettings(widths=(2, 4, 8), width=8, layers=2, heads=2, embedding=4, classes=3)
LEGACY = IFViTSettings(**SETTINGS.model_dump(exclude={"positions"}) | {"transformer": "legacy"})


def feed(arrays, *names, settings=SETTINGS, layout=None, **wish):
    """Parts that a file fed, and their accounts."""
    parts = {name: PARTS[name](settings) for name in names}
    wishes = [Wish(part=name, module=part, file_part=name, **wish) for name, part in parts.items()]
    weights = Weights(path=Path("f.ckpt"), format="test", arrays=arrays)
    return parts, transfer(weights, wishes, layout=layout, layouts=LAYOUTS)


def refusal(*arguments, **keywords):
    with pytest.raises(WeightsError) as error:
        feed(*arguments, **keywords)
    return str(error.value)


@pytest.mark.parametrize("prefix", ["matcher.loftr_coarse.", "loftr_coarse.", ""])
def test_a_loftr_file_is_known_with_and_without_its_prefixes(prefix):
    arrays = loftr_file(prefix=prefix)

    parts, (account,) = feed(arrays, "transformer")

    assert (account.layout, account.arrays) == ("loftr", (20, 20))
    weight = parts["transformer"].layers[1].query.weight
    assert torch.equal(weight, arrays[f"{prefix}layers.1.q_proj.weight"])


def test_layers_that_the_model_has_not_are_left_and_counted():
    _, (account,) = feed(loftr_file(layers=5), "transformer")

    assert account.arrays == (20, 20)
    assert [(why, len(names)) for why, names in account.dropped.items()] == [
        ("the model's transformer has fewer layers", 30)
    ]


def test_a_loftr_file_feeds_a_legacy_transformer_twice_and_leaves_its_biases_at_zero():
    arrays = loftr_file(layers=3)

    parts, (account,) = feed(arrays, "transformer", settings=LEGACY)

    (why, left), (because, kept) = (*account.dropped.items(), *account.kept.items())
    assert (account.layout, account.arrays) == ("loftr-legacy", (40, 64))
    assert (why, len(left)) == ("the model's transformer has fewer layers", 10)
    assert (because, len(kept)) == ("LoFTR has no biases; they begin at 0", 24)
    for pair in parts["transformer"].layers:
        for first, second in zip(pair.first.parameters(), pair.second.parameters(), strict=True):
            assert torch.equal(first, second)
        assert not pair.first.query.bias.any()


def test_a_file_with_fewer_layers_than_the_model_is_refused():
    found = refusal(loftr_file(layers=1), "transformer")
    assert "loaded 10 of 20 arrays" in found
    assert "missing in the file (10): layers.1.query.weight" in found


def test_module_1_of_ifvits_code_does_not_fit_the_true_loftr():
    found = refusal(legacy_file(), "transformer")
    assert "missing in the file (20)" in found
    assert "layout 'dense'" in found


def test_module_1_feeds_a_legacy_transformer_and_its_table_of_positions_is_left():
    arrays = legacy_file() | {"pos_encoding/pos_encoding/pos_embed": torch.zeros(4, 8)}

    parts, (account,) = feed(arrays, "transformer", settings=LEGACY)

    assert (account.layout, account.arrays) == ("dense", (64, 64))
    assert account.dropped == {"a table of positions, which is computed": ("pos_encoding/pos_encoding/pos_embed",)}
    kernel = arrays["params/loftr_transformer/layers.1.1/mlp.2/kernel"]
    assert torch.equal(parts["transformer"].layers[1].second.fc2.weight, kernel.T)


def test_module_2_feeds_a_transformer_for_images_and_one_for_regions():
    arrays = matcher_file(tied=False)

    parts, accounts = feed(arrays, "transformer", "local_transformer", "embedding", "centers", settings=LEGACY)

    assert [account.arrays for account in accounts] == [(64, 64), (64, 64), (2, 2), (1, 1)]
    for name, theirs in (("transformer", "global"), ("local_transformer", "local")):
        kernel = arrays[f"params/loftr_transformer_{theirs}/layers.0.0/q_proj/kernel"]
        assert torch.equal(parts[name].layers[0].first.query.weight, kernel.T)
    assert torch.equal(parts["centers"].weight, arrays["arcface_params/arcface/params/weight"].T)


def test_one_transformer_takes_both_of_a_file_where_they_are_equal():
    _, accounts = feed(matcher_file(tied=True), "transformer", "embedding", settings=LEGACY)
    assert [account.arrays for account in accounts] == [(64, 64), (2, 2)]


def test_one_transformer_refuses_a_file_whose_two_differ_and_says_what_to_do():
    found = refusal(matcher_file(tied=False), "transformer", "embedding", settings=LEGACY)
    assert found.startswith(
        "f.ckpt: parts 'transformer' and 'local_transformer' of this file differ, first in "
        "'layers.0.first.query.weight', and only 'transformer' is asked for: "
    )
    assert "Load both, into `transformer` and `local_transformer`" in found


def test_missing_running_statistics_may_be_allowed_and_are_else_named():
    backbone = PARTS["backbone"](SETTINGS)
    names = [name for name in backbone.state_dict() if "running" in name]
    kernels = {}
    for name, array in backbone.state_dict().items():
        place = name.replace("stem.", "").replace("blocks.", "ResidualBlock_").split(".")
        number = {"first": 0, "second": 1, "shortcut": 2}.get(place[1] if len(place) > 2 else "", 0)
        block = f"{place[0]}/" if len(place) > 2 else ""
        if place[-2:] == ["conv", "weight"]:
            kernels[f"params/ResNet18_0/{block}Conv_{number}/kernel"] = array.permute(2, 3, 1, 0)
        elif "running" not in name:
            end = {"weight": "scale", "bias": "bias"}[place[-1]]
            kernels[f"params/ResNet18_0/{block}BatchNorm_{number}/{end}"] = array

    _, (account,) = feed(kernels, "backbone", layout="dense", allow_missing=(".*running_.*",))

    assert account.kept == {"allow_missing": tuple(names)}
    assert f"missing in the file ({len(names)}): stem.norm.running_mean" in refusal(kernels, "backbone", layout="dense")


def test_a_files_configuration_tells_what_its_shapes_do_not():
    config = {"config": {"num_heads": 4, "attention_type": "full", "dropout_rate": 0.2, "lr": 1.0}}

    assert told_of("dense", config, {"transformer.layers.0.first.query.weight": ()}) == {
        "heads": 4,
        "attention": "full",
    }
    assert told_of("matcher", config, {}) == {"heads": 4, "dropout": 0.2}
    assert told_of("loftr", config, {}) == {}
    assert told_of("dense", {}, {}) == {}
