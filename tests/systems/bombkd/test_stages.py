"""Stages end to end on tiny backbones: live, cached, from files of features, with weights from several files."""

import json

import numpy as np
import pytest
import torch

from gradatim import DataError, PlanError, WeightsError, run
from gradatim.engine.checked import document_of
from gradatim.engine.sweep import sweep
from gradatim.features.shelf import Shelf
from gradatim.runs.events import read_events
from gradatim.systems.bombkd.feature_files import export_features
from gradatim.systems.bombkd.feature_shards import NO_LABELS, FeatureRecord
from gradatim.weights import part_digest, parts_of, read_weights
from systems.bombkd.features import write_unlabelled
from tiny_bombkd import CLASSES, MODEL, MOTION, TEACHERS, TRANSLATION, converters, fusion, plan

pytest.importorskip("transformers")

KINDS = {
    "a": {"converter": "a", "converter_options": {"d_lat": 12, "n_lat": 5, "n_heads_enc": 3, "n_heads_dec": 4}},
    "b": {"converter": "b"},
    "c": {"converter": "c"},
}
CLIPS = MOTION["options"]["count"]


def weights_of(folder):
    return read_weights(folder / "model.safetensors").arrays


def two_stages(folder, kind="b", batch_size=4, **changes):
    both = converters(batch_size=batch_size, **changes), fusion(batch_size=batch_size, **changes)
    return run(plan(*both, model=KINDS[kind]), folder)


def apart(live, cached):
    """Relative distance of each part, its arrays as one vector."""
    found = {}
    for part in {name.partition(".")[0] for name in live}:
        pairs = [(a.double().flatten(), cached[name].double().flatten()) for name, a in live.items()
                 if name.startswith(f"{part}.")]  # fmt: skip
        one, other = (torch.cat(side) for side in zip(*pairs, strict=True))
        found[part] = float((one - other).norm() / one.norm())
    return found


def begun(folder):
    """Events that tell what a stage keeps, of training samples."""
    events = read_events(folder / "events.jsonl")
    return [e for e in events if e["event"] == "features" and e["state"] == "begun" and e["samples"] == "train"]


@pytest.mark.parametrize("batch_size", [1, CLIPS])
@pytest.mark.parametrize("kind", KINDS)
def test_in_the_same_batches_cached_and_live_training_end_in_the_same_bits(kind, batch_size, tmp_path):
    live = weights_of(two_stages(tmp_path / "live", kind, batch_size, cache="off").folder)
    cached = weights_of(two_stages(tmp_path / "cached", kind, batch_size).folder)

    assert live.keys() == cached.keys()
    assert [name for name, array in live.items() if not torch.equal(array, cached[name])] == []


@pytest.fixture(scope="module", params=KINDS)
def kind_and_live(request, tmp_path_factory):
    """A kind of converter, and the weights that live training of it ends with; not to be changed."""
    return request.param, weights_of(two_stages(tmp_path_factory.mktemp("live"), request.param, 5, cache="off").folder)


@pytest.mark.parametrize(("dtype", "limit"), [(None, 1e-5), ("float16", 1e-3), ("bfloat16", 1e-2)])
def test_in_other_batches_they_end_within_rounding(kind_and_live, dtype, limit, tmp_path):
    kind, live = kind_and_live
    cached = weights_of(two_stages(tmp_path / "cached", kind, 5, cache={"dtype": dtype}).folder)

    distances = apart(live, cached)

    assert distances.keys() == {"student", "teachers", "converters", "fusion"}
    assert distances["student"] == distances["teachers"] == 0
    assert max(distances.values()) <= limit, distances


def test_states_follow_from_what_is_trained(tmp_path):
    cached = two_stages(tmp_path / "cached")
    live = two_stages(tmp_path / "live", cache="off")
    unused = {"projection": "unused", "probe": "unused", "teacher_heads": "unused"}

    assert cached.stages["converters"]["states"] == {
        "student": "cached", "teachers": "cached", "converters": "trained", "fusion": "unused", **unused
    }  # fmt: skip
    assert cached.stages["fusion"]["states"] == {
        "student": "cached", "teachers": "unused", "converters": "cached", "fusion": "trained", **unused
    }  # fmt: skip
    for name, record in live.stages.items():
        expected = {p: s.replace("cached", "no gradient") for p, s in cached.stages[name]["states"].items()}
        assert record["states"] == expected
        assert record["frozen_arrays_equal"] == cached.stages[name]["frozen_arrays_equal"] > 0


def test_frozen_parts_stay_to_the_bit(tmp_path):
    folder = two_stages(tmp_path / "run").folder
    first = read_weights(folder / "01-converters" / "weights.safetensors")
    last = read_weights(folder / "model.safetensors").arrays

    assert set(parts_of(first)) == {"student", "teachers", "converters"}
    assert [name for name, array in first.arrays.items() if not torch.equal(array, last[name])] == []


def test_a_fusion_stage_reads_the_students_features_and_computes_only_the_translation(tmp_path):
    folder = two_stages(tmp_path / "run").folder
    first, second = begun(folder)

    assert first["computes"] == ["student_tokens", "teacher_tokens"]
    assert list(second["stores"]) == ["see", "translate", "fields"]
    assert second["stores"]["see"] == first["stores"]["see"]
    assert second["computes"] == ["translated", "translated_mask", "label"]


def test_statistics_of_the_batch_are_never_stored(tmp_path):
    """A clip's translation depends on its neighbors then, and those differ between epochs."""
    result, live = (
        run(plan(converters(cache=how), fusion(cache=how), model={"batch_stats": "batch"}), tmp_path / how)
        for how in ("auto", "off")
    )

    states = result.stages["fusion"]["states"]
    assert (states["student"], states["converters"], states["fusion"]) == ("cached", "no gradient", "trained")
    assert max(apart(weights_of(live.folder), weights_of(result.folder)).values()) <= 1e-5


def test_running_statistics_are_a_clips_own_business_once_converters_are_frozen(tmp_path):
    result = run(plan(model={"batch_stats": "running"}), tmp_path / "run")

    assert result.stages["fusion"]["states"]["converters"] == "cached"


def test_a_sweep_computes_each_feature_and_the_shared_stage_once(tmp_path):
    told = list(sweep(document_of(plan()), ["stages.fusion.lr=1e-2,1e-3,1e-4"], tmp_path / "sweep"))

    assert [one["reused"] for one in told] == [[], ["converters"], ["converters"]]
    assert [one["computed"] for one in told] == [
        ["student_tokens", "teacher_tokens", "translated", "translated_mask", "label"], [], []
    ]  # fmt: skip
    assert len({one["stages"]["fusion"]["losses"]["classification"] for one in told}) == 3
    assert sorted(entry.about["step"] for entry in Shelf().entries()) == ["fields", "see", "teach", "translate"]


# -- features from files of the original -------------------------------------------------------------

WIDTHS = {"student": 12, "ta": 8, "org/tb": 6}
FROM_FILES = {"student": {"dim": 12}, "teachers": {"ta": {"dim": 8}, "org/tb": {"dim": 6}}, "classes": 3}


def stored(folder, *, count=9, ragged=False, padded=0, seed=0):
    """Features as the original writes them; `padded` appends rows to every clip but the longest are as they are."""
    random = np.random.default_rng(seed)

    def tokens(number, key):
        length = 5 + (number % 3 if ragged else 0)
        return random.normal(size=(length + padded, WIDTHS[key])).astype(np.float32)

    made = [
        FeatureRecord(
            path=f"{n}.mp4",
            label=n % 3,
            student=tokens(n, "student"),
            teachers={"ta": tokens(n, "ta"), "org/tb": tokens(n + 1, "org/tb")},
        )
        for n in range(count)
    ]
    export_features(folder, made, dataset="ucf101", split="train", shard_size=4)
    return made


def from_files(folder, *stages, **data):
    settings = {"features": {"root": str(folder), **data}}
    return plan(*stages, model=FROM_FILES).model_copy(
        update={"model": FROM_FILES, "defaults": plan().defaults.model_copy(update={"data": settings})}
    )


LEARNED = {"init": {"converters": "fresh"}, "batch_size": 3}


@pytest.mark.parametrize("kind", ["b", "c"])
@pytest.mark.parametrize("ragged", [False, True])
def test_converters_and_fusion_train_from_files_without_any_backbone(kind, ragged, tmp_path):
    stored(tmp_path / "features", ragged=ragged)
    two = from_files(tmp_path / "features", converters(**LEARNED), fusion(batch_size=3, epochs=3))
    live = from_files(tmp_path / "features", converters(**LEARNED), fusion(batch_size=3, epochs=3, cache="off"))
    two, live = (one.model_copy(update={"model": {**FROM_FILES, "converter": kind}}) for one in (two, live))

    result = run(two, tmp_path / "run")

    assert set(parts_of(read_weights(result.model))) == {"converters", "fusion"}
    assert result.stages["converters"]["states"]["student"] == "unused"
    assert result.stages["fusion"]["states"]["converters"] == "cached"
    (kept,) = begun(result.folder)
    assert list(kept["stores"]) == (["translate"] if ragged else ["translate", "fields"])
    other = run(live, tmp_path / "live")
    assert max(apart(weights_of(other.folder), weights_of(result.folder)).values()) <= 1e-5


def test_padding_changes_no_result(tmp_path):
    """Clips of unequal length in one batch train as in batches of one, where nothing is padded."""
    stored(tmp_path / "features", ragged=True)
    losses = {"l2": 1.0, "cos": 0.5}
    together = converters(**{**LEARNED, "batch_size": 9}, losses=losses, epochs=4)
    alone = converters(**{**LEARNED, "batch_size": 1, "accumulate": 9}, losses=losses, epochs=4)
    heads = [fusion(batch_size=9, epochs=4), fusion(batch_size=1, accumulate=9, epochs=4)]
    heads = [head.model_copy(update={"losses": {"classification": 1.0}}) for head in heads]

    one, other = (
        weights_of(run(from_files(tmp_path / "features", first, second), tmp_path / name).folder)
        for name, first, second in (("together", together, heads[0]), ("alone", alone, heads[1]))
    )

    # AdamW moves the array without a gradient, `norm0`, by rounding noise.
    steady = {name: array for name, array in one.items() if ".norm0." not in name}
    assert max(apart(steady, other).values()) <= 1e-4


def test_features_without_labels_serve_converters_and_are_refused_for_classes(tmp_path):
    (tmp_path / "features").mkdir()
    write_unlabelled(tmp_path / "features" / "features_ucf101_train.pkl", stored(tmp_path / "made"))

    run(from_files(tmp_path / "features", converters(**LEARNED), labels=False), tmp_path / "run")
    with pytest.raises(DataError) as error:
        run(from_files(tmp_path / "features", converters(**LEARNED), fusion()), tmp_path / "refused")

    assert NO_LABELS in str(error.value)
    assert not (tmp_path / "refused").exists()


def test_features_of_another_width_or_without_a_teacher_are_refused_before_anything_runs(tmp_path):
    stored(tmp_path / "features")
    for model, words in (
        ({"student": {"dim": 13}}, "model.student: its tokens have width 13, those of the features 12"),
        (
            {"teachers": {"ta": {"dim": 8}, "tc": {"dim": 6}}},
            "model.teachers.tc: its tokens are not in the features; unknown teacher 'tc'. Known: org/tb, ta.",
        ),
        ({"classes": 2}, "stage 'fusion': the data have 3 classes, the model 2; set `model: {classes: 3}`"),
    ):
        wrong = from_files(tmp_path / "features", converters(**LEARNED), fusion())
        with pytest.raises(DataError) as error:
            run(wrong.model_copy(update={"model": {**FROM_FILES, **model}}), tmp_path / "refused")
        assert words in str(error.value)
        assert not (tmp_path / "refused").exists()


def test_fusion_alone_needs_no_teachers_features(tmp_path):
    """Converters come from a run; the files hold the student's tokens and labels."""
    stored(tmp_path / "features")
    before = run(from_files(tmp_path / "features", converters(**LEARNED)), tmp_path / "before").folder
    export_features(
        tmp_path / "student",
        [FeatureRecord(path=r.path, label=r.label, student=r.student, teachers={}) for r in stored(tmp_path / "again")],
        dataset="ucf101",
        split="train",
    )

    alone = fusion(init={"converters": {"run": str(before)}, "fusion": "fresh"})
    result = run(from_files(tmp_path / "student", alone), tmp_path / "run")

    assert set(parts_of(read_weights(result.model))) == {"converters", "fusion"}


# -- weights of several files --------------------------------------------------------------------------


def public_file(folder, module, name):
    """A backbone under the names of transformers 4.57, as it lies on the hub."""
    arrays = {}
    for key, array in module.state_dict().items():
        key = key.removeprefix("net.")
        if name == "vjepa2":
            key = f"encoder.{key}"
        if name == "vivit":
            key = key.replace("layers.", "encoder.layer.")
            for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
                key = key.replace(f"attention.{ours}_proj", f"attention.attention.{theirs}")
            key = key.replace("attention.o_proj", "attention.output.dense")
            key = key.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
        if name == "videomae":
            key = key.replace("attention.query.bias", "attention.q_bias").replace(
                "attention.value.bias", "attention.v_bias"
            )
        arrays[f"{name}.{key}" if name != "vjepa2" else key] = array.clone()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(arrays, folder / f"{name}.bin")
    return folder / f"{name}.bin"


@pytest.fixture
def files(tmp_path):
    """Backbones of another seed in files of their own; by place in the model."""
    from gradatim.find import find_system

    system = find_system("bombkd")
    settings = system.settings.model_validate(MODEL)
    torch.manual_seed(7)
    student, teachers = system.parts["student"](settings), system.parts["teachers"](settings)
    made = {"student": (student, "vjepa2"), **{f"teachers.{name}": (teachers[name], name) for name in TEACHERS}}
    return {place: (public_file(tmp_path / "hub", module, name), module) for place, (module, name) in made.items()}


def origins(files, **changes):
    found = {
        place: {"checkpoint": str(path), "layout": path.stem, "part": "student"} for place, (path, _) in files.items()
    }
    found |= changes
    return {"converters": "fresh", **{place: source for place, source in found.items() if source is not None}}


def test_each_teacher_comes_from_a_file_of_its_own(files, tmp_path):
    result = run(plan(converters(init=origins(files))), tmp_path / "run")

    weights = weights_of(result.folder)
    for place, (_, module) in files.items():
        expected = {f"{place}.{name}": array for name, array in module.state_dict().items()}
        assert [n for n, array in expected.items() if not torch.equal(array, weights[n])] == []
    lineage = json.loads((result.folder / "01-converters" / "lineage.json").read_text())
    assert set(lineage["teachers"]["origin"]["detail"]) == {"teachers.videomae", "teachers.vivit"}
    assert lineage["student"]["digest"] == part_digest(files["student"][1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teachers.vivit": None}, "vivit"),
        ({"teachers.vivid": "fresh"}, "Did you mean 'vivit'?"),
        ({"teachers.vivit": "wrong"}, "videomae"),
    ],
    ids=["missing", "misspelt", "of another backbone"],
)
def test_a_missing_and_a_wrong_child_are_refused_before_anything_runs(change, words, files, tmp_path):
    wrong = {"checkpoint": str(files["teachers.videomae"][0]), "layout": "vivit", "part": "student"}
    change = {name: wrong if source == "wrong" else source for name, source in change.items()}

    with pytest.raises((PlanError, WeightsError), match=words):
        run(plan(converters(init=origins(files, **change))), tmp_path / "run")

    assert not (tmp_path / "run").exists()


# -- batches of one clip -------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["vic", "bar"])
def test_a_last_batch_of_one_clip_is_refused_before_anything_runs_where_a_loss_compares_clips(loss, tmp_path):
    nine = {"options": {**MOTION["options"], "count": 9}}
    lone = converters(losses={**TRANSLATION, loss: 1.0}, data=nine)

    with pytest.raises(DataError) as error:
        run(plan(lone), tmp_path / "run")

    assert str(error.value) == (
        f"stage 'converters': loss {loss!r} compares the samples of a batch, and the last of an epoch would hold one "
        "alone (9 samples in batches of 4): its spread is not defined; `batch_size: 3 or 5` leaves none over"
    )
    assert not (tmp_path / "run").exists()
    assert not Shelf().entries()
    few = lone.model_copy(update={"epochs": None, "steps": 2})
    assert run(plan(few), tmp_path / "few").stages["converters"]["rollbacks"] == 0
    fitting = run(plan(lone.model_copy(update={"batch_size": 5})), tmp_path / "fitting")
    assert fitting.stages["converters"]["rollbacks"] == 0


def test_losses_that_take_clips_one_by_one_do_with_a_lone_one(tmp_path):
    nine = {"options": {**MOTION["options"], "count": 9}}

    result = run(plan(converters(data=nine)), tmp_path / "run")

    assert result.stages["converters"]["rollbacks"] == 0
    assert all(array.isfinite().all() for array in weights_of(result.folder).values())
    assert len(CLASSES) == 4
