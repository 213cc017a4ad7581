"""Learning rates against their closed forms, and optimizer state that comes back to the bit."""

import math

import pytest
import torch
from torch import nn

from gradatim.engine.optimizer import build_optimizer, optimizer_arrays, restore_optimizer, schedule_factor
from gradatim.parts import set_trainable
from gradatim.plan.stage import Training


def factors(schedule, steps, per_epoch=5):
    factor = schedule_factor(Training(schedule=schedule), steps=steps, per_epoch=per_epoch)
    return [factor(step, 1.0) for step in range(steps)]


def test_a_constant_rate_is_one():
    assert factors("constant", 7) == [1.0] * 7


def test_warm_up_grows_linearly_and_reaches_the_full_rate_after_its_last_step():
    assert factors({"constant": {"warmup": 4}}, 7) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("warmup", [0, 3])
def test_a_cosine_falls_over_the_steps_after_the_warm_up(warmup, final):
    steps = 20

    for step, found in enumerate(factors({"cosine": {"warmup": warmup, "final": final}}, steps)):
        if step < warmup:
            assert found == pytest.approx((step + 1) / (warmup + 1))
        else:
            done = (step - warmup) / (steps - warmup)
            assert found == pytest.approx(final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


def test_a_cosine_is_torchs_where_there_is_no_warm_up():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.1)

    for found in factors({"cosine": {"final": 0.1}}, 20):
        assert found == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_a_cosine_of_epochs_is_torchs_stepped_by_epoch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=0.1)
    found = factors({"cosine": {"final": 0.1, "every": "epoch"}}, 20)

    for epoch in range(4):
        assert found[5 * epoch : 5 * epoch + 5] == pytest.approx([optimizer.param_groups[0]["lr"]] * 5)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("warmup", [0, 3])
def test_a_polynomial_falls_to_its_least_rate(warmup):
    training = Training(lr=1e-2, schedule={"polynomial": {"power": 2.0, "least": 1e-3, "warmup": warmup}})
    factor = schedule_factor(training, steps=10 + warmup, per_epoch=5)

    for step in range(warmup, 10 + warmup):
        done = (step - warmup) / 10
        assert factor(step, 1e-2) == pytest.approx(0.1 + 0.9 * (1 - done) ** 2)
    assert factor(10 + warmup, 1e-2) == pytest.approx(0.1)
    assert factor(10 + warmup, 1e-3) == 1


def test_steps_fall_at_the_first_step_of_an_epoch():
    found = factors({"step": {"every": 2, "gamma": 0.5}}, 25, per_epoch=5)

    assert found == [1.0] * 10 + [0.5] * 10 + [0.25] * 5


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [10, 37, 100])
@pytest.mark.parametrize(("rise", "start", "end"), [(0.3, 25.0, 1e4), (0.5, 10.0, 100.0)])
def test_one_cycle_is_torchs(steps, rise, start, end, anneal):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=rise, div_factor=start, final_div_factor=end,
        cycle_momentum=False, anneal_strategy={"cosine": "cos", "linear": "linear"}[anneal],
    )  # fmt: skip
    schedule = {"one_cycle": {"rise": rise, "start": start, "end": end, "anneal": anneal}}

    for step, found in enumerate(factors(schedule, steps)):
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12), step
        optimizer.step()
        if step < steps - 1:
            theirs.step()


@pytest.mark.parametrize(
    "schedule", ["cosine", "one_cycle", "step", "constant", "polynomial", {"cosine": {"warmup": 9}}]
)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_stages_have_a_rate_too(schedule, steps):
    assert all(0 < factor <= 1 for factor in factors(schedule, steps))


def parts():
    torch.manual_seed(0)
    result = {"a": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "b": nn.Linear(2, 2)}
    set_trainable(result, ["a", "b"])
    return result


def train(modules, optimizer, steps, start=0):
    for step in range(start, start + steps):
        torch.manual_seed(step)
        modules["b"](modules["a"](torch.rand(3, 4))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def state_of(modules):
    return {f"{part}.{name}": p.detach().clone() for part, m in modules.items() for name, p in m.named_parameters()}


OPTIMIZERS = [
    "adamw",
    "adam",
    "sgd",
    {"sgd": {"momentum": 0}},
    {"sgd": {"nesterov": True}},
    {"adamw": {"betas": [0.8, 0.95]}},
]


@pytest.mark.parametrize("chosen", OPTIMIZERS, ids=str)
def test_saved_state_in_a_new_optimizer_continues_with_the_same_bits(chosen):
    training = Training(train={"a": {"lr": 0.05}, "b": {}}, lr=0.01, weight_decay=0.1, optimizer=chosen)
    whole, cut, fresh = parts(), parts(), parts()
    optimizer = build_optimizer(whole, training)
    train(whole, optimizer, 6)

    first = build_optimizer(cut, training)
    train(cut, first, 3)
    saved = optimizer_arrays(first)
    for name, module in fresh.items():
        module.load_state_dict(cut[name].state_dict())
    second = build_optimizer(fresh, training)
    restore_optimizer(second, saved)
    train(fresh, second, 3, start=3)

    assert all(torch.equal(one, state_of(fresh)[name]) for name, one in state_of(whole).items())
    again = optimizer_arrays(second)
    assert again.keys() == optimizer_arrays(optimizer).keys()
    assert all(torch.equal(one, again[name]) for name, one in optimizer_arrays(optimizer).items())


def test_saved_state_is_a_copy_both_ways():
    modules = parts()
    training = Training(train=["a", "b"])
    optimizer = build_optimizer(modules, training)
    train(modules, optimizer, 1)
    saved = optimizer_arrays(optimizer)
    before = {name: array.clone() for name, array in saved.items()}

    train(modules, optimizer, 1)
    restore_optimizer(optimizer, saved)
    train(modules, optimizer, 1)

    assert all(torch.equal(saved[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("chosen", "kind", "values"),
    [
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ({"adam": {"eps": 1e-6}}, torch.optim.Adam, {"eps": 1e-6}),
        ({"sgd": {"momentum": 0.5, "nesterov": "yes"}}, torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
    ],
)
def test_the_chosen_optimizer_has_the_chosen_values(chosen, kind, values):
    optimizer = build_optimizer(parts(), Training(train=["a"], optimizer=chosen, lr=0.5))

    assert type(optimizer) is kind
    assert {key: optimizer.defaults[key] for key in values} == values
    assert all(group["base_lr"] == group["lr"] == 0.5 for group in optimizer.param_groups)


def test_a_step_is_that_of_torchs_own_optimizer():
    ours, theirs = parts(), parts()
    optimizer = build_optimizer(ours, Training(train=["a", "b"], lr=0.01))
    plain = torch.optim.AdamW([p for module in theirs.values() for p in module.parameters()], lr=0.01, weight_decay=0)

    train(ours, optimizer, 5)
    train(theirs, plain, 5)

    for name, array in state_of(theirs).items():
        torch.testing.assert_close(state_of(ours)[name], array)
