"""`gradatim features`, and what plan and run say of features, on two stages of a tiny MaeFuse."""

import json
import os

import pytest
import torch

from commandline import gradatim, worked
from gradatim.runs import read_events
from gradatim.weights import read_weights
from tiny import MODEL, scenes

TRAINED = 5  # pairs; one more is held out
SAMPLE = 2 * 4 * 16 * 4  # two pictures of four tokens of width 16 in float32
PLAN = f"""\
system: maefuse
model: {json.dumps(MODEL)}
defaults: {{data: {{root: pairs, size: 16, holdout: [scene_005]}}, batch_size: 2, epochs: 3}}
stages:
  - name: compare
    task: align_pattern
    init: {{encoder: fresh, cfm: fresh}}
    train: [cfm]
    losses: {{pattern_mean: 1}}
  - name: merge
    task: align_fused
    init: {{mfm: fresh}}
    train: [mfm]
    losses: {{fused_mean: 1}}
"""


@pytest.fixture
def features(tmp_path, monkeypatch):
    """The folder of the feature stores; the plan and its pairs are in the current one."""
    folder = tmp_path / "features"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADATIM_FEATURES", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    scenes(tmp_path / "pairs", count=TRAINED + 1)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return folder


def flip(path, position=-5):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def shard(features, name="encode"):
    (path,) = features.glob(f"{name}-*/shard-00000.safetensors")
    return path


# -- computing ahead ---------------------------------------------------------------------------------


def test_an_estimate_tells_bytes_and_time_and_writes_nothing(features):
    told = worked("features", "plan.yaml", "--estimate")
    compare, merge = worked("features", "plan.yaml", "--estimate", "--json").json

    assert "features to compute" in told.out
    assert "free where they are kept" in told.out
    assert "pattern waits for stage compare" in told.out
    assert (compare["stage"], compare["samples"], compare["rows"]) == ("compare", "train", TRAINED)
    assert compare["bytes"] == compare["missing"] == TRAINED * SAMPLE
    assert compare["seconds"] > 0
    assert compare["free"] > 1e6
    assert merge["waiting"] == {"pattern": "compare"}
    assert not features.exists()


def test_features_are_computed_ahead_once_and_then_found(features):
    first = worked("features", "plan.yaml", "--json").json
    stat = shard(features).stat()
    second = worked("features", "plan.yaml", "--json").json

    assert first[0]["missing"] == TRAINED * SAMPLE
    assert [one["missing"] for one in second] == [0, 0]
    assert first[0]["folders"] == [str(shard(features).parent)]
    assert (shard(features).stat().st_mtime_ns, shard(features).stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)
    assert "0 B" in worked("features", "plan.yaml", "--estimate").out


def test_one_stage_alone_and_a_stage_that_there_is_not(features):
    assert [one["stage"] for one in worked("features", "plan.yaml", "--stage", "merge", "--json").json] == ["merge"]

    answer = gradatim("features", "plan.yaml", "--stage", "comprae")

    assert answer.code == 1
    assert "unknown stage 'comprae'. Did you mean 'compare'? Known: compare, merge." in answer.err


def test_a_plan_that_keeps_nothing_says_where_to_look(features):
    answer = worked("features", "plan.yaml", "--set", "defaults.cache=off")

    assert "no stage keeps features: see `gradatim plan`" in answer.err
    assert not features.exists()


def test_what_cannot_be_kept_is_refused(features):
    answer = gradatim("features", "plan.yaml", "--set", "defaults.cache=required", "--set", "defaults.data.flip=true")

    assert answer.code == 1
    assert "views: 4" in answer.err
    assert not features.exists()


def test_the_run_of_a_plan_gives_the_parts_that_stages_wait_for(features):
    worked("run", "plan.yaml", "--out", "one", "-q")
    worked("features", "prune", "--keep", "0")

    told = worked("features", "one", "--json").json

    assert [(one["stage"], one["waiting"]) for one in told] == [("compare", {}), ("merge", {})]
    assert "pattern" in told[1]["values"]
    assert len(list(features.glob("compare-*"))) == 1


def test_an_extraction_that_ends_says_so_in_a_table(features):
    told = worked("features", "plan.yaml", "--stage", "compare").out

    assert "visible_tokens; infrared_tokens" in told
    assert "compare" in told


# -- looking after the folder ------------------------------------------------------------------------


def test_list_shows_what_is_kept(features):
    assert "0 B in 0 stores" in worked("features", "list").out
    assert worked("features", "list", "--json").json == []
    worked("features", "plan.yaml", "--stage", "compare")

    told, (one,) = worked("features", "list").out, worked("features", "list", "--json").json

    assert "complete" in told
    assert "visible_tokens [4, 16] float32" in " ".join(told.split())
    assert one["rows"] == TRAINED
    assert one["shards"] == one["done"] == 1
    assert one["damaged"] is None
    assert one["bytes"] > TRAINED * SAMPLE


def test_verify_finds_one_flipped_byte_and_repair_computes_that_shard_again(features):
    worked("features", "plan.yaml")
    whole = shard(features).read_bytes()
    assert "1 stores read, 0 damaged" in worked("features", "verify").out
    flip(shard(features))

    found = gradatim("features", "verify")
    as_json = gradatim("features", "verify", "--json")
    repaired = worked("features", "verify", "--repair")

    assert (found.code, as_json.code) == (1, 1)
    assert "shard-00000.safetensors: damaged" in found.out
    assert as_json.json["stores"] == 1
    assert "shard-00000.safetensors: damaged" in as_json.json["damaged"][0]
    assert "1 damaged, repaired" in repaired.out
    assert not list(features.glob("*/*.safetensors"))
    worked("features", "plan.yaml")
    assert shard(features).read_bytes() == whole
    assert "0 damaged" in worked("features", "verify").out


def test_a_damaged_description_is_listed_verified_and_repaired_away(features):
    worked("features", "plan.yaml", "--stage", "compare")
    (path,) = features.glob("*/store.json")
    flip(path, 40)

    assert "damaged" in worked("features", "list").out
    assert "store.json" in worked("features", "list", "--json").json[0]["damaged"]
    assert "store.json: damaged" in gradatim("features", "verify").out
    run = gradatim("run", "plan.yaml", "-q")
    assert run.code == 1
    assert "store.json: damaged" in run.err
    worked("features", "verify", "--repair")
    assert not list(features.iterdir())


def test_prune_removes_what_was_not_used_for_longest(features):
    worked("features", "plan.yaml", "--stage", "compare")
    worked("features", "plan.yaml", "--stage", "compare", "--set", "seed=1")
    older, newer = sorted(features.iterdir())
    os.utime(older / "used", (1e9, 1e9))
    size = sum(path.stat().st_size for path in newer.iterdir())

    told = worked("features", "prune", "--keep", str(size))
    kept = worked("features", "list", "--json").json
    rest = worked("features", "prune", "--keep", "0", "--json").json

    assert f"removed {older.name}" in told.out
    assert [one["folder"] for one in kept] == [str(newer)] == rest
    assert not list(features.iterdir())


@pytest.mark.parametrize("size", ["much", "20XB", "-1"])
def test_a_size_that_is_none_is_a_wrong_call(size, features):
    answer = gradatim("features", "prune", f"--keep={size}")

    assert answer.code == 2
    assert "a size such as 20GB, 500MB or 0" in " ".join(answer.err.split())


# -- plan and run ------------------------------------------------------------------------------------


def test_the_plan_shows_what_would_be_kept_and_what_it_costs(features):
    told = worked("plan", "plan.yaml").out
    compare = worked("plan", "plan.yaml", "--json").json["stages"][0]

    assert compare["parts"]["encoder"]["state"] == "cached"
    assert compare["features"]["values"] == ["visible_tokens", "infrared_tokens"]
    assert compare["features"]["bytes"] == TRAINED * SAMPLE
    assert compare["features"]["seconds"] > 0
    assert "2.6 kB for 5 samples" in told
    assert "to compute" in told
    assert "free" in told
    assert not features.exists()


def test_the_free_disk_of_a_plan_that_was_explained_before_is_that_of_now(features, monkeypatch):
    worked("plan", "plan.yaml")
    monkeypatch.setattr("gradatim.cli.plan_cache.shutil.disk_usage", lambda path: type("Usage", (), {"free": 12345}))

    stages = worked("plan", "plan.yaml", "--json").json["stages"]

    assert {stage["features"]["free"] for stage in stages} == {12345}


def test_the_plan_says_that_data_are_not_there_and_why_nothing_is_kept(features):
    away = worked("plan", "plan.yaml", "--set", "defaults.data.root=nowhere")
    off = worked("plan", "plan.yaml", "--set", "defaults.cache=off").out
    varies = worked("plan", "plan.yaml", "--set", "defaults.data.flip=true").out
    once = worked("plan", "plan.yaml", "--set", "defaults.epochs=1").out

    assert "512 B a sample; the data are not there" in away.out
    assert "no features: cache: off" in off
    assert "samples differ in every epoch" in " ".join(varies.split())
    assert "no features: one pass over the data" in once
    for told in (off, varies, once):
        assert "cached" not in told


def test_a_second_run_reads_what_the_first_one_computed(features):
    first = worked("run", "plan.yaml", "--out", "first")
    second = worked("run", "plan.yaml", "--out", "second", "--set", "defaults.lr=1e-5")
    events = [e for e in read_events(features.parent / "second/events.jsonl") if e["event"] == "features"]

    assert "features: compute 0.0 MB of visible_tokens, infrared_tokens" in first.err
    assert "features: read visible_tokens, infrared_tokens" in second.err
    assert "features: equal to computed ones within" in second.err
    assert [e["state"] for e in events if e["stage"] == "compare"] == ["begun", "checked"]
    assert events[0]["missing"] == 0
    # Another rate made another cfm, so its pattern is computed anew; the tokens are not.
    assert {tuple(e["computes"]) for e in events if e["state"] == "begun"} == {(), ("pattern",)}


def weights(folder):
    return read_weights(folder / "model.safetensors").arrays


@pytest.mark.parametrize(
    ("batch_size", "cache", "limit"),
    [(1, "auto", 0.0), (2, "auto", 1e-5), (2, "{dtype: float16}", 1e-3), (2, "{dtype: bfloat16}", 4e-3)],
)
def test_maefuse_ends_equal_live_and_cached(batch_size, cache, limit, features):
    size = ["--set", f"defaults.batch_size={batch_size}", "-q"]
    worked("run", "plan.yaml", "--out", "live", "--set", "defaults.cache=off", *size)
    worked("run", "plan.yaml", "--out", "cached", "--set", f"defaults.cache={cache}", *size)
    live, cached = weights(features.parent / "live"), weights(features.parent / "cached")

    states = json.loads((features.parent / "cached/02-merge/stage.json").read_text())["states"]
    assert (states["encoder"], states["cfm"]) == ("cached", "cached")
    assert live.keys() == cached.keys()
    for part in ("cfm", "mfm"):
        # All arrays of a part at once: Adam gives a bias that begins at zero the sign of its rounding.
        before, after = (torch.cat([a.flatten() for n, a in x.items() if n.startswith(part)]) for x in (live, cached))
        assert limit or torch.equal(before, after), part
        assert float((before - after).norm()) <= limit * float(before.norm()), part
    if limit > 1e-5:
        assert any(not torch.equal(array, cached[name]) for name, array in live.items())


def test_features_of_other_data_preprocessing_or_weights_are_never_read_and_those_of_another_rate_are(features):
    worked("features", "plan.yaml", "--stage", "compare")

    def missing(*changes):
        sets = [word for change in changes for word in ("--set", change)]
        (one,) = worked("features", "plan.yaml", "--stage", "compare", "--estimate", "--json", *sets).json
        return one["missing"] / one["bytes"]

    same = ["defaults.lr=1e-6", "defaults.epochs=7", "defaults.batch_size=3", "stages.compare.losses={pattern_mean: 2}"]
    other = ["defaults.data.preprocess=original", "defaults.data.holdout=[scene_000]", "seed=1", "model.depth=2"]
    assert [missing(change) for change in same] == [0] * len(same)
    assert [missing(change) for change in (*other, "defaults.cache={dtype: float16}")] == [1] * (len(other) + 1)
    picture = features.parent / "pairs/vi/scene_001.png"
    picture.write_bytes((features.parent / "pairs/vi/scene_002.png").read_bytes())
    assert missing() == 1
