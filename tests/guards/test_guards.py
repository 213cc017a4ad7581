"""Every guard is made to fire in a real stage, and what it leaves behind is looked at."""

import pytest
import torch
from torch import nn

from gradatim.engine.run import run
from gradatim.errors import GuardError, WeightsError
from gradatim.guards import LossBand, Patience, check_reached
from gradatim.guards.after import check_frozen, check_moved, digests
from gradatim.runs import latest_snapshot, read_events
from toy import FRESH, TOY, plan, stage


def guards_of(folder):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == "guard"]


def kept(folder):
    (path,) = folder.glob("01-*/progress")
    key = next(e["key"] for e in read_events(folder / "events.jsonl") if e.get("state") == "started")
    return latest_snapshot(path, key)


def test_before_a_trained_part_that_no_gradient_reaches_stops_the_stage(tmp_path):
    with pytest.raises(GuardError) as error:
        run(plan(stage(task="cut", losses={"useless": 1})), tmp_path / "run", system=TOY)

    assert "part 'head' is trained, but no gradient reaches any of its arrays" in str(error.value)
    assert not list((tmp_path / "run").rglob("weights.safetensors"))


def test_before_a_frozen_parameter_with_a_gradient_is_named():
    frozen, trained = nn.Linear(2, 2), nn.Linear(2, 2)
    for module in (frozen, trained):
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
    learns = [("t", f"t.{name}", parameter) for name, parameter in trained.named_parameters()]

    with pytest.raises(GuardError, match=r"f\.weight is frozen, but a gradient reached it"):
        check_reached("s", learns, {"f": frozen, "t": trained})


def test_before_a_source_that_does_not_fit_stops_the_run_before_any_stage(tmp_path):
    torch.save({"net.a.weight": torch.zeros(6, 6)}, tmp_path / "half.pt")
    second = stage("two", init={"body": {"checkpoint": str(tmp_path / "half.pt"), "layout": "foreign"}})

    with pytest.raises(WeightsError, match=r"missing in the file \(1\): bias"):
        run(plan(stage("one"), second), tmp_path / "run", system=TOY)

    assert not (tmp_path / "run").exists()


def test_during_a_loss_that_is_not_finite_rolls_back_three_times_and_then_stops_with_the_good_state(tmp_path):
    poisoned = stage(data={"poison": 5}, epochs=6, log_every=1, snapshot_every=1, init=dict(FRESH))

    with pytest.raises(GuardError, match="after 3 returns with ever lower learning rates"):
        run(plan(poisoned), tmp_path / "run", system=TOY)

    found = guards_of(tmp_path / "run")
    assert [event["guard"] for event in found] == ["nonfinite"] * 4
    assert found[0]["what"] == "mse"
    assert found[0]["found_at"] == found[0]["back_to"] + 1
    resumed = [e["lr_scale"] for e in read_events(tmp_path / "run" / "events.jsonl") if e["event"] == "resumed"]
    assert resumed == [0.5, 0.25, 0.125]
    good = kept(tmp_path / "run")
    assert good.step == found[0]["back_to"]
    assert all(torch.isfinite(array).all() for name, array in good.arrays.items() if array.is_floating_point())


def test_during_a_rate_that_is_too_high_is_halved_and_the_stage_goes_on(tmp_path, monkeypatch):
    """The loss overflows at the full rate and not at half of it."""
    limit = 0.7
    monkeypatch.setattr("gradatim.engine.loop.Driver.set_rate", _exploding_above(limit))
    steady = stage(lr=1.0, epochs=4, log_every=1, snapshot_every=1, optimizer={"sgd": {"momentum": 0.0}})

    result = run(plan(steady), tmp_path / "run", system=TOY)

    assert result.stages["fit"]["rollbacks"] == 1
    rates = [e["lr"]["main"] for e in read_events(tmp_path / "run" / "events.jsonl") if e["event"] == "step"]
    assert rates == [0.5] * 12


def _exploding_above(limit):
    from gradatim.engine.loop import Driver

    plain = Driver.set_rate

    def set_rate(self, step, scale):
        plain(self, step, scale)
        if self.optimizer.param_groups[0]["lr"] > limit:
            self.parameters[0].grad.fill_(float("inf"))

    return set_rate


def test_during_stop_asks_for_no_second_try(tmp_path):
    poisoned = stage(data={"poison": 0}, guards={"nonfinite": "stop"}, log_every=1)

    with pytest.raises(GuardError, match="is kept"):
        run(plan(poisoned), tmp_path / "run", system=TOY)

    assert len(guards_of(tmp_path / "run")) == 1


def test_during_a_loss_that_leaves_its_band_stops_the_stage_and_keeps_its_state(tmp_path):
    banded = stage(epochs=20, lr=0.1, guards={"loss_band": 0.2}, log_every=3)

    with pytest.raises(GuardError, match=r"loss 'mse' is .* more than 20% from"):
        run(plan(banded), tmp_path / "run", system=TOY)

    (event,) = guards_of(tmp_path / "run")
    assert (event["guard"], event["what"]) == ("loss_band", "mse")
    assert event["step"] > 3
    assert kept(tmp_path / "run").step == event["step"]


def test_during_a_part_that_drifts_too_far_stops_the_stage(tmp_path):
    with pytest.raises(GuardError, match=r"part 'head' has drifted"):
        run(plan(stage(guards={"drift": {"head": 0.001}})), tmp_path / "run", system=TOY)

    (event,) = guards_of(tmp_path / "run")
    assert (event["guard"], event["what"], event["limit"]) == ("drift", "head", 0.001)
    assert event["value"] > 0.001


def test_during_patience_ends_the_stage_without_an_error(tmp_path):
    judged = stage(
        epochs=50,
        lr=5.0,
        validate={"metric": "closeness"},
        guards={"patience": 2},
        optimizer={"sgd": {"momentum": 0.0}},
    )
    result = run(plan(judged, allow=["fast"]), tmp_path / "run", system=TOY)

    (event,) = guards_of(tmp_path / "run")
    assert (event["guard"], event["what"]) == ("patience", "closeness")
    assert result.stages["fit"]["stopped_early"]


def test_after_a_frozen_part_that_a_step_changes_is_found_and_nothing_is_kept(tmp_path):
    from dataclasses import replace

    from gradatim.task import makes
    from toy import predict, transform

    @makes("features")
    def meddle(stem, x):
        with torch.no_grad():
            stem[0].bias += 1e-7
        return stem(x)

    meddling = replace(TOY, tasks={**TOY.tasks, "fit": (meddle, transform, predict)})

    with pytest.raises(GuardError, match=r"stem\.0\.bias is frozen, but its values have changed"):
        run(plan(stage()), tmp_path / "run", system=meddling)

    assert not list((tmp_path / "run").rglob("stage.json"))
    assert not list((tmp_path / "run").rglob("weights.safetensors"))


def test_after_a_frozen_buffer_counts_too():
    part = nn.BatchNorm1d(3)
    before = digests({"p": part})
    part(torch.randn(4, 3))

    with pytest.raises(GuardError, match=r"p\.running_mean is frozen"):
        check_frozen("s", before, digests({"p": part}))


def test_after_a_trained_part_that_has_not_moved_is_named():
    part = nn.Linear(2, 2)

    with pytest.raises(GuardError, match="part 'p' is trained, but none of its arrays has moved"):
        check_moved("s", digests({"p": part}), {"p": part})


def test_after_weights_that_are_not_finite_are_named():
    part = nn.Linear(2, 2)
    before = digests({"p": part})
    with torch.no_grad():
        part.bias[0] = float("inf")

    with pytest.raises(GuardError, match=r"p\.bias holds values that are not finite"):
        check_moved("s", before, {"p": part})


def test_a_band_is_counted_from_the_first_value_either_way():
    band = LossBand(0.5)

    assert band.judge({"a": 2.0}) is None
    assert band.judge({"a": 2.9}) is None
    assert band.judge({"a": 3.1}).what == "a"
    assert band.judge({"a": 0.9}).what == "a"


def test_patience_counts_validations_without_a_better_value():
    patience = Patience(higher_is_better=False, limit=2)

    assert patience.judge(1.0, 1)
    assert not patience.judge(float("nan"), 2)
    assert patience.judge(0.5, 3)
    assert not patience.judge(0.6, 4)
    assert not patience.exhausted
    assert not patience.judge(0.5, 5)
    assert patience.exhausted


def test_before_shapes_that_do_not_fit_a_later_stage_stop_the_run_before_the_first(tmp_path):
    from dataclasses import replace

    from gradatim.errors import DataError

    class Narrow(nn.Linear):
        def forward(self, x):
            if x.shape[-1] != 6:
                raise DataError(f"rows of {x.shape[-1]} numbers; this part was built for 6")
            return super().forward(x)

    parts = {**TOY.parts, "stem": lambda settings: Narrow(6, 6)}
    shapes = replace(TOY.data, shapes=lambda data, model: dict.fromkeys(("x", "y"), (5 if data.samples == 5 else 6,)))
    system = replace(TOY, parts=parts, data=shapes)

    with pytest.raises(DataError, match="stage 'two': rows of 5 numbers"):
        run(plan(stage("one"), stage("two", data={"samples": 5})), tmp_path / "run", system=system)

    assert not (tmp_path / "run").exists()
