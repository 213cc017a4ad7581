"""Learning rates of the original's three trainings, for every group of parameters."""

import json
import re

import pytest

from gradatim.engine.optimizer import schedule_factor
from gradatim.plan.stage import Training

RATE = 1e-12
PER_EPOCH = 7


@pytest.fixture
def schedules(parity_root):
    return json.loads((parity_root / "flowchroma" / "format" / "schedules.json").read_text())


def numbers(name):
    """Every number in the name of a case, in order."""
    return [float(found) for found in re.findall(r"(?<![\w.])\d+\.?\d*(?:e-?\d+)?", name)]


def case(schedules, start):
    (name,) = [name for name in schedules if name.startswith(start)]
    return numbers(name), schedules[name]


@pytest.mark.parity
def test_rates_that_fall_as_a_power(schedules):
    (_, warmup, steps, power, least, first, second, *_), expected = case(schedules, "polynomial")
    schedule = {"polynomial": {"power": power, "least": least, "warmup": int(warmup)}}
    factor = schedule_factor(Training(lr=first, schedule=schedule), steps=int(steps), per_epoch=1)

    for step, rates in enumerate(expected):
        assert [base * factor(step, base) for base in (first, second)] == pytest.approx(rates, abs=RATE)
    assert len(expected) >= 10


@pytest.mark.parity
def test_rates_that_fall_from_epoch_to_epoch(schedules):
    (epochs, least, first, second, *_), expected = case(schedules, "cosine")
    schedule = {"cosine": {"least": least, "every": "epoch"}}
    training = Training(lr=second, schedule=schedule)
    factor = schedule_factor(training, steps=int(epochs) * PER_EPOCH, per_epoch=PER_EPOCH)

    for epoch, rates in enumerate(expected):
        for step in (epoch * PER_EPOCH, (epoch + 1) * PER_EPOCH - 1):
            assert [base * factor(step, base) for base in (first, second)] == pytest.approx(rates, abs=RATE)
    assert len(expected) >= 5


@pytest.mark.parity
def test_rates_that_rise_and_fall_straight(schedules):
    (highest, steps, rise, *_), expected = case(schedules, "onecycle")
    schedule = {"one_cycle": {"rise": rise, "anneal": "linear"}}
    factor = schedule_factor(Training(lr=highest, schedule=schedule), steps=int(steps), per_epoch=100)

    for step, rate in expected:
        assert highest * factor(int(step), highest) == pytest.approx(rate, abs=RATE)
    assert len(expected) >= 6
