"""`gradatim analyze`: features described, counted, judged, drawn, imported and exported from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from commandline import gradatim, worked
from gradatim.data.image import image_size
from gradatim.features import FeatureStore
from gradatim.find import find_system
from gradatim.systems.bombkd.feature_files import export_features, find_features
from gradatim.systems.bombkd.feature_shards import FeatureRecord
from systems.bombkd.features import records, write_arrays, write_unlabelled

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

WIDTHS = {"student": 12, "ta": 8, "tb": 6}


def clouds(count, *, seed=0, classes=3, first=0):
    """Records whose class is plain in every entry."""
    random = np.random.default_rng(seed)
    centers = {name: np.random.default_rng(99).normal(0, 4, (classes, width)) for name, width in WIDTHS.items()}

    def tokens(name, label):
        return (centers[name][label] + random.normal(size=(5, WIDTHS[name]))).astype(np.float32)

    return [
        FeatureRecord(
            path=f"clips/{number}.mp4",
            label=number % classes + first,
            student=tokens("student", number % classes),
            teachers={name: tokens(name, number % classes) for name in ("ta", "tb")},
        )
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path):
    """Features of two splits in folders of their own, and both in one."""
    for split, count in (("train", 45), ("test", 24)):
        for name in (split, "both"):
            export_features(
                tmp_path / name, clouds(count, seed=len(split)), dataset="ucf101", split=split, shard_size=20
            )
    return tmp_path


@pytest.fixture
def converters(tmp_path):
    """The authors' file of converters that fit the features."""
    settings = find_system("bombkd").settings(
        student={"dim": 12}, teachers={"ta": {"dim": 8}, "tb": {"dim": 6}}, batch_stats="batch"
    )
    torch.manual_seed(0)
    part = find_system("bombkd").parts["converters"](settings)
    fields = {"keys": ["ta", "tb"], "d_in": 12, "d_out": 8, "d_out_map": {"tb": 6}, "token_k": None, "kind": "b"}
    torch.save({"state_dict": part.state_dict(), "teacher_lens": None, **fields}, tmp_path / "converters_ep10.pt")
    return tmp_path / "converters_ep10.pt"


def test_inspect_tells_entries_figures_labels_and_the_model(folder):
    told = worked("analyze", "inspect", folder / "train", "--json").json
    text = worked("analyze", "inspect", folder / "train")
    few = worked(
        "analyze", "inspect", folder / "train", "--key", "ta", "--limit", "5", "--no-statistics", "--json"
    ).json

    assert told["num_records"] == told["scanned_records"] == 45
    assert told["per_key"]["student"]["example_shape"] == [5, 12]
    assert (told["d_in"], told["d_out_map"]) == (12, {"ta": 8, "tb": 6})
    assert "labels: 0: 15, 1: 15, 2: 15" in text.out
    assert "model: {student: {dim: 12}, teachers: {ta: {dim: 8}, tb: {dim: 6}}}" in text.out
    assert "45 of 45 records" in text.out
    assert list(few["per_key"]) == ["ta"]
    assert few["per_key"]["ta"]["stats"] is None
    assert few["scanned_records"] == 5


def test_inspect_warns_of_what_will_hurt(tmp_path):
    made = records(4)
    made[1].student[0, 0] = np.nan
    export_features(tmp_path, made, dataset="d", split="train")
    bare = write_unlabelled(tmp_path / "bare" / "features.pkl", made) if (tmp_path / "bare").mkdir() is None else None

    assert "not finite: student" in worked("analyze", "inspect", tmp_path / "features_d_train.pkl").err
    assert "4 records without a label" in worked("analyze", "inspect", bare).err


def test_labels_are_counted_and_missing_ones_are_exit_code_1(folder, tmp_path):
    good = worked("analyze", "labels", folder / "train", "--expected", "0-2", "--json").json
    few = gradatim("analyze", "labels", folder / "train", "--expected", "0,1")
    (tmp_path / "none").mkdir()
    none = gradatim("analyze", "labels", write_unlabelled(tmp_path / "none" / "f.pkl", records(4)), "--show", "2")

    assert good["counts"] == {"0": 15, "1": 15, "2": 15}
    assert good["good"] is True
    assert (few.code, none.code) == (1, 1)
    assert "clips/2.mp4: label 2 is not expected" in few.err
    assert few.out.count("15") >= 3
    assert none.err.count("no label") == 2
    assert "4 without" in none.out


@pytest.mark.parametrize("text", ["a", "1-", "0-x", "-3"])
def test_expected_labels_that_cannot_be_read_are_a_wrong_call(text, folder):
    assert gradatim("analyze", "labels", folder / "train", f"--expected={text}").code == 2


@pytest.mark.parametrize("feature", ["student", "ta", "conv:tb"])
def test_actions_are_told_by_classical_classifiers(feature, folder, converters):
    words = ["--train", folder / "train", "--test", folder / "test", "--feature", feature, "--converters", converters]

    told = worked("analyze", "classify", *words, "--json").json
    text = worked("analyze", "classify", *words, "--model", "lr").out

    assert set(told["models"]) == {"svm", "lr"}
    assert all(one["top1"] > 0.9 for one in told["models"].values())
    assert "svm" not in text
    assert "precision" in text


def test_splits_of_one_folder_are_told_apart(folder):
    told = worked("analyze", "classify", "--train", folder / "both", "--test", folder / "both", "--json").json

    assert told["models"]["lr"]["top1"] > 0.9


def test_labels_of_the_same_rank_are_matched_only_when_asked_for(folder, tmp_path):
    export_features(tmp_path / "other", clouds(24, first=10), dataset="d", split="test")
    words = ["--train", folder / "train", "--test", tmp_path / "other", "--json"]

    plain = worked("analyze", "classify", *words).json["models"]
    matched = worked("analyze", "classify", *words, "--remap-by-order").json["models"]

    assert plain["lr"]["top1"] == 0
    assert matched["lr"]["top1"] > 0.9


def test_anomalies_are_told_by_detectors_that_know_normal_clips_alone(folder):
    words = ["--train", folder / "train", "--test", folder / "test", "--task", "vad", "--normal-class", "0"]

    told = worked("analyze", "classify", *words, "--json").json["models"]
    text = worked("analyze", "classify", *words, "--model", "iforest").out

    assert set(told) == {"dbscan", "isolationforest"}
    assert told["dbscan"]["auroc"] > 0.9
    assert "dbscan" not in text
    assert "auroc" in text


def test_a_plot_shows_every_cloud_and_how_near_translations_come(folder, converters, tmp_path):
    out = tmp_path / "clouds.png"

    plain = worked("analyze", "plot", folder / "train", "-o", out, "--json").json
    told = worked(
        "analyze", "plot", folder / "train", folder / "test", "-o", out, "--converters", converters, "--json"
    ).json
    text = worked("analyze", "plot", folder / "test", "-o", out, "--converters", converters, "--method", "tsne")

    assert plain == {"written": [str(out)], "clips": 45, "alignment": {}}
    assert told["written"] == [str(out), str(tmp_path / "clouds-alignment.png")]
    assert told["clips"] == 69
    assert set(told["alignment"]) == {"ta", "tb"}
    assert all(np.isfinite(value) for one in told["alignment"].values() for value in one.values())
    assert "cosine" in text.out
    assert all(image_size(Path(path))[1] > 200 for path in told["written"])


def test_few_classes_are_drawn_where_few_are_asked_for(folder, tmp_path):
    words = ["analyze", "plot", folder / "train", "-o", tmp_path / "x.png", "--classes", "2", "--json"]

    assert worked(*words).json["clips"] == 30
    assert worked(*words, "--by", "lr").json["clips"] == 30


def test_import_and_export_are_each_others_inverse(folder, tmp_path):
    told = worked("analyze", "import", folder / "train", "-o", tmp_path / "store", "--json").json
    text = worked("analyze", "import", folder / "train", "-o", tmp_path / "store").out
    back = worked(
        "analyze", "export", tmp_path / "store", "-o", tmp_path / "again", "--shard-size", "20", "--json"
    ).json

    assert told["rows"] == back["rows"] == 45
    assert "student_tokens" in text
    store = FeatureStore.open(tmp_path / "store")
    assert len(store) == 45
    store.close()
    assert {file.name for file in (tmp_path / "again").iterdir()} == {
        file.name for file in (folder / "train").iterdir()
    }
    for one, other in zip(find_features(tmp_path / "again").records(), clouds(45, seed=5), strict=True):
        assert (one.path, one.label) == (other.path, other.label)
        np.testing.assert_array_equal(one.teachers["tb"], other.teachers["tb"])
    assert worked("analyze", "inspect", tmp_path / "store", "--json").json["d_in"] == 12
    single = worked(
        "analyze", "export", tmp_path / "store", "-o", tmp_path / "one", "--shard-size", "0", "--split", "x"
    )
    assert single.out.strip().endswith("features_ucf101_x.pkl")


def test_import_in_half_the_bytes(folder, tmp_path):
    worked("analyze", "import", folder / "train", "-o", tmp_path / "half", "--dtype", "float16")

    record = next(find_features(tmp_path / "half").records())
    assert record.student.dtype == np.float16


def test_features_without_labels_are_imported_only_when_that_is_said(tmp_path):
    bare = write_unlabelled(tmp_path / "features.pkl", records(4))

    refused = gradatim("analyze", "import", bare, "-o", tmp_path / "store")
    worked("analyze", "import", bare, "-o", tmp_path / "store", "--no-labels")

    assert refused.code == 1
    assert "Extract the features again" in refused.err
    assert "label" not in json.loads((tmp_path / "store" / "store.json").read_text())["fields"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inspect", "gone"], "gone: no such file or folder"),
        (["inspect", "train", "--key", "studnet"], "Did you mean 'student'?"),
        (["inspect", "train", "--split", "val"], "no features of val there. It holds: ucf101 train"),
        (["inspect", "both"], "2 sets of features fit; choose by `dataset` and `split`"),
        (["classify", "--train", "train", "--test", "test", "--feature", "tc"], "unknown feature 'tc'"),
        (["classify", "--train", "train", "--test", "test", "--feature", "conv:ta"], "unknown converter 'ta'"),
        (["classify", "--train", "train", "--test", "test", "--model", "smv"], "Did you mean 'svm'?"),
        (["classify", "--train", "train", "--test", "test", "--task", "vad"], "set `normal_class`"),
        (["classify", "--train", "train", "--test", "test", "--feature", "conv:ta", "--converters", "gone"], "gone"),
        (["plot", "train", "-o", "x.bmp"], "cannot draw '.bmp'"),
        (["import", "both", "-o", "x"], "2 sets of features fit"),
        (["export", "gone", "-o", "x"], "gone: no such file or folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_an_error_of_the_user_is_one_message(words, says, folder, monkeypatch):
    monkeypatch.chdir(folder)

    answer = gradatim("analyze", *words)

    assert answer.code == 1, answer.err
    assert says in answer.err
    assert not answer.out


def test_a_folder_of_arrays_is_read_too(tmp_path):
    write_arrays(tmp_path / "npy", records(7))

    assert worked("analyze", "inspect", tmp_path / "npy", "--json").json["num_records"] == 7
