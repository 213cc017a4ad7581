"""Feature files of every form: found, read, refused when damaged, and given as samples."""

import json
import pickle

import numpy as np
import pytest
import torch

from gradatim.errors import DataError
from gradatim.systems.bombkd.feature_data import FeatureSettings, feature_shapes, open_features
from gradatim.systems.bombkd.feature_files import export_features, find_features, list_features
from gradatim.systems.bombkd.feature_inspection import inspect_features, scan_labels
from systems.bombkd.features import records, write_all_forms, write_arrays, write_unlabelled


def message(call, *args, **options) -> str:
    with pytest.raises(DataError) as error:
        call(*args, **options)
    return str(error.value)


def samples(data) -> list[dict]:
    return [data.sample(number, data.fields, None) for number in range(len(data))]


def test_every_form_reads_back_the_same_records(tmp_path):
    made = records()
    for path in write_all_forms(tmp_path, made):
        found = find_features(path, dataset="ucf101", split="train")
        assert len(found) == len(made), path
        for ours, theirs in zip(found.records(), made, strict=True):
            assert (ours.path, ours.label, list(ours.teachers)) == (theirs.path, theirs.label, ["a/b", "c"])
            np.testing.assert_array_equal(ours.student, theirs.student)
            for teacher in ours.teachers:
                np.testing.assert_array_equal(ours.teachers[teacher], theirs.teachers[teacher])


def test_arrays_are_mapped_and_not_read(tmp_path):
    found = find_features(write_arrays(tmp_path, records()))
    record = found.shard(1)[0]
    assert isinstance(record.student, np.memmap)
    assert record.student.base is not None


def test_what_a_folder_holds_is_listed_when_a_choice_is_missing(tmp_path):
    made = records()
    for dataset, split in (("ucf101", "train"), ("ucf101", "test"), ("uav", "train-v2")):
        export_features(tmp_path, made, dataset=dataset, split=split, shard_size=3)
    assert len(list_features(tmp_path)) == 3
    assert len(find_features(tmp_path, dataset="uav")) == 7
    found = message(find_features, tmp_path, dataset="ucf101")
    assert "2 sets of features fit" in found
    assert "ucf101 test (features_ucf101_test.index.json)" in found
    assert "no features of ucf101 val" in message(find_features, tmp_path, dataset="ucf101", split="val")
    (tmp_path / "none").mkdir()
    assert "It holds: no features." in message(find_features, tmp_path / "none")
    assert "no such file or folder" in message(find_features, tmp_path / "nowhere")


def test_shards_without_an_index_are_read_and_said(tmp_path):
    found = find_features(write_arrays(tmp_path, records(), index=False))
    assert len(found) == 7
    assert "did not come to its end" in found.notes[0]
    assert list(next(found.records()).teachers) == ["a_b", "c"]
    data = open_features(FeatureSettings(root=tmp_path, teachers=("a/b",)), "train")
    assert list(data.sample(0, ("teacher_tokens",), None)["teacher_tokens"]) == ["a/b"]


def test_a_missing_label_is_an_error_with_its_remedy_and_may_be_done_without(tmp_path):
    path = write_unlabelled(tmp_path / "features_ucf101_train.pkl", records(labels=False))
    folder = write_arrays(tmp_path / "npy", records(labels=False))
    for root in (path, folder):
        found = message(open_features, FeatureSettings(root=root), "train")
        assert "Cached features do not contain labels" in found
        assert str(root) in found
        assert "Extract the features again" in found
        data = open_features(FeatureSettings(root=root, labels=False), "train")
        assert data.fields == ("student_tokens", "teacher_tokens")
        assert data.sample(0, data.fields, None)["student_tokens"].shape == (4, 6)


def test_damaged_files_are_named_with_the_cause(tmp_path):
    folder = write_arrays(tmp_path, records())
    shard = folder / "features_ucf101_train_shard_00001"
    good = {file: file.read_bytes() for file in shard.iterdir()}

    def broken(name: str, content: bytes | None) -> str:
        (shard / name).unlink()
        if content is not None:
            (shard / name).write_bytes(content)
        found = message(lambda: list(find_features(folder).records()))
        (shard / name).write_bytes(good[shard / name])
        return found

    def saved(array, **options) -> bytes:
        np.save(tmp_path / "other.npy", array, **options)
        return (tmp_path / "other.npy").read_bytes()

    assert "student_concat.npy: truncated" in broken("student_concat.npy", good[shard / "student_concat.npy"][:150])
    assert "holds no student_concat.npy" in broken("student_concat.npy", None)
    assert "paths.npy: no such file" in broken("paths.npy", None)
    assert "the places of 'a/b' do not fit its 9 rows" in broken("a_b_offs.npy", saved([0, 1, 2, 3]))
    assert "numbers of records differ" in broken("labels.npy", saved([1, 2]))
    assert "not tokens of floating point numbers" in broken("c_concat.npy", saved(np.zeros((6, 8), int)))
    objects = saved(np.array([{}, 1], dtype=object), allow_pickle=True)
    assert "paths.npy: truncated, damaged, or no array" in broken("paths.npy", objects)
    assert "unknown teacher 'a/b'" in broken("a_b_concat.npy", None)


def test_an_index_that_does_not_fit_its_files_is_an_error(tmp_path):
    export_features(tmp_path, records(), dataset="ucf101", split="train", shard_size=3)
    index = tmp_path / "features_ucf101_train.index.json"
    content = json.loads(index.read_text())
    content["shards"][0]["count"] = 2
    index.write_text(json.dumps(content))
    found = message(lambda: list(find_features(tmp_path).records()))
    assert "holds 3 records, but features_ucf101_train.index.json says 2" in found
    (tmp_path / "features_ucf101_train_shard_00002.pkl").unlink()
    assert "names shards that do not exist: features_ucf101_train_shard_00002.pkl" in message(find_features, tmp_path)
    index.write_text('{"shards": 3}')
    assert "tells no list of shards" in message(find_features, tmp_path)


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "features_ucf101_train.pkl"
    cases = {
        "holds no list of records": {"a": 1},
        "an object of class 'posix.system'": [{"student": Trap()}],
        "record 0: has no 'student'; it has: path": [{"path": "a"}],
        "not tokens of floating point numbers": [{"student": np.zeros((2, 3), int)}],
        "'student' is a str, not an array": [{"student": "x"}],
    }
    for words, content in cases.items():
        path.write_bytes(pickle.dumps(content))
        assert words in message(lambda: list(find_features(path).records()))
    path.write_bytes(b"")
    assert "truncated, damaged" in message(lambda: list(find_features(path).records()))


class Trap:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def test_samples_have_the_fields_of_the_settings_in_every_form(tmp_path):
    made = records(dtype=np.float16)
    for path in write_all_forms(tmp_path, made):
        data = open_features(FeatureSettings(root=path), "train")
        assert data.fields == ("student_tokens", "teacher_tokens", "label")
        assert (len(data), data.ragged, data.teachers) == (7, ("student_tokens",), ("a/b", "c"))
        for sample, record in zip(samples(data), made, strict=True):
            assert sample["student_tokens"].dtype == torch.float32
            np.testing.assert_array_equal(sample["student_tokens"], record.student.astype(np.float32))
            np.testing.assert_array_equal(sample["teacher_tokens"]["a/b"], record.teachers["a/b"].astype(np.float32))
            assert sample["label"].item() == record.label
        assert len({data.name(number) for number in range(7)}) == 7
        assert feature_shapes(data.settings) == {
            "student_tokens": (4, 6), "teacher_tokens": {"a/b": (3, 5), "c": (2, 8)}, "label": (),
        }  # fmt: skip


def test_stored_types_are_kept_if_asked_for_and_teachers_may_be_chosen(tmp_path):
    export_features(tmp_path, records(dtype=np.float16), dataset="d", split="train", shard_size=2)
    data = open_features(FeatureSettings(root=tmp_path, teachers=("c",), dtype="stored"), "train")
    sample = data.sample(6, data.fields, None)
    assert sample["student_tokens"].dtype == torch.float16
    assert list(sample["teacher_tokens"]) == ["c"]
    alone = open_features(FeatureSettings(root=tmp_path, teachers=()), "train")
    assert alone.fields == ("student_tokens", "label")
    found = message(open_features, FeatureSettings(root=tmp_path, teachers=("d",)), "train")
    assert "record 0, 'clips/0.mp4': unknown teacher 'd'" in found
    assert "unknown field 'labels'. Did you mean 'label'?" in message(data.sample, 0, ("labels",), None)


def test_memory_holds_as_many_files_as_fit(tmp_path, monkeypatch):
    export_features(tmp_path, records(8), dataset="d", split="train", shard_size=2)
    data = open_features(FeatureSettings(root=tmp_path, memory=1), "train")
    opened = []
    real = type(data.source).shard
    monkeypatch.setattr(type(data.source), "shard", lambda self, n: opened.append(n) or real(self, n))

    samples(data)
    samples(data)
    assert opened == [0, 1, 2, 3]

    # A file of half a budget: two fit, a third drives out the one that was not used for longest.
    monkeypatch.setattr(type(data.source.shards[0]), "stat", lambda self, **_: FakeSize())
    small = pickle.loads(pickle.dumps(data))
    opened.clear()
    for number in (0, 2, 0, 4, 0, 2):
        small.sample(number, ("label",), None)
    assert opened == [0, 1, 2, 1]


class FakeSize:
    st_size = 2**19
    st_mode = 0o100644


def test_widths_that_differ_are_an_error(tmp_path):
    made = [*records(2), records(1, seed=1)[0]]
    object.__setattr__(made[2], "student", np.zeros((4, 7), np.float32))
    export_features(tmp_path, made, dataset="d", split="train")
    assert "'student' has several widths: [6, 7]." in message(open_features, FeatureSettings(root=tmp_path), "train")


def test_validation_reads_its_own_split(tmp_path):
    export_features(tmp_path, records(7), dataset="d", split="train")
    export_features(tmp_path, records(3), dataset="d", split="test")
    assert len(open_features(FeatureSettings(root=tmp_path, validate_split="test"), "validate")) == 3
    assert "set `validate_split`" in message(open_features, FeatureSettings(root=tmp_path), "validate")


def test_the_digest_follows_the_contents(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        export_features(tmp_path / name, records(seed=seed), dataset="d", split="train", shard_size=3)
    one, same, other = (open_features(FeatureSettings(root=tmp_path / n), "train").digest() for n in "abc")
    assert one == same != other


def test_nothing_is_exported_without_labels_or_records(tmp_path):
    assert "do not contain labels" in message(
        export_features, tmp_path, records(labels=False), dataset="d", split="train"
    )
    for size in (0, 2):
        assert "no record to write" in message(export_features, tmp_path, [], dataset="d", split="t", shard_size=size)
    assert list(tmp_path.iterdir()) == []


def test_inspection_is_exact_and_json(tmp_path):
    made = records(40)
    for path in write_all_forms(tmp_path, made):
        told = json.loads(json.dumps(inspect_features(path)))
        values = np.concatenate([record.student.ravel() for record in made]).astype(float)
        stats = told["per_key"]["student"]["stats"]
        assert stats["mean"] == pytest.approx(values.mean())
        assert stats["std"] == pytest.approx(values.std(ddof=1))
        assert (stats["min"], stats["max"]) == (values.min(), values.max())
        assert stats["shapes_seen"] == {"(4, 6)": 20, "(5, 6)": 20}
        assert (told["d_in"], told["d_out_map"]) == (6, {"a/b": 5, "c": 8})
        assert told["label_counts"] == {"0": 14, "1": 13, "2": 13}
        assert told["samples"][0] == {"path": "clips/0.mp4", "label": 0, "student": [4, 6], "a/b": [3, 5], "c": [2, 8]}
        few = inspect_features(path, keys=["c"], limit=5, statistics=False)
        assert (few["num_records"], few["scanned_records"], few["keys"]) == (40, 5, ["c"])
        assert few["per_key"]["c"]["stats"] is None
    assert "unknown key 'd'" in message(inspect_features, path, keys=["d"])


def test_numbers_that_are_not_finite_are_reported(tmp_path):
    made = records(3)
    made[1].teachers["c"][0, 0] = np.inf
    export_features(tmp_path, made, dataset="d", split="train")
    told = inspect_features(tmp_path)
    assert told["not_finite"] == ["c"]
    assert told["per_key"]["c"]["stats"]["max"] < np.inf


def test_labels_are_scanned_in_every_form(tmp_path):
    made = records()
    object.__setattr__(made[3], "label", -1)
    for path in write_all_forms(tmp_path, made):
        report = scan_labels(path, expected=(0, 1))
        assert report.counts == {0: 2, 1: 2, 2: 2}
        assert report.missing == ("clips/3.mp4",)
        assert report.unexpected == (("clips/2.mp4", 2), ("clips/5.mp4", 2))
        assert not report.good
        assert inspect_features(path)["unlabelled"] == ["clips/3.mp4"]
    write_arrays(tmp_path / "good", records())
    assert scan_labels(tmp_path / "good").good
