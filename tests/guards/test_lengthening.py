"""A stage that opens too early: the one before it is carried on, and it begins anew."""

import pytest

from gradatim.engine.checked import document_of
from gradatim.engine.run import run
from gradatim.errors import GuardError, PlanError
from gradatim.plan import read_document
from gradatim.report.status import run_status
from gradatim.runs import read_events
from gradatim.weights import read_weights
from toy import TOY, plan, stage

PLAIN = {"optimizer": {"sgd": {"momentum": 0.0}}, "lr": 0.1}
LIMIT = 0.15
"""The head drifts by 0.161 after two epochs of the first stage, by 0.148 after four."""


def opening(limit=LIMIT, **changes):
    guards = {"drift": {"head": limit}, "then": "lengthen"}
    return stage("open", train=["body", "head"], init={}, guards=guards, snapshot_every=1, **PLAIN, **changes)


def asked(limit=LIMIT):
    return plan(stage("frozen", **PLAIN), opening(limit))


def model_of(folder):
    return read_weights(folder / "model.safetensors").arrays


def names_in(folder):
    return [one["name"] for one in read_document(folder / "plan.yaml").tree["stages"]]


def test_the_stage_before_goes_on_and_the_next_begins_anew(tmp_path):
    result = run(asked(), tmp_path / "a" / "run", system=TOY)

    assert list(result.stages) == ["frozen", "frozen-longer1", "open"]
    (event,) = [e for e in read_events(result.folder / "events.jsonl") if e["event"] == "lengthened"]
    assert (event["stage"], event["by"]) == ("open", "frozen-longer1")
    assert "'frozen-longer1' goes before it now" in event["message"]
    assert names_in(result.folder) == ["frozen", "frozen-longer1", "open"]
    (told,) = [one["guards"] for one in run_status(result.folder)["stages"] if one["name"] == "open"]
    assert "head" in told
    assert not (result.folder / "02-open").exists()


def test_it_ends_as_a_plan_with_the_longer_stage_would_have(tmp_path):
    found = run(asked(), tmp_path / "a" / "run", system=TOY).folder
    written = plan(stage("frozen", **PLAIN), stage("frozen-longer1", init={}, **PLAIN), opening())
    expected = run(written, tmp_path / "b" / "run", system=TOY).folder

    ours, theirs = model_of(found), model_of(expected)
    assert all(array.equal(theirs[name]) for name, array in ours.items())


@pytest.mark.parametrize("resumed_with", ["the plan that was asked for", "the folder"])
def test_a_run_that_is_killed_after_it_was_made_longer_goes_on_to_the_same_bits(tmp_path, resumed_with):
    whole = run(asked(), tmp_path / "a" / "run", system=TOY).folder
    folder, seen = tmp_path / "b" / "run", []

    def killing(event):
        seen.append(event["event"])
        if "lengthened" in seen and event["event"] == "drift" and event["stage"] == "open":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(asked(), folder, system=TOY, observe=killing)
    again = document_of(asked()) if resumed_with.startswith("the plan") else read_document(folder / "plan.yaml")
    run(again, folder, system=TOY)

    assert all(array.equal(model_of(folder)[name]) for name, array in model_of(whole).items())
    with pytest.raises(Exception, match="holds a run of another plan"):
        run(asked(0.2), folder, system=TOY)


def test_after_three_times_it_stops_and_says_so(tmp_path):
    with pytest.raises(GuardError, match=r"stage 'open': .*though the stage before it was made longer 3 times"):
        run(asked(0.01), tmp_path / "run", system=TOY)

    assert names_in(tmp_path / "run") == ["frozen", *(f"frozen-longer{n}" for n in (1, 2, 3)), "open"]


def test_a_first_stage_has_nothing_before_it_that_could_be_longer(tmp_path):
    alone = plan(stage(guards={"drift": {"head": 0.1}, "then": "lengthen"}))
    with pytest.raises(PlanError, match=r"stages\[0\]\.guards\.then: no stage stands before this one"):
        run(alone, tmp_path / "run", system=TOY)
