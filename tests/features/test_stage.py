"""Stages that read their frozen prefix from a feature store end where stages that compute it end."""

import json
from pathlib import Path

import pytest
import torch

from gradatim import DataError, GuardError, PlanError, run
from gradatim.features.shelf import Shelf
from gradatim.features.store import remove_store
from gradatim.runs.events import read_events
from gradatim.weights import file_digest, read_weights
from toy import FRESH, TOY, plan, stage


def weights_of(folder):
    return read_weights(folder / "model.safetensors").arrays


def kept(folder):
    return [e for e in read_events(folder / "events.jsonl") if e["event"] == "features" and e["state"] == "begun"]


def computed(folder):
    """Names of stores that a run had to fill."""
    return [name for e in kept(folder) if e["missing"] for name in e["stores"]]


def one(**changes):
    return plan(stage(**{"train": ["head"], "epochs": 3, **changes}))


@pytest.mark.parametrize("batch_size", [1, 24])
def test_in_the_same_batches_cached_and_live_training_end_in_the_same_bits(tmp_path, batch_size):
    live = run(one(batch_size=batch_size, cache="off"), tmp_path / "live", system=TOY)
    cached = run(one(batch_size=batch_size), tmp_path / "cached", system=TOY)

    assert live.stages["fit"]["states"] == {
        "stem": "no gradient", "body": "no gradient", "head": "trained", "critic": "unused"
    }  # fmt: skip
    assert cached.stages["fit"]["states"] == {
        "stem": "cached", "body": "cached", "head": "trained", "critic": "unused"
    }  # fmt: skip
    before, after = weights_of(live.folder), weights_of(cached.folder)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("dtype", "limit"), [(None, 1e-5), ("float16", 1e-2), ("bfloat16", 6e-2)])
def test_in_other_batches_they_end_within_rounding(tmp_path, dtype, limit):
    live = weights_of(run(one(cache="off"), tmp_path / "live", system=TOY).folder)
    cached = weights_of(run(one(cache={"dtype": dtype}), tmp_path / "cached", system=TOY).folder)

    for name in live:
        difference = (live[name].double() - cached[name].double()).norm()
        assert difference <= limit * live[name].double().norm(), name


def test_only_what_the_rest_reads_is_kept_and_the_data_are_not_opened(tmp_path, monkeypatch):
    reads = []
    sample = type(TOY.data.open(TOY.data.settings(), "train")).sample

    def noted(self, index, fields, random):
        reads.append(fields)
        return sample(self, index, fields, random)

    monkeypatch.setattr("toy.Rows.sample", noted)
    monkeypatch.setattr("gradatim.engine.stage._pictures", lambda job, parts: None)
    result = run(one(epochs=5), tmp_path / "run", system=TOY)

    names = [(entry.about["step"], [f["name"] for f in entry.about["fields"]]) for entry in Shelf().entries()]
    assert sorted(names) == [("fields", ["y"]), ("transform", ["hidden"])]
    # Extraction, the probe of two samples, the fields and the check read; five epochs of training do not.
    assert len([fields for fields in reads if "x" in fields]) <= 24 + 2 + 16 + 1
    assert result.stages["fit"]["steps"] == 15


def test_a_later_stage_reads_what_an_earlier_one_stored_and_computes_only_the_rest(tmp_path):
    first = stage("first", train=["body", "head"], epochs=2)
    second = stage("second", train=["head"], epochs=2)
    third = stage("third", train=["head"], epochs=2, lr=0.002)
    folder = run(plan(first, second, third), tmp_path / "run", system=TOY).folder

    assert [list(e["stores"]) for e in kept(folder)] == [["extract", "fields"], ["transform", "fields"],
                                                         ["transform", "fields"]]  # fmt: skip
    assert computed(folder) == ["extract", "fields", "transform", "fields"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"lr": 0.003}, []),
        ({"name": "renamed"}, []),
        ({"train": {"head": {"weight_decay": 0.1}}}, []),
        ({"losses": {"mse": 2.0}}, []),
        ({"epochs": 4}, []),
        ({"cache": {"dtype": "float16"}}, ["transform"]),
        ({"precision": "bf16-mixed"}, ["transform"]),
        ({"data": {"samples": 20}}, ["transform", "fields"]),
    ],
)
def test_features_are_read_again_exactly_if_nothing_that_makes_them_changed(tmp_path, change, again):
    run(one(), tmp_path / "first", system=TOY)
    changed = run(one(**change), tmp_path / "second", system=TOY).folder

    assert [name for name in computed(changed) if name in again or not again] == again


def test_other_weights_options_and_seeds_of_a_frozen_part_never_read_old_features(tmp_path):
    run(one(), tmp_path / "first", system=TOY)
    seeded = run(plan(stage(epochs=3), seed=5), tmp_path / "seed", system=TOY).folder
    weights = {part: {"run": str(tmp_path / "seed")} for part in FRESH}
    loaded = run(plan(stage(epochs=3, init={**weights, "head": "fresh"})), tmp_path / "loaded", system=TOY).folder

    assert "transform" in computed(seeded)
    assert "transform" not in computed(loaded)  # equal weights, wherever they come from


def test_a_step_whose_code_changed_is_computed_again(tmp_path, monkeypatch):
    from dataclasses import replace

    from gradatim.task import makes

    def doubled(body, features):
        return body(features) * 2

    doubled.__name__ = "transform"
    steps = tuple(makes("hidden")(doubled) if s.__name__ == "transform" else s for s in TOY.tasks["fit"])
    other = replace(TOY, tasks={**TOY.tasks, "fit": steps})

    run(one(), tmp_path / "a" / "first", system=TOY)
    assert "transform" in computed(run(one(), tmp_path / "b" / "second", system=other).folder)


def test_augmented_samples_are_computed_live_unless_views_are_kept(tmp_path):
    jitter = {"data": {"jitter": 0.1}, "epochs": 6}
    live = run(one(**jitter), tmp_path / "live", system=TOY)
    assert not kept(live.folder)

    views = run(one(**jitter, cache={"views": 6}), tmp_path / "views", system=TOY)
    assert [entry.about["rows"] for entry in Shelf().entries()] == [144, 144]
    for name, array in weights_of(live.folder).items():
        assert torch.allclose(array, weights_of(views.folder)[name], rtol=1e-5, atol=1e-6), name

    two = run(one(**jitter, cache={"views": 2}), tmp_path / "two", system=TOY)
    assert two.stages["fit"]["states"]["stem"] == "cached"


def test_what_cannot_be_kept_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(PlanError, match=r"views: 4"):
        _refused(one(data={"jitter": 0.1}, cache="required"), tmp_path / "a")
    with pytest.raises(PlanError, match="no frozen part stands before"):
        _refused(one(train=["stem", "head"], cache="required"), tmp_path / "b")


def _refused(wrong, folder):
    try:
        run(wrong, folder, system=TOY)
    except Exception as error:
        assert not (folder / "01-fit").exists()
        raise PlanError(str(error)) from error


def test_a_single_pass_is_computed_live_unless_features_are_asked_for(tmp_path):
    assert not kept(run(one(epochs=1), tmp_path / "a", system=TOY).folder)
    assert kept(run(one(epochs=1, cache="required"), tmp_path / "b", system=TOY).folder)


def test_stored_values_that_are_not_what_the_parts_compute_stop_the_stage(tmp_path):
    run(one(), tmp_path / "first", system=TOY)
    entry = next(e for e in Shelf().entries() if e.about["step"] == "transform")
    _rewrite(entry.folder, lambda rows: rows + 0.25)

    with pytest.raises(GuardError, match=r"stored value 'hidden' of sample 'train-\d+' differs .* by \d"):
        run(one(lr=0.005), tmp_path / "second", system=TOY)


def _rewrite(folder, change):
    """Change a store's numbers and make all its checksums agree, as a wrong program would."""
    from gradatim.features import FeatureStore

    store = FeatureStore.open(folder)
    values = {name: change(value) for name, value in store.gather(range(len(store))).items()}
    store.close()
    for path in [*folder.glob("shard-*"), folder / "index.json"]:
        path.unlink()
    writer = FeatureStore.create(folder, store.schema.fields, rows=len(store), about=store.about)
    with writer.shard(0) as shard:
        writer.append(shard, values)
    assert writer.finish() is not None


def test_a_flipped_byte_is_found_before_training_and_named(tmp_path):
    run(one(), tmp_path / "first", system=TOY)
    entry = next(e for e in Shelf().entries() if e.about["step"] == "transform")
    shard = next(entry.folder.glob("shard-*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)

    with pytest.raises(DataError, match=r"shard-00000\.safetensors: damaged"):
        run(one(lr=0.005), tmp_path / "second", system=TOY)
    assert Shelf().verify(entry, repair=True)
    run(one(lr=0.005), tmp_path / "third", system=TOY)


def test_each_store_is_verified_once_where_another_is_computed_beside_it(tmp_path, monkeypatch):
    run(one(), tmp_path / "first", system=TOY)
    gone = next(e for e in Shelf().entries() if e.about["step"] == "transform")
    remove_store(gone.folder)
    verified = []
    monkeypatch.setattr("gradatim.features.store.file_digest", lambda path: verified.append(path) or file_digest(path))

    run(one(lr=0.005), tmp_path / "second", system=TOY)

    shards = sorted(path for path in verified if path.suffix == ".safetensors")
    assert shards == sorted(path for e in Shelf().entries() for path in e.folder.glob("*.safetensors"))
    assert len(Shelf().entries()) > 1


def test_a_store_whose_index_was_not_written_yet_is_completed_and_nothing_is_computed(tmp_path):
    run(one(), tmp_path / "first", system=TOY)
    (entry,) = [e for e in Shelf().entries() if e.about["step"] == "transform"]
    (entry.folder / "index.json").unlink()
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(entry.folder.glob("shard-*"))]

    second = run(one(lr=0.005), tmp_path / "second", system=TOY)

    assert computed(second.folder) == []
    assert second.stages["fit"]["states"]["body"] == "cached"
    assert (entry.folder / "index.json").is_file()
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(entry.folder.glob("shard-*"))] == before


def test_too_little_room_is_an_error_before_work_starts_with_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage())
    with pytest.raises(DataError, match=r"(?s)need .* GB .*ways out.*cache: off.*GRADATIM_FEATURES"):
        run(one(), tmp_path / "run", system=TOY)
    assert not list(Shelf().folder.glob("*/shard-*"))


class _Usage:
    free = 10


def test_validation_samples_are_kept_too(tmp_path):
    judged = one(validation={"metric": "closeness"}, epochs=4)
    cached = run(judged, tmp_path / "cached", system=TOY)
    live = run(one(validation={"metric": "closeness"}, epochs=4, cache="off"), tmp_path / "live", system=TOY)

    assert {e["samples"] for e in kept(cached.folder)} == {"train", "validate"}
    assert cached.stages["fit"]["best"] == pytest.approx(live.stages["fit"]["best"], rel=1e-6)


def test_once_stores_nothing(tmp_path):
    run(one(cache="required"), tmp_path / "run", system=TOY, once=True)
    assert not Shelf().entries()


def test_the_store_tells_what_its_key_is_made_of(tmp_path):
    run(one(), tmp_path / "run", system=TOY)
    about = json.loads(next(Path(Shelf().folder).glob("transform-*/store.json")).read_text())
    assert {"code", "options", "parts", "inputs", "precision", "data", "rows", "key"} <= about.keys()
    assert about["parts"]["body"].keys() == {"weights", "code", "settings"}
