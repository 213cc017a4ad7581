"""Two parts that a model may hold as one: taken alone only where a file's two are equal."""

import pytest
import torch
from torch import nn

from gradatim.errors import WeightsError
from gradatim.weights import Layout, Rename, Tie, Weights, transfer

ROWS = torch.arange(6.0).view(2, 3)


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.register_buffer("table", torch.zeros(3))


TIED = Layout(
    name="tied",
    summary="for tests",
    rules=(Rename(r"(one|two)\.(.+)", r"\1.\2"),),
    ties=(Tie(("one", "two"), "load both."),),
)


def tied(*parts, **two):
    arrays = {"one.weight": ROWS, "one.table": ROWS[0]}
    arrays |= {f"two.{name}": array for name, array in two.items()}
    weights = Weights(path="f", format="test", arrays=arrays)
    return transfer(weights, {name: Part() for name in parts}, layout=TIED)


def test_one_of_two_tied_parts_may_be_taken_where_both_are_equal_to_the_bit():
    (account,) = tied("one", weight=ROWS.clone(), table=ROWS[0].clone())
    assert account.arrays == (2, 2)


def test_tied_parts_that_differ_may_be_taken_together():
    assert [account.arrays for account in tied("one", "two", weight=ROWS + 1, table=ROWS[0])] == [(2, 2), (2, 2)]


def test_a_file_without_the_other_part_has_nothing_to_tie():
    (account,) = tied("one")
    assert account.arrays == (2, 2)


@pytest.mark.parametrize(
    ("two", "differs"),
    [
        ({"weight": ROWS, "table": ROWS[0].nextafter(ROWS[1])}, "table"),
        ({"weight": ROWS + 1, "table": ROWS[0] + 1}, "weight"),
        ({"weight": ROWS}, "table"),
        ({"weight": ROWS, "table": ROWS[0], "more": ROWS}, "more"),
        ({"weight": ROWS[:1], "table": ROWS[0]}, "weight"),
    ],
)
def test_one_of_two_tied_parts_that_differ_is_refused_and_the_first_difference_named(two, differs):
    with pytest.raises(WeightsError) as error:
        tied("one", **two)
    assert str(error.value) == (
        f"f: parts 'one' and 'two' of this file differ, first in {differs!r}, and only 'one' is asked for: load both."
    )
