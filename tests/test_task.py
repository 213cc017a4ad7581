"""Tasks are read from signatures: what a step needs, what is wrong with it, and which steps run."""

import re

import pytest
import torch

from gradatim.errors import SystemDefinitionError
from gradatim.system import Metric, System
from gradatim.task import makes, read_call, read_tasks
from toy import TOY

PARTS, FIELDS = ("stem", "head", "experts"), ("x", "y")


@makes("features", "extra")
def extract(stem, x, *, scale: float = 2.0):
    return stem(x) * scale, {"sum": x.sum(), "first": x[:1]}


@makes("noisy")
def disturb(features, generator):
    return features + torch.rand(features.shape, generator=generator)


@makes("predicted")
def predict(head, features):
    return head(features)


@makes("gathered")
def gather(extra, experts):
    return sum(expert(extra["first"]) for expert in experts.values())


CHAIN = (extract, disturb, predict, gather)


def test_a_signature_tells_parts_values_options_and_randomness():
    call = read_call(extract, PARTS)
    random = read_call(disturb, PARTS)

    assert (call.names.name, call.names.parts, call.names.needs) == ("extract", ("stem",), ("x",))
    assert (call.names.makes, call.names.options) == (("features", "extra"), {"scale": float})
    assert (call.names.random, random.names.random, random.names.needs) == (False, True, ("features",))
    assert call.arguments == ("stem", "x")


def test_makes_leaves_the_step_as_it_is():
    result, extra = extract(torch.neg, torch.ones(2), scale=3.0)

    assert result.tolist() == [-3.0, -3.0]
    assert extra["sum"] == 2


def star(stem, *rest): ...


def double(stem, **rest): ...


def bare_option(stem, x, *, ratio): ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (star, r"test_task\.py:\d+: star takes \*rest; name each argument"),
        (double, r"test_task\.py:\d+: double takes \*rest; name each argument"),
        (bare_option, r"test_task\.py:\d+: option bare_option\.ratio needs a default"),
    ],
)
def test_a_signature_that_cannot_be_read_is_named_with_its_line(function, message):
    with pytest.raises(SystemDefinitionError, match=message):
        read_call(function, PARTS)


@makes("a")
def misspelt(stem, x, featurs):
    return featurs


@makes("head", "x", "a")
def overlapping(stem, x):
    return x, x, x


def no_value(stem, x):
    return x


def test_everything_that_does_not_fit_is_told_at_once_with_its_line():
    with pytest.raises(SystemDefinitionError) as error:
        read_tasks({"one": (extract, misspelt), "two": (overlapping, no_value)}, (*PARTS, "y"), FIELDS)

    lines = [re.sub(r"\(\S*?(test_task\.py):\d+\)", r"(\1)", line.strip()) for line in str(error.value).split("\n")]
    assert lines == [
        "the steps do not fit together:",
        "task 'one', step 'misspelt' (test_task.py): unknown part or value 'featurs'. Did you mean 'features'? "
        "Known: experts, extra, features, head, stem, x, y.",
        "task 'two', step 'overlapping' (test_task.py): value 'head' is also the name of a part",
        "task 'two', step 'no_value' (test_task.py): makes nothing; decorate it with @makes(...)",
        "'y' is both a part and a field of the sample",
    ]


def test_a_step_that_stands_twice_in_a_task_is_refused():
    with pytest.raises(SystemDefinitionError, match="'features' is made twice"):
        read_tasks({"one": (extract, extract)}, PARTS, FIELDS)


def test_a_value_that_is_made_later_is_unknown_before():
    with pytest.raises(SystemDefinitionError, match=r"step 'predict' .*unknown part or value 'features'"):
        read_tasks({"one": (predict, extract)}, PARTS, FIELDS)


def system(**changes):
    from dataclasses import replace

    return replace(TOY, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": {"m": lambda hiden: hiden}}, r"loss 'm': unknown value 'hiden'\. Did you mean 'hidden'\?"),
        ({"metrics": {"m": Metric(lambda stem, x: x)}}, "metric 'm' takes part 'stem'; parts are for steps"),
        ({"metrics": {"mse": Metric(lambda x: x)}}, "'mse' is both a loss and a metric"),
        ({"tasks": {"t": (no_value,)}}, r"system 'toy': the steps do not fit together:\n.*makes nothing"),
    ],
)
def test_a_system_that_does_not_fit_together_fails_when_it_is_defined(changes, message):
    with pytest.raises(SystemDefinitionError, match=message):
        system(**changes)
    assert isinstance(TOY, System)


@pytest.fixture
def counted():
    """The chain's task, its parts, and how often each part ran."""
    calls = []

    class Counting(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            calls.append(self.name)
            return x + 1

    experts = torch.nn.ModuleDict({"a": Counting("a"), "b": Counting("b")})
    parts = torch.nn.ModuleDict({"stem": Counting("stem"), "head": Counting("head"), "experts": experts})
    return read_tasks({"t": CHAIN}, PARTS, FIELDS)["t"], parts, calls


@pytest.mark.parametrize(
    ("want", "ran"),
    [
        (("features",), ["stem"]),
        (("predicted",), ["stem", "head"]),
        (("gathered",), ["stem", "a", "b"]),
        (("gathered", "predicted"), ["stem", "head", "a", "b"]),
        (("x",), []),
        ((), []),
    ],
)
def test_only_the_steps_that_lead_to_what_is_wanted_run_each_once(counted, want, ran):
    task, parts, calls = counted

    values = task.compute(parts, {"x": torch.zeros(2)}, want=want)

    assert calls == ran
    assert tuple(values) == want


def test_dicts_of_tensors_are_values_and_dicts_of_parts_are_parts(counted):
    task, parts, _ = counted

    values = task.compute(parts, {"x": torch.ones(2)}, want=("extra", "gathered"))

    assert values["extra"]["sum"] == 2
    assert values["gathered"].tolist() == [4.0]


def test_options_reach_their_step_only(counted):
    task, parts, _ = counted

    values = task.compute(parts, {"x": torch.ones(2)}, want=("predicted",), options={"extract.scale": 5})

    assert values["predicted"].tolist() == [11.0, 11.0]


def test_a_random_step_draws_from_the_generator_alone(counted):
    task, parts, _ = counted

    def noisy(seed):
        return task.compute(
            parts, {"x": torch.ones(4)}, want=("noisy",), generator=torch.Generator().manual_seed(seed)
        )["noisy"]

    assert torch.equal(noisy(1), noisy(1))
    assert not torch.equal(noisy(1), noisy(2))
    with pytest.raises(SystemDefinitionError, match="task 't', step 'disturb' needs generator"):
        task.compute(parts, {"x": torch.ones(4)}, want=("noisy",))


def test_what_cannot_be_computed_is_named(counted):
    task, parts, calls = counted

    with pytest.raises(SystemDefinitionError, match="step 'extract' needs x"):
        task.compute(parts, {}, want=("predicted",))
    with pytest.raises(SystemDefinitionError, match=r"unknown value 'predictd'\. Did you mean 'predicted'\?"):
        task.compute(parts, {"x": torch.ones(1)}, want=("predicted", "predictd"))
    assert calls == []


def test_a_mapping_of_parts_serves_as_well_as_a_module(counted):
    task, parts, _ = counted

    one = task.compute(parts, {"x": torch.ones(2)}, want=("predicted",))
    two = task.compute(dict(parts.items()), {"x": torch.ones(2)}, want=("predicted",))

    assert torch.equal(one["predicted"], two["predicted"])


def test_a_step_that_returns_too_few_values_is_a_mistake():
    @makes("a", "b")
    def lying(x):
        return (x,)

    task = read_tasks({"t": (lying,)}, PARTS, FIELDS)["t"]

    with pytest.raises(ValueError, match="argument 2"):
        task.compute({}, {"x": torch.ones(1)}, want=("a",))
