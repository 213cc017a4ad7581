"""Scalars of a run for TensorBoard, and nothing where it is not installed."""

import pytest

from gradatim.engine.run import run
from gradatim.runs.tensorboard import ScalarWriter, scalars
from toy import TOY, plan, stage


def test_every_figure_of_an_event_has_a_tag():
    event = {"event": "step", "stage": "fit", "step": 3, "losses": {"mse": 0.5}, "lr": {"main": 1e-3}}

    assert dict(scalars(event)) == {"fit/losses/mse": 0.5, "fit/lr/main": 1e-3}


def test_a_run_writes_what_tensorboard_reads_back(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    judged = stage(validate={"metric": "closeness"}, log_every=1)

    run(plan(judged), tmp_path / "run", system=TOY)

    read = loader.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    read.Reload()
    tags = {"fit/losses/mse", "fit/lr/main", "fit/samples_per_second", "fit/drift/head", "fit/closeness"}
    found = {tag for kind in ("tensors", "scalars") for tag in read.Tags()[kind]}
    assert found == tags


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    writer = ScalarWriter(tmp_path / "tensorboard")

    writer.write({"event": "step", "stage": "fit", "step": 1, "losses": {"mse": 1.0}})
    writer.close()

    assert not list(tmp_path.iterdir())
