"""Spikes, bands around what validation measured first, and going on with half the learning rate."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradatim.engine.run import run
from gradatim.errors import GuardError
from gradatim.guards import LossBand, Spike
from gradatim.runs import read_events
from gradatim.system import Metric
from gradatim.task import itemized
from toy import TOY, plan, stage

FAST = {"optimizer": {"sgd": {"momentum": 0.0}}}


def events(folder, kind):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def test_a_spike_is_measured_from_the_lowest():
    spike = Spike(2.0)
    assert [spike.judge(value) is None for value in (4.0, 1.0, 1.9, 0.5)] == [True] * 4
    assert spike.judge(1.1).guard == "spike"


def test_only_the_named_terms_are_judged_and_never_what_they_are_sums_of():
    band = LossBand(0.2, ("a",))
    assert band.judge({"a": 1.0, "a/1": 1.0, "b": 1.0}) is None
    assert band.judge({"a": 1.1, "a/1": 9.0, "b": 9.0}) is None
    assert band.judge({"a": 1.3, "b": 1.0}).what == "a"


def wild(**changes):
    """A stage whose learning rate is far too high."""
    return stage(**{"epochs": 10, "lr": 2.0, "log_every": 1, "snapshot_every": 1, **FAST, **changes})


def test_a_spike_stops_the_stage_and_says_where(tmp_path):
    with pytest.raises(GuardError, match=r"step \d+: the total loss is .* times the lowest.*weights before this stage"):
        run(plan(wild(guards={"spike": 1.5}), allow=["fast"]), tmp_path / "run", system=TOY)

    (event,) = events(tmp_path / "run", "guard")
    assert (event["guard"], event["limit"]) == ("spike", 1.5)


def test_a_spike_may_halve_the_rate_instead_and_the_stage_goes_on(tmp_path):
    chosen = wild(guards={"spike": 1.5, "then": "lower_lr"})
    try:
        run(plan(chosen, allow=["fast"]), tmp_path / "run", system=TOY)
    except GuardError:
        assert len(events(tmp_path / "run", "guard")) == 4
    found = events(tmp_path / "run", "guard")
    assert found
    assert found[0]["back_to"] < found[0]["found_at"]
    scales = [event["lr_scale"] for event in events(tmp_path / "run", "resumed")]
    assert scales[: len(found)] == [0.5**n for n in range(1, len(scales) + 1)]


def test_the_band_may_refer_to_validation_before_the_first_step(tmp_path):
    band = {"band": 0.3, "terms": ["mse"], "reference": "validation"}
    judged = stage(epochs=30, lr=0.1, validate={"metric": "closeness"}, guards={"loss_band": band})

    with pytest.raises(GuardError, match=r"loss 'mse' is .* more than 30% from"):
        run(plan(judged), tmp_path / "run", system=TOY)

    (reference,) = events(tmp_path / "run", "reference")
    assert reference["step"] == 0
    assert set(reference["losses"]) == {"mse"}
    last = events(tmp_path / "run", "validation")[-1]
    assert abs(last["losses"]["mse"] - reference["losses"]["mse"]) > 0.3 * reference["losses"]["mse"]


def test_a_band_of_the_first_epochs_lets_later_ones_be(tmp_path):
    band = {"band": 0.9, "reference": "validation", "epochs": 1}
    judged = stage(epochs=30, lr=0.1, validate={"metric": "closeness"}, guards={"loss_band": band})

    run(plan(judged), tmp_path / "run", system=TOY)

    first = events(tmp_path / "run", "reference")[0]["losses"]["mse"]
    assert events(tmp_path / "run", "validation")[-1]["losses"]["mse"] < 0.1 * first


def test_a_band_that_refers_to_validation_needs_one(tmp_path):
    band = {"band": 0.3, "reference": "validation"}
    with pytest.raises(GuardError, match="say how by `validate`"):
        run(plan(stage(guards={"loss_band": band})), tmp_path / "run", system=TOY)


@itemized("left", "right")
def halves(predicted: Tensor, y: Tensor) -> Tensor:
    """Squared error of two halves."""
    return (predicted - y).square().mean(0).view(2, -1).mean(1)


def test_what_a_loss_is_the_sum_of_is_logged_beside_it_and_trains_as_the_sum(tmp_path):
    system = replace(TOY, losses={**TOY.losses, "halves": halves})
    run(plan(stage(losses={"halves": 2}, log_every=1)), tmp_path / "run", system=system)

    for event in events(tmp_path / "run", "step"):
        losses = event["losses"]
        assert set(losses) == {"halves", "halves/left", "halves/right"}
        assert losses["halves"] == pytest.approx(losses["halves/left"] + losses["halves/right"])


def test_a_metric_of_the_whole_set_gets_every_batch_in_order(tmp_path):
    seen = []

    def spread(predicted: Tensor) -> Tensor:
        return predicted.detach().clone()

    def over(batches):
        seen.append([len(batch) for batch in batches])
        return float(torch.cat(list(batches)).std())

    system = replace(TOY, metrics={**TOY.metrics, "spread": Metric(spread, over=over)})
    result = run(
        plan(stage(validate={"metric": "spread", "batch_size": 3}, epochs=2)), tmp_path / "run",
        system=system,
    )  # fmt: skip

    assert seen == [[3, 3, 2]] * 2
    assert result.stages["fit"]["best"] > 0
