"""A sweep's runs share features and equal stages, and are compared at the end."""

import pytest

from gradatim import PlanError
from gradatim.engine.checked import document_of
from gradatim.engine.sweep import split_values, sweep, variants
from toy import TOY, plan, stage

TWO = plan(stage("first", train=["body", "head"]), stage("second", train=["head"]))


def test_three_rates_compute_each_feature_and_the_shared_stage_once(tmp_path):
    told = list(sweep(document_of(TWO), ["stages.second.lr=1e-2,1e-3,1e-4"], tmp_path / "sweep", system=TOY))

    assert [one["values"] for one in told] == [{"stages.second.lr": rate} for rate in ("1e-2", "1e-3", "1e-4")]
    assert [one["reused"] for one in told] == [[], ["first"], ["first"]]
    assert [one["computed"] for one in told] == [["features", "y", "hidden"], [], []]
    losses = [one["stages"]["second"]["losses"]["mse"] for one in told]
    assert len(set(losses)) == 3


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path):
    first = sweep(document_of(TWO), ["stages.second.lr=1e-2,1e-3"], tmp_path / "sweep", system=TOY)
    next(first)
    again = list(sweep(document_of(TWO), ["stages.second.lr=1e-2,1e-3"], tmp_path / "sweep", system=TOY))

    assert again[0]["reused"] == ["first", "second"]
    assert [one["state"] for one in again] == ["finished", "finished"]


def test_all_combinations_are_run_and_named_by_what_varies():
    found = variants(document_of(TWO), ["stages.first.lr=1,2", "stages.second.lr=3,4", "seed=5"])
    assert [one.name for one in found] == [
        "first.lr=1,second.lr=3", "first.lr=1,second.lr=4", "first.lr=2,second.lr=3", "first.lr=2,second.lr=4"
    ]  # fmt: skip


def test_commas_inside_brackets_belong_to_a_value():
    assert split_values("1e-3,[1,2],{a: (1,2)}") == ["1e-3", "[1,2]", "{a: (1,2)}"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [(["stages.second.lr=1e-3"], "several values"), (["stages.second.lr"], "PATH=VALUE")],
)
def test_what_is_no_sweep_is_refused(changes, message):
    with pytest.raises(PlanError, match=message):
        variants(document_of(TWO), changes)


def test_a_wrong_value_is_told_before_anything_runs(tmp_path):
    with pytest.raises(PlanError, match="lr"):
        list(sweep(document_of(TWO), ["stages.second.lr=1e-2,fast"], tmp_path / "sweep", system=TOY))
    assert not (tmp_path / "sweep").exists()
