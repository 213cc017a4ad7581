"""Optimizer groups: each parameter that learns exactly once, with its own rates."""

import pytest
import torch
from torch import nn

from gradatim.parts import named_trained, parameter_groups, set_trainable
from gradatim.plan.stage import Training


class Deep(nn.Module):
    """Embedding, three blocks, a norm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.norm = nn.LayerNorm(2)


def parts():
    torch.manual_seed(0)
    result = {"a": Deep(), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2)}
    set_trainable(result, ["a", "b"])
    return result


def rates(groups):
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_every_parameter_that_learns_is_in_one_group_and_no_frozen_one_is():
    modules = parts()

    groups = parameter_groups(modules, Training(train=["a", "b"], weight_decay=0.1))

    listed = [id(p) for group in groups for p in group["params"]]
    learning = [id(p) for name in ("a", "b") for p in modules[name].parameters()]
    assert sorted(listed) == sorted(learning)
    for group in groups:
        assert len(group["names"]) == len(group["params"])


def test_arrays_of_fewer_than_two_dimensions_are_not_decayed():
    found = rates(parameter_groups(parts(), Training(train=["a", "b"], weight_decay=0.1, lr=0.5)))

    assert found["b.weight"] == (0.5, 0.1)
    assert found["b.bias"] == (0.5, 0.0)
    assert found["a.norm.weight"] == (0.5, 0.0)


def test_a_parts_own_rates_win():
    training = Training(train={"a": {"lr": 0.1, "weight_decay": 0.0}, "b": {}}, lr=0.5, weight_decay=0.2)

    found = rates(parameter_groups(parts(), training))

    assert found["a.embed.weight"] == (0.1, 0.0)
    assert found["b.weight"] == (0.5, 0.2)


def test_rates_decay_from_the_last_block_to_what_stands_before_the_first():
    found = rates(parameter_groups(parts(), Training(train={"a": {"layer_decay": 0.5}, "b": {}}, lr=1.0)))

    by_depth = {"embed": 4, "blocks.0": 3, "blocks.1": 2, "blocks.2": 1, "norm": 0}
    for name, depth in by_depth.items():
        for kind in ("weight", "bias"):
            assert found[f"a.{name}.{kind}"][0] == pytest.approx(0.5**depth)
    assert found["b.weight"][0] == 1.0


def test_a_part_without_blocks_has_one_rate_whatever_its_decay():
    found = rates(parameter_groups(parts(), Training(train={"b": {"layer_decay": 0.5}}, lr=1.0)))

    assert {rate for rate, _ in found.values()} == {1.0}


def test_a_parameter_that_two_parts_share_is_listed_once():
    modules = parts()
    modules["b"].weight = modules["a"].embed.weight

    names = [name for _, name, _ in named_trained(modules, Training(train=["a", "b"]))]

    assert names.count("a.embed.weight") == 1
    assert "b.weight" not in names


def test_a_trained_child_brings_its_own_parameters_only():
    modules = parts()
    set_trainable(modules, ["a.blocks.1"])

    found = list(named_trained(modules, Training(train=["a.blocks.1"])))

    assert [(path, name) for path, name, _ in found] == [
        ("a.blocks.1", "a.blocks.1.weight"),
        ("a.blocks.1", "a.blocks.1.bias"),
    ]
