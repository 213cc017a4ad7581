"""Feature files as the original's programs write them, and the order and the batches that it makes of them."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gradatim.systems.bombkd.datasets.original import padded_tokens
from gradatim.systems.bombkd.feature_data import FeatureSettings, open_features, original_order
from gradatim.systems.bombkd.feature_files import FeatureSet, export_features, find_features, list_features
from gradatim.systems.bombkd.feature_inspection import inspect_features

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def folder(parity_root) -> Path:
    return parity_root / "bombkd" / "format_sample"


@pytest.fixture(scope="module")
def told(parity_root) -> dict:
    return json.loads((parity_root / "bombkd" / "behaviour.json").read_text())


@pytest.fixture(scope="module")
def expected(parity_root) -> dict[str, np.ndarray]:
    return dict(np.load(parity_root / "bombkd" / "features_expected.npz"))


def is_feature_file(path: Path) -> bool:
    return path.suffix in (".pkl", ".npy") or path.name.endswith(".index.json")


def files_of(found: FeatureSet) -> set[Path]:
    inside = {file for shard in found.shards for file in (shard.iterdir() if shard.is_dir() else [shard])}
    return inside | ({found.path} if found.path.is_file() else set())


def check(found: FeatureSet, expected: dict[str, np.ndarray]) -> int:
    """Compare every array of every record; returns their number."""
    count = 0
    for number, record in enumerate(found.records()):
        arrays = {"stu": record.student, **record.teachers}
        assert {f"{name.replace('/', '_')}_{number}" for name in arrays} == {
            key for key in expected if key.rpartition("_")[2] == str(number)
        }
        for name, array in arrays.items():
            rounded = expected[f"{name.replace('/', '_')}_{number}"].astype(array.dtype)
            np.testing.assert_array_equal(array, rounded)
            count += 1
    assert len(found) == len(expected["labels"])
    return count


def test_every_feature_file_reads_back_as_expected(folder, expected):
    sets = [found for path in (*folder.iterdir(),) for found in list_features(path) if holds_features(found)]
    claimed = set().union(*(files_of(found) for found in sets))
    assert claimed == {path for path in folder.rglob("*") if is_feature_file(path)}
    arrays = 0
    for found in sets:
        arrays += check(found, expected)
        if found.dataset:
            assert [record.label for record in found.records()] == expected["labels"].tolist()
        if found.index:
            assert found.index["num_samples"] == len(found)
            assert found.teachers == tuple(found.index["teachers"])
    assert len(sets) >= 4
    print(f"{len(sets)} sets, {len(claimed)} files, {arrays} arrays")


def holds_features(found: FeatureSet) -> bool:
    return all(shard.is_dir() or shard.suffix == ".pkl" for shard in found.shards)


def test_each_shard_reads_alone_and_without_its_index(folder, expected, tmp_path):
    shards = 0
    for index in folder.rglob("*.index.json"):
        found = find_features(index)
        start = 0
        for shard in found.shards:
            for number, record in enumerate(find_features(shard).records()):
                np.testing.assert_array_equal(record.student, expected[f"stu_{start + number}"].astype(np.float16))
            start += len(find_features(shard))
            shards += 1
        copy = tmp_path / index.parent.name
        copy.mkdir()
        for shard in found.shards:
            (copy / shard.name).symlink_to(shard)
        alone = find_features(copy, dataset=found.dataset, split=found.split)
        assert len(alone) == len(found)
        assert "without an index" in alone.notes[0]
    assert shards
    print(f"{shards} shards")


def test_all_forms_are_samples_with_the_originals_shapes_and_types(folder, told):
    shapes = ast.literal_eval(told["FeaturePairs npy index"])
    (teachers,) = {tuple(name for name in shapes if name != "x")}
    read = 0
    for path in (folder / "npy", folder / "pkl", folder / "one", folder / "vad_features.pkl"):
        chosen = FeatureSettings(root=path, split="train", teachers=teachers, dtype="stored")
        data = open_features(chosen, "train")
        sample = data.sample(1, data.fields, None)
        found = {"x": sample["student_tokens"], **sample["teacher_tokens"]}
        assert {name: tuple(value.shape) for name, value in found.items()} == {n: s for n, (s, _) in shapes.items()}
        if path.name == "npy":
            assert {name: str(value.dtype) for name, value in found.items()} == {n: d for n, (_, d) in shapes.items()}
        assert data.ragged == ("student_tokens",)
        read += 1
    print(f"{read} forms")


def test_what_the_original_reads_we_read_and_what_it_cannot_too(folder, told):
    """All records come, where it found 0, lost some or stopped."""
    counted = {
        key: value for key, value in told.items() if key.startswith(("FeaturePairs", "feature_cls.", "inspect "))
    }
    total = len(find_features(folder / "one"))
    for key in counted:
        kind = "npy" if " npy " in key else "pkl"
        root = folder / kind
        path = next(root.glob("*.index.json")) if "index" in key and "directory" not in key else root
        assert len(list(find_features(path).records())) == total, key
    assert counted
    print(f"{len(counted)} ways of reading")


def test_the_order_of_shards_is_the_originals(folder, told):
    counts = find_features(folder / "npy").counts
    sampler = told["sampler"]
    checked = 0
    for key, order in sampler.items():
        if not isinstance(order, list):
            continue
        seed = int(key.rpartition("seed")[2].partition("_")[0])
        assert original_order(counts, seed, within="noshuffle" not in key) == order, key
        checked += 1
    assert sampler["same_every_epoch"]
    assert checked
    print(f"{checked} orders")


def test_a_batch_is_padded_with_zeros_to_its_longest(folder, told):
    rows, longest, _ = told["pad_collate"]["student"]
    data = open_features(FeatureSettings(root=folder / "npy"), "train")
    samples = [data.sample(number, data.fields, None) for number in range(rows)]

    batch, lengths = padded_tokens([sample["student_tokens"] for sample in samples])

    assert list(batch.shape) == told["pad_collate"]["student"]
    assert max(lengths) == longest
    assert (not batch[0, lengths[0] :].any()) == told["pad_collate"]["zeros_in_row0_tail"]
    assert torch.stack([sample["label"] for sample in samples]).tolist() == told["pad_collate"]["label"]


def test_the_summary_has_the_originals_figures(folder, told):
    original = told["inspect_summary_one"]
    ours = inspect_features(folder / "one", samples=0)
    assert ours["num_records"] == original["num_records"]
    assert ours["scanned_records"] == original["scanned_records"]
    assert ours["keys"] == original["keys"]
    assert ours["label_counts"] == original["label_counts"]
    # The original counts the label among the teachers.
    assert ours["teacher_keys"] == [key for key in original["teacher_keys"] if key != "label"]
    figures = 0
    for key, entry in original["per_key"].items():
        for name, value in entry.items():
            if name == "stats" and value is not None:
                assert ours["per_key"][key][name] == {
                    stat: pytest.approx(number, rel=1e-6) if isinstance(number, float) else number
                    for stat, number in value.items()
                }, key
                figures += len(value)
            else:
                assert ours["per_key"][key][name] == (True if name == "ragged" and key == "student" else value), (
                    key,
                    name,
                )
                figures += 1
    print(f"{figures} figures")


def test_a_written_file_is_one_that_we_and_pickle_read(folder, expected, tmp_path):
    import pickle

    found = find_features(folder / "npy")
    for size in (0, 3):
        target = tmp_path / str(size)
        written = export_features(target, found.records(), dataset="ucf101", split="train", shard_size=size)
        assert check(find_features(target), expected) > 0
        assert len(find_features(written)) == len(found)
    content = pickle.loads((tmp_path / "0" / "features_ucf101_train.pkl").read_bytes())
    theirs = pickle.loads(next((folder / "pkl").glob("*_00000.pkl")).read_bytes())
    assert list(content[0]) == list(theirs[0])
    assert all(type(content[0][key]) is type(theirs[0][key]) for key in content[0])
