"""Published feature files into a store, and from it wherever files of features can be read."""

import numpy as np
import pytest
import torch

from gradatim.errors import DataError
from gradatim.features import FeatureStore
from gradatim.systems.bombkd.feature_data import FeatureSettings, open_features
from gradatim.systems.bombkd.feature_files import export_features, find_features
from gradatim.systems.bombkd.feature_import import import_features
from gradatim.systems.bombkd.feature_inspection import inspect_features
from systems.bombkd.features import records, write_all_forms, write_unlabelled


def equal(found, made):
    for one, other in zip(found, made, strict=True):
        assert (one.path, one.label, list(one.teachers)) == (other.path, other.label, list(other.teachers))
        np.testing.assert_array_equal(one.student, other.student)
        for name in one.teachers:
            np.testing.assert_array_equal(one.teachers[name], other.teachers[name])


def imported(path, folder, **how):
    store = import_features(find_features(path), folder, **how)
    store.close()
    return folder


def test_every_form_becomes_the_same_store_with_lengths_labels_and_paths(tmp_path):
    made = records(9, dtype=np.float16)
    for number, path in enumerate(write_all_forms(tmp_path / "forms", made)):
        dtype = {"dtype": "float16"} if path.name == "json" else {}
        folder = imported(path, tmp_path / f"store{number}", **dtype)
        store = FeatureStore.open(folder)

        assert store.names == ("student_tokens", "teacher_tokens.a/b", "teacher_tokens.c", "label", "path")
        assert [field.name for field in store.schema.ragged] == ["student_tokens", "path"]
        for index, record in enumerate(made):
            np.testing.assert_array_equal(store[index]["student_tokens"], record.student)
            assert store[index]["label"] == record.label
            assert bytes(store[index]["path"].numpy()).decode() == record.path
        batch = store.gather([0, 1])
        assert batch["student_tokens_mask"].sum(1).tolist() == [4, 5]
        store.close()
        equal(find_features(folder).records(), made)


def test_a_store_is_a_set_of_features_like_any_other(tmp_path):
    made = records(9)
    export_features(tmp_path / "files", made, dataset="ucf101", split="train", shard_size=4)
    folder = imported(tmp_path / "files", tmp_path / "store")

    from_files = open_features(FeatureSettings(root=tmp_path / "files"), "train")
    from_store = open_features(FeatureSettings(root=folder), "train")
    told = inspect_features(folder)

    assert (from_store.ragged, from_store.teachers, len(from_store)) == (from_files.ragged, from_files.teachers, 9)
    assert from_store.name(3) == from_files.name(3)
    for index in range(9):
        one, other = (data.sample(index, data.fields, None) for data in (from_store, from_files))
        assert torch.equal(one["student_tokens"], other["student_tokens"])
        assert one["label"] == other["label"]
    expected = inspect_features(tmp_path / "files")
    assert {k: told[k] for k in ("per_key", "label_counts", "d_in", "d_out_map", "samples")} == {
        k: expected[k] for k in ("per_key", "label_counts", "d_in", "d_out_map", "samples")
    }


def test_back_and_forth_changes_nothing(tmp_path):
    made = records(7)
    export_features(tmp_path / "files", made, dataset="ucf101", split="train", shard_size=3)
    folder = imported(tmp_path / "files", tmp_path / "store")

    source = find_features(folder)
    export_features(tmp_path / "again", source.records(), dataset=source.dataset, split=source.split, shard_size=3)

    names = sorted(file.name for file in (tmp_path / "files").iterdir())
    assert sorted(file.name for file in (tmp_path / "again").iterdir()) == names
    index = "features_ucf101_train.index.json"
    assert (tmp_path / "again" / index).read_text() == (tmp_path / "files" / index).read_text()
    equal(find_features(tmp_path / "again").records(), made)


def test_an_import_goes_on_where_it_was_stopped(tmp_path):
    made = records(2500)
    export_features(tmp_path / "files", made, dataset="ucf101", split="train", shard_size=1000)
    source = find_features(tmp_path / "files")

    def stop(done, total):
        if done == 1500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_features(source, tmp_path / "store", shard_bytes=1, report=stop)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("shard-*.safetensors")}
    assert len(finished) >= 2
    folder = imported(tmp_path / "files", tmp_path / "store", shard_bytes=1)

    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    equal(find_features(folder).records(), made)


def test_another_source_is_not_mixed_in(tmp_path):
    for seed in (0, 1):
        export_features(tmp_path / f"{seed}", records(7, seed=seed), dataset="d", split="train")
    imported(tmp_path / "0", tmp_path / "store")

    with pytest.raises(DataError, match=r"holds another feature store \(key differ"):
        imported(tmp_path / "1", tmp_path / "store")


def test_missing_labels_are_an_error_with_the_remedy_unless_none_are_asked_for(tmp_path):
    path = write_unlabelled(tmp_path / "features.pkl", records(4))

    with pytest.raises(DataError, match="Extract the features again"):
        imported(path, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    folder = imported(path, tmp_path / "store", labels=False)

    assert [record.label for record in find_features(folder).records()] == [None] * 4


def test_records_that_differ_are_named(tmp_path):
    made = records(4)
    made[2].teachers.pop("c")
    export_features(tmp_path / "files", made, dataset="d", split="train")

    with pytest.raises(DataError, match=r"record 2, 'clips/2\.mp4': unknown entry 'teacher_tokens\.c'"):
        imported(tmp_path / "files", tmp_path / "store")
