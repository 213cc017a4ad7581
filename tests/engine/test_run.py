"""Runs from plan to folder: states, proofs, lineage, resuming, reuse."""

import json
import shutil

import pytest
import torch

from gradatim.engine.model import load_run
from gradatim.engine.run import run
from gradatim.errors import DataError, GuardError, PlanError, RunError
from gradatim.plan import read_document
from gradatim.runs import read_events
from gradatim.weights import header_of, part_digest, parts_of, read_weights
from toy import FRESH, TOY, plan, stage


def weights_of(folder):
    return {name: array.clone() for name, array in read_weights(folder / "model.safetensors").arrays.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class KilledError(Exception):
    """Raised by a test at a chosen step, as a killed process would end."""


def stop_at(count):
    seen = [0]

    def tick(done, total):
        seen[0] += 1
        if seen[0] == count:
            raise KilledError

    return tick


THREE = (
    stage("one", train=["stem", "body", "head"], epochs=3, log_every=2, snapshot_every=2),
    stage("two", train=["head"], epochs=4, data={"jitter": 0.1}, accumulate=2, clip=0.5, log_every=2, snapshot_every=1),
    stage(
        "three", task="noisy", train={"body": {"lr": 0.02}, "head": {}}, epochs=3, snapshot_every=2, log_every=3,
        validate={"metric": "closeness", "every": 1}, schedule={"cosine": {"warmup": 2}},
    ),
)  # fmt: skip


def test_three_stages_end_in_one_file_with_all_parts_and_their_lineage(tmp_path):
    result = run(plan(*THREE), tmp_path / "run", system=TOY)

    assert list(result.stages) == ["one", "two", "three"]
    weights = read_weights(result.model)
    lineage = header_of(weights)["lineage"]
    assert set(parts_of(weights)) == set(lineage) == {"stem", "body", "head"}
    assert [passage["stage"] for passage in lineage["head"]["passages"]] == ["one", "two", "three"]
    assert [passage["stage"] for passage in lineage["body"]["passages"]] == ["one", "three"]
    assert lineage["stem"]["origin"]["kind"] == "fresh"
    assert not list((tmp_path / "run").rglob("progress"))


def test_equal_plans_and_seeds_end_in_equal_bits_and_another_seed_does_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(plan(*THREE, seed=seed), tmp_path / name / "run", system=TOY)

    a, b, c = (weights_of(tmp_path / name / "run") for name in "abc")
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("step", range(1, 26, 3))
def test_a_run_that_stops_at_any_step_resumes_to_the_same_bits_and_metrics(tmp_path, step, monkeypatch):
    monkeypatch.setattr("gradatim.engine.stage.SnapshotWriter", _eager_writer())
    whole = run(plan(*THREE), tmp_path / "whole" / "run", system=TOY)

    with pytest.raises(KilledError):
        run(plan(*THREE), tmp_path / "cut" / "run", system=TOY, tick=stop_at(step))
    again = run(plan(*THREE), tmp_path / "cut" / "run", system=TOY)

    assert same(weights_of(whole.folder), weights_of(again.folder))
    figures = [_figures(folder.folder) for folder in (whole, again)]
    assert figures[0] == figures[1]
    assert len(figures[0]) > 10


def _eager_writer():
    from gradatim.runs.progress import SnapshotWriter

    return lambda folder, key: SnapshotWriter(folder, key, seconds=0)


def _figures(folder):
    """Losses, rates and metrics of every event that counts."""
    return [
        {key: value for key, value in event.items() if key in ("stage", "step", "losses", "lr", "value", "parts")}
        for event in read_events(folder / "events.jsonl")
        if event["event"] in ("step", "validation", "drift")
    ]


def test_a_resumed_stage_goes_on_from_its_snapshot_and_not_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("gradatim.engine.stage.SnapshotWriter", _eager_writer())
    with pytest.raises(KilledError):
        run(plan(stage(epochs=10, snapshot_every=2)), tmp_path / "run", system=TOY, tick=stop_at(25))
    events = []

    run(plan(stage(epochs=10, snapshot_every=2)), tmp_path / "run", system=TOY, observe=events.append)

    (resumed,) = [event for event in events if event["event"] == "resumed"]
    assert resumed["step"] >= 2


def test_numbers_in_a_plan_of_python_and_text_in_its_file_are_one_plan(tmp_path):
    written = plan(
        stage(data={"samples": 16}, options={"mse.power": 1.5}, snapshot_every=2), stage("two"), model={"width": 6}
    )  # fmt: skip
    run(written, tmp_path / "run", system=TOY, stages=["fit"])
    before = (tmp_path / "run" / "plan.yaml").read_text()

    run(read_document(tmp_path / "run" / "plan.yaml"), tmp_path / "run", system=TOY)
    events = []
    run(written, tmp_path / "neighbor", system=TOY, observe=events.append)

    assert (tmp_path / "run" / "plan.yaml").read_text() == before
    assert [event["state"] for event in events if event["event"] == "stage"] == ["reused", "reused"]


def test_a_stage_that_starts_again_from_nothing_tells_each_step_once(tmp_path):
    long = stage(epochs=10, log_every=1, snapshot_every=100)
    with pytest.raises(KilledError):
        run(plan(long), tmp_path / "run", system=TOY, tick=stop_at(7))

    run(plan(long), tmp_path / "run", system=TOY)

    steps = [event["step"] for event in read_events(tmp_path / "run" / "events.jsonl") if event["event"] == "step"]
    assert steps == list(range(1, 31))


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    """Before the plan was there, in a stage, and a finished stage's progress that was not taken away any more."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".plan.yaml.17.part").write_text("syst")
    run(plan(*THREE), tmp_path / "run", system=TOY, stages=["one"])
    for name in (".weights.safetensors.18.part", "progress/slot-a.safetensors", "progress/.slot-b.safetensors.19.part"):
        (tmp_path / "run" / "01-one" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / "01-one" / name).write_text("half")

    run(plan(*THREE), tmp_path / "run", system=TOY)

    assert not [path for path in (tmp_path / "run").rglob("*") if "part" in path.suffix or "progress" in path.parts]


def test_a_second_run_of_the_same_folder_trains_nothing(tmp_path):
    run(plan(*THREE), tmp_path / "run", system=TOY)
    before = weights_of(tmp_path / "run")
    steps = []

    run(plan(*THREE), tmp_path / "run", system=TOY, tick=lambda done, total: steps.append(done))

    assert not steps
    assert same(before, weights_of(tmp_path / "run"))


def test_a_neighbor_takes_over_equal_stages_and_trains_the_rest(tmp_path):
    run(plan(*THREE), tmp_path / "first", system=TOY)
    changed = (*THREE[:2], THREE[2].model_copy(update={"lr": 0.5}))
    events = []

    run(plan(*changed), tmp_path / "second", system=TOY, observe=events.append)

    reused = [event["stage"] for event in events if event.get("state") == "reused"]
    started = [event["stage"] for event in events if event.get("state") == "started"]
    assert reused == ["one", "two"]
    assert started == ["three"]


def test_another_plan_does_not_touch_a_finished_run(tmp_path):
    run(plan(stage()), tmp_path / "run", system=TOY)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    with pytest.raises(RunError, match="another plan"):
        run(plan(stage(epochs=3)), tmp_path / "run", system=TOY)

    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(RunError, match="not empty"):
        run(plan(stage()), tmp_path, system=TOY)


def test_frozen_parts_keep_their_bits_and_batch_statistics(tmp_path):
    first = stage("one", train=["stem", "body", "head"])
    second = stage("two", train=["body"])

    result = run(plan(first, second), tmp_path / "run", system=TOY)

    before = read_weights(tmp_path / "run" / "01-one" / "weights.safetensors").arrays
    after = read_weights(result.model).arrays
    frozen = [name for name in before if not name.startswith("body")]
    assert len(frozen) == 9  # linear 2, norm 5, head 2
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["body.weight"], after["body.weight"])
    assert result.stages["two"]["frozen_arrays_equal"] == 9


def test_a_child_of_a_part_trains_alone(tmp_path):
    result = run(plan(stage(train=["stem.0", "head"])), tmp_path / "run", system=TOY)

    model = load_run(result.folder, system=TOY)
    assert result.stages["fit"]["trained_arrays_moved"] == 4
    assert torch.equal(model.parts["stem"][1].weight, torch.ones(6))
    assert int(model.parts["stem"][1].num_batches_tracked) == 0


def test_two_updates_take_turns_and_each_moves_its_own_parts_only(tmp_path):
    updates = {
        "generator": {"train": ["body", "head"], "losses": {"fool": 0.1, "mse": 1}, "lr": 0.01},
        "critic": {"train": ["critic"], "losses": {"tell_apart": 1}, "lr": 0.02, "optimizer": "sgd"},
    }
    one = stage("gan", task="gan", train=[], losses={}, updates=updates, epochs=5, init={**FRESH, "critic": "fresh"})

    result = run(plan(one), tmp_path / "run", system=TOY)

    states = result.stages["gan"]["states"]
    assert states == {"stem": "cached", "body": "trained", "head": "trained", "critic": "trained"}
    assert result.stages["gan"]["trained_arrays_moved"] == 6
    steps = [event for event in read_events(tmp_path / "run" / "events.jsonl") if event["event"] == "step"]
    assert set(steps[-1]["losses"]) == {"generator.fool", "generator.mse", "critic.tell_apart"}
    assert steps[-1]["lr"] == {"generator": 0.01, "critic": 0.02}


def test_each_update_of_a_gan_sees_the_gradient_of_its_own_losses(tmp_path):
    """The critic's step is the one of a hand-written loop: the generator's loss leaves no gradient in it."""
    updates = {
        "generator": {"train": ["head"], "losses": {"fool": 1}, "lr": 0.1, "optimizer": {"sgd": {"momentum": 0}}},
        "critic": {"train": ["critic"], "losses": {"tell_apart": 1}, "lr": 0.1, "optimizer": {"sgd": {"momentum": 0}}},
    }
    one = stage(
        "gan", task="gan", train=[], losses={}, updates=updates, steps=1, epochs=None, batch_size=24,
        init={**FRESH, "critic": "fresh"},
    )  # fmt: skip
    result = run(plan(one), tmp_path / "run", system=TOY)

    parts = {name: _fresh(name) for name in ("stem", "body", "head", "critic")}
    data = TOY.data.open(TOY.data.settings(), "train")
    hidden = parts["body"](parts["stem"].eval()(data.x)).detach()
    softplus = torch.nn.functional.softplus
    _descend(parts["head"], softplus(-parts["critic"](parts["head"](hidden))).mean())
    scores = parts["critic"](parts["head"](hidden).detach()), parts["critic"](data.y)
    _descend(parts["critic"], (softplus(scores[0]) + softplus(-scores[1])).mean())

    trained = parts_of(read_weights(result.model))
    for name in ("head", "critic"):
        for key, value in parts[name].state_dict().items():
            assert torch.allclose(trained[name][key], value, atol=1e-6), (name, key)


def _fresh(name):
    from gradatim.engine.build import build_part

    return build_part(TOY, TOY.settings(), name, 0)


def _descend(part, loss):
    part.zero_grad()
    gradients = torch.autograd.grad(loss, list(part.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(part.parameters(), gradients, strict=True):
            parameter -= 0.1 * gradient


def test_a_part_may_start_as_a_copy_of_another_stages_part(tmp_path):
    second = stage("two", train=["body"], init={"head": {"stage": "one", "part": "body"}})

    result = run(plan(stage("one", train=["body", "head"]), second), tmp_path / "run", system=TOY)

    after_one = parts_of(read_weights(tmp_path / "run" / "01-one" / "weights.safetensors"))
    head = load_run(result.folder, system=TOY).parts["head"]
    assert torch.equal(head.weight, after_one["body"]["weight"])


def test_weights_of_another_run_bring_their_history(tmp_path):
    run(plan(stage("one")), tmp_path / "a" / "run", system=TOY)
    source = {"run": str(tmp_path / "a" / "run")}
    second = stage("two", init=dict.fromkeys(("stem", "body", "head"), source), train=["body"])

    result = run(plan(second), tmp_path / "b" / "run", system=TOY)

    lineage = header_of(read_weights(result.model))["lineage"]["head"]
    assert lineage["origin"]["kind"] == "run"
    assert lineage["before"]["passages"][0]["stage"] == "one"
    assert lineage["digest"] == part_digest(load_run(tmp_path / "a" / "run", system=TOY).parts["head"])


def test_best_weights_are_kept_and_early_stopping_ends_the_stage(tmp_path):
    judged = stage(
        epochs=50,
        lr=5.0,
        validate={"metric": "closeness"},
        guards={"patience": 3},
        optimizer={"sgd": {"momentum": 0.0}},
    )
    result = run(plan(judged, allow=["fast"]), tmp_path / "run", system=TOY)

    record = result.stages["fit"]
    assert record["stopped_early"]
    assert record["steps"] == record["best_step"] + 3 * 3
    model = load_run(result.folder, system=TOY)
    data = TOY.data.open(TOY.data.settings(), "validate")
    predicted = model.compute("fit", {"x": data.x, "y": data.y}, ("predicted",))["predicted"]
    assert float(-(predicted - data.y).square().mean()) == pytest.approx(record["best"], rel=1e-5)


def test_only_some_stages_run_and_later_ones_wait(tmp_path):
    run(plan(*THREE), tmp_path / "run", system=TOY, stages=["one"])

    assert sorted(path.name for path in (tmp_path / "run").glob("0*")) == ["01-one"]
    with pytest.raises(RunError, match="'three' cannot run"):
        run(plan(*THREE), tmp_path / "run", system=TOY, stages=["three"])
    with pytest.raises(PlanError, match="Did you mean 'two'"):
        run(plan(*THREE), tmp_path / "run", system=TOY, stages=["tow"])


def test_once_takes_one_step_in_every_stage_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = []

    result = run(plan(*THREE), system=TOY, once=True, tick=lambda done, total: steps.append((done, total)))

    assert steps == [(1, 1)] * 3
    assert not result.folder.exists()
    assert not list(tmp_path.iterdir())


def test_without_data_nothing_starts(tmp_path):
    with pytest.raises(DataError, match="training set is empty"):
        run(plan(stage(data={"empty": True})), tmp_path / "run", system=TOY)

    assert not (tmp_path / "run").exists()


def test_a_stage_whose_file_was_changed_is_not_continued(tmp_path):
    run(plan(*THREE), tmp_path / "run", system=TOY, stages=["one"])
    file = tmp_path / "run" / "01-one" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    with pytest.raises(RunError, match="the file was changed"):
        run(plan(*THREE), tmp_path / "run", system=TOY)


def test_a_finished_stage_that_no_longer_fits_is_left_as_it_is_and_explained(tmp_path, monkeypatch):
    run(plan(*THREE), tmp_path / "run", system=TOY, stages=["one"])
    monkeypatch.setattr("gradatim.engine.run.code_digest", lambda system: "another")

    with pytest.raises(RunError, match="code changed since"):
        run(plan(*THREE), tmp_path / "run", system=TOY)


def test_two_processes_do_not_share_a_run(tmp_path):
    from gradatim.runs import RunFolder

    with RunFolder(tmp_path / "run").locked(), pytest.raises(RunError, match="another process"):
        run(plan(stage()), tmp_path / "run", system=TOY)


def test_the_record_says_what_ran_and_what_stopped(tmp_path):
    with pytest.raises(GuardError):
        run(plan(stage(guards={"drift": {"head": 1e-9}})), tmp_path / "run", system=TOY)

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["state"] == "stopped"
    assert "drifted" in record["error"]
    assert record["torch"] == torch.__version__


def test_bf16_autocast_trains_and_keeps_weights_in_float32(tmp_path):
    result = run(plan(stage(precision="bf16-mixed")), tmp_path / "run", system=TOY)

    exact = run(plan(stage()), tmp_path / "exact", system=TOY)
    weights = weights_of(result.folder)
    assert weights["head.weight"].dtype == torch.float32
    assert not same(weights, weights_of(exact.folder))


def test_accumulation_over_two_batches_is_one_step_of_the_double_batch(tmp_path):
    sgd = {"sgd": {"momentum": 0.0}}
    double = stage(batch_size=12, epochs=1, optimizer=sgd)
    halves = stage(batch_size=6, accumulate=2, epochs=1, optimizer=sgd)

    one = run(plan(double), tmp_path / "a" / "run", system=TOY)
    two = run(plan(halves), tmp_path / "b" / "run", system=TOY)

    assert one.stages["fit"]["steps"] == two.stages["fit"]["steps"] == 2
    for name, array in weights_of(one.folder).items():
        assert torch.allclose(array, weights_of(two.folder)[name], atol=1e-6), name


def test_workers_change_nothing(tmp_path):
    jittered = {"data": {"jitter": 0.1}}
    alone = run(plan(stage(**jittered)), tmp_path / "a" / "run", system=TOY)
    helped = run(plan(stage(workers=2, **jittered)), tmp_path / "b" / "run", system=TOY)

    assert same(weights_of(alone.folder), weights_of(helped.folder))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_parts_learn_the_same_and_keep_their_names(tmp_path):
    compiled = run(plan(stage(compile=True, epochs=1)), tmp_path / "a" / "run", system=TOY)
    eager = run(plan(stage(epochs=1)), tmp_path / "b" / "run", system=TOY)

    ours, theirs = weights_of(compiled.folder), weights_of(eager.folder)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def test_a_child_that_a_part_does_not_have_is_found_before_anything_runs(tmp_path):
    with pytest.raises(PlanError) as error:
        run(plan(stage("one"), stage("two", train=["stem.9", "head"])), tmp_path / "run", system=TOY)

    assert str(error.value) == "plan, stages[1].train: unknown child of part 'stem' '9'. Known: 0, 1, 2."
    assert not (tmp_path / "run").exists()


def test_a_child_without_parameters_is_found_before_anything_runs(tmp_path):
    with pytest.raises(PlanError) as error:
        run(plan(stage(train=["stem.2", "head"])), tmp_path / "run", system=TOY)

    assert str(error.value) == "plan, stages[0].train: 'stem.2' has no parameters: nothing in it can learn"
    assert not (tmp_path / "run").exists()
