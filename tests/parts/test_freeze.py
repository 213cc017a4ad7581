"""A frozen part stays frozen, whoever calls `.train()` on what."""

import copy

import pytest
import torch
from torch import nn

from gradatim.parts import frozen, hold_still, set_trainable


def part():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))


def modes(module):
    return {one.training for one in module.modules()}


def test_a_held_part_is_in_evaluation_mode_without_gradients():
    module = part()
    module(torch.rand(4, 3)).sum().backward()

    hold_still(module)

    assert modes(module) == {False}
    assert frozen(module)
    assert not any(p.requires_grad for p in module.parameters())
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    "call",
    [
        lambda held: held.train(),
        lambda held: held.train(True),
        lambda held: held[1].train(),
        lambda held: nn.Sequential(held).train(),
        lambda held: nn.ModuleDict({"a": held}).train(),
        lambda held: nn.ModuleList([held, part()]).train(),
        lambda held: [one.train() for one in held.modules()],
    ],
)
def test_no_call_puts_a_held_part_into_training_mode(call):
    held = part()
    hold_still(held)
    before = held[1].running_mean.clone()

    call(held)
    first, second = (held(torch.ones(4, 3)) for _ in range(2))

    assert modes(held) == {False}
    assert torch.equal(first, second)
    assert torch.equal(held[1].running_mean, before)


def test_the_parent_of_a_held_part_trains_with_its_other_children():
    held, free = part(), part()
    hold_still(held)

    parent = nn.ModuleDict({"held": held, "free": free}).eval().train()

    assert parent.training
    assert (modes(held), modes(free)) == ({False}, {True})


def test_a_copy_of_a_held_part_is_held_and_leaves_the_first_alone():
    held = part()
    hold_still(held)

    twin = copy.deepcopy(held)
    twin.train()
    twin[1].train()
    set_trainable({"p": twin}, ["p"])

    assert modes(twin) == {True}
    assert modes(held) == {False}
    held.train()
    assert modes(held) == {False}


def test_a_copy_of_a_held_part_stays_still_by_itself():
    held = part()
    hold_still(held)
    twin = copy.deepcopy(held)

    twin.train()

    assert modes(twin) == {False}
    assert modes(held) == {False}


def test_gradients_flow_through_a_held_part():
    held, before = part(), nn.Linear(3, 3)
    hold_still(held)

    held(before(torch.rand(4, 3))).square().sum().backward()

    assert before.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in held.parameters())


def test_named_parts_learn_and_all_others_are_held_anew_each_time():
    parts = {"a": part(), "b": part()}

    set_trainable(parts, ["a"])
    assert (modes(parts["a"]), modes(parts["b"])) == ({True}, {False})
    set_trainable(parts, ["b"])

    assert (modes(parts["a"]), modes(parts["b"])) == ({False}, {True})
    assert (frozen(parts["a"]), frozen(parts["b"])) == (True, False)
    assert all(p.requires_grad for p in parts["b"].parameters())
    assert not any(p.requires_grad for p in parts["a"].parameters())


def test_a_child_learns_while_the_rest_of_its_part_is_held():
    module = part()

    set_trainable({"a": module}, ["a.0"])
    module.train()

    assert [child.training for child in module] == [True, False, False]
    assert [p.requires_grad for p in module.parameters()] == [True, True, False, False]


def test_one_entry_of_a_dict_of_parts_learns_alone():
    parts = {"converters": nn.ModuleDict({"x": part(), "y": part()})}

    set_trainable(parts, ["converters.x"])
    parts["converters"].train()

    assert modes(parts["converters"]["x"]) == {True}
    assert modes(parts["converters"]["y"]) == {False}


def test_a_child_that_learned_before_is_held_with_its_part_afterwards():
    module = part()
    set_trainable({"a": module}, ["a.0"])

    set_trainable({"a": module}, [])

    assert modes(module) == {False}
    assert not any(p.requires_grad for p in module.parameters())
