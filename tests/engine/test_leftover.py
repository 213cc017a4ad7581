"""A batch of one sample is refused before anything runs, where a loss compares samples."""

from dataclasses import replace

import pytest

from gradatim.engine.leftover import lone_problems
from toy import TOY, stage

COMPARING = replace(TOY, comparing=("mse",))


def told(samples, world=1, system=COMPARING, **changes):
    return lone_problems(system, stage(**{"epochs": 2, **changes}), samples, world=world)


@pytest.mark.parametrize(
    ("samples", "changes", "fits"),
    [
        (9, {"batch_size": 4}, "3 or 5"),
        (25, {"batch_size": 8}, "7 or 9"),
        (3, {"batch_size": 2}, "3"),
        (1, {"batch_size": 8}, None),
    ],
)
def test_sizes_that_leave_none_over_are_named(samples, changes, fits):
    (line,) = told(samples, **changes)

    assert f"({samples} samples in batches of {changes['batch_size']})" in line
    assert (f"`batch_size: {fits}`" if fits else "add samples") in line


@pytest.mark.parametrize(
    ("samples", "changes"),
    [
        (8, {"batch_size": 4}),
        (10, {"batch_size": 4}),
        (9, {"batch_size": 4, "epochs": None, "steps": 2}),
        (9, {"batch_size": 1}),
        (0, {"batch_size": 4}),
    ],
    ids=["even", "two over", "ends before", "a rule of the system", "no data"],
)
def test_other_stages_pass(samples, changes):
    assert told(samples, **changes) == []


def test_losses_that_take_samples_one_by_one_pass():
    assert told(9, system=TOY, batch_size=4) == []


def test_processes_share_the_last_batch():
    assert told(19, world=2, batch_size=8)
    assert told(18, world=2, batch_size=8)
    assert told(20, world=2, batch_size=8) == []
