"""Classifiers, detectors, frame scores, distances of clouds, and pictures of them."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradatim.errors import DataError
from gradatim.systems.bombkd.analysis import (
    ORIGINAL_EPS,
    Vectors,
    alignment,
    choose_classes,
    classify_actions,
    detect_anomalies,
    frame_auc,
    frame_scores,
    plot_alignment,
    plot_clouds,
    pooled_vectors,
    project,
    roc_auc,
    suggest_eps,
)
from gradatim.systems.bombkd.feature_files import export_features, find_features
from systems.bombkd.features import records

metrics = pytest.importorskip("sklearn.metrics")
pytest.importorskip("matplotlib")


def message(call, *args, **options) -> str:
    with pytest.raises(DataError) as error:
        call(*args, **options)
    return str(error.value)


@pytest.fixture
def source(tmp_path):
    export_features(tmp_path / "features", records(9), dataset="d", split="train", shard_size=4)
    return find_features(tmp_path / "features")


def blobs(count: int, *, classes: int = 3, width: int = 6, seed: int = 0, apart: float = 6.0) -> Vectors:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centers = np.random.default_rng(99).normal(0, apart, (classes, width))
    return Vectors((centers[labels] + random.normal(size=(count, width))).astype(np.float32), labels.astype(np.int64))


def test_a_clip_becomes_the_mean_or_the_maximum_of_its_tokens(source):
    made = records(9)
    with pooled_vectors(source) as found:
        np.testing.assert_allclose(found.values, [r.student.mean(axis=0) for r in made], rtol=1e-5, atol=1e-6)
        assert found.labels.tolist() == [r.label for r in made]
    with pooled_vectors(source, feature="a/b", pool="max") as found:
        np.testing.assert_array_equal(found.values, [r.teachers["a/b"].max(axis=0) for r in made])
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    with pooled_vectors(source, feature="conv:c", converters={"c": lambda tokens: tokens @ weight}) as found:
        expected = [(r.student @ weight.numpy()).mean(axis=0) for r in made]
        np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)


def test_temporary_files_are_gone_whatever_happens(source, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def left() -> list[Path]:
        return list((tmp_path / "temporary").rglob("*"))

    with pooled_vectors(source) as found:
        assert left()
        assert isinstance(found.values, np.memmap)
    assert left() == []
    with pytest.raises(RuntimeError), pooled_vectors(source):
        raise RuntimeError("in the middle")
    assert left() == []
    assert "unknown feature 'd'" in message(lambda: pooled_vectors(source, feature="d").__enter__())
    assert left() == []


def test_unknown_features_and_converters_are_told(source):
    assert "conv:a/b" in message(lambda: pooled_vectors(source, feature="conv").__enter__())
    assert "unknown converter 'x'. Known: none." in message(
        lambda: pooled_vectors(source, feature="conv:x").__enter__()
    )


def test_actions_are_classified_and_unlabelled_clips_left_out():
    train, test = blobs(60), blobs(30, seed=1)
    test.labels[:3] = -1
    test.values[:3] = 1e6
    result = classify_actions(train, test)
    assert [result[name]["top1"] for name in ("svm", "lr")] == [1.0, 1.0]
    assert "27" in result["svm"]["report"]
    assert list(classify_actions(train, test, models=["lr"])) == ["lr"]
    assert "unknown model 'lrr'. Did you mean 'lr'?" in message(classify_actions, train, test, models=["lrr"])
    one = Vectors(train.values, np.zeros(60, np.int64))
    assert "training has 1 class(es)" in message(classify_actions, one, test)


def test_labels_are_matched_by_rank_only_if_they_have_nothing_in_common():
    train, test = blobs(60), blobs(30, seed=1)
    shifted = Vectors(test.values, test.labels * 10 + 50)
    assert classify_actions(train, shifted, models=["lr"])["lr"]["top1"] == 0
    assert classify_actions(train, shifted, models=["lr"], remap_by_order=True)["lr"]["top1"] == 1
    overlapping = Vectors(test.values, test.labels + 1)
    assert classify_actions(train, overlapping, models=["lr"], remap_by_order=True)["lr"]["top1"] < 0.5


def anomalies(width: int) -> tuple[Vectors, Vectors]:
    random = np.random.default_rng(0)
    train = Vectors(random.normal(size=(300, width)).astype(np.float32), np.zeros(300, np.int64))
    values = random.normal(size=(60, width)).astype(np.float32)
    labels = (np.arange(60) % 3 == 0).astype(np.int64)
    values[labels == 1] += 3 / np.sqrt(width) * 4
    return train, Vectors(values, labels)


def test_the_suggested_radius_works_in_many_dimensions_where_the_original_flags_everything():
    train, test = anomalies(400)
    suggested = detect_anomalies(train, test, models=["dbscan"])["dbscan"]
    original = detect_anomalies(train, test, models=["dbscan"], dbscan_eps=ORIGINAL_EPS)["dbscan"]
    assert original["anomaly_rate"] == 1
    assert suggested["anomaly_rate"] < 0.6
    assert suggested["f1@pred"] > original["f1@pred"]
    assert suggested["eps"] == pytest.approx(suggested["med_nn_dist"], rel=0.3)


def test_the_suggested_radius_makes_the_share_of_core_samples():
    cluster = pytest.importorskip("sklearn.cluster")
    values = np.random.default_rng(0).normal(size=(200, 5))
    cores = cluster.DBSCAN(eps=suggest_eps(values, 5), min_samples=5).fit(values).core_sample_indices_
    assert abs(len(cores) / 200 - 0.95) < 0.01
    assert suggest_eps(values[:2], 5) > 0


def test_detectors_need_a_normal_class_and_judge_what_they_can():
    train, test = blobs(60), blobs(30, seed=1)
    assert "labels are [0, 1, 2], not 0 and 1; set `normal_class`" in message(detect_anomalies, train, test)
    result = detect_anomalies(train, test, normal_class=2)
    assert result["isolationforest"]["auroc"] > 0.9
    assert result["dbscan"]["auroc"] > 0.9
    normal = Vectors(test.values[test.labels == 2], test.labels[test.labels == 2])
    assert np.isnan(detect_anomalies(train, normal, normal_class=2)["dbscan"]["auroc"])
    assert "0 clips with label 7 to train on" in message(detect_anomalies, train, test, normal_class=7)


def test_the_area_is_that_of_scikit_learn_with_ties_too():
    random = np.random.default_rng(0)
    for digits in (0, 1, 8):
        scores, positive = random.normal(size=200).round(digits), random.random(200) < 0.3
        assert roc_auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))
    assert np.isnan(roc_auc(scores, np.zeros(200, bool)))


def test_tokens_become_frames_by_way_of_time_steps():
    steps = np.array([0.0, 1.0, 3.0])
    tokens = np.repeat(steps, 4)
    found = frame_scores(tokens, (3, 2, 2), 5)
    np.testing.assert_allclose(found, [0, 0.5, 1, 2, 3])
    other = frame_scores(tokens.reshape(3, 4).T.ravel(), (3, 2, 2), 5, order="hwt")
    np.testing.assert_allclose(other, found)
    # Two frames a step: of frames 0 2 4 6 8 10 the steps see 0-2, 4-6 and 8-10.
    np.testing.assert_allclose(frame_scores(tokens, (3, 2, 2), 11, sampled=6)[[0, 1, 3, 5, 7, 9, 10]],
                               [0, 0, 0.5, 1, 2, 3, 3])  # fmt: skip
    assert frame_scores(tokens[:4], (1, 2, 2), 3).tolist() == [0, 0, 0]
    assert "(12,) scores are not 3 x 2 x 3 tokens" in message(frame_scores, tokens, (3, 2, 3), 5)
    assert "cannot be shared by 3 time steps" in message(frame_scores, tokens, (3, 2, 2), 5, sampled=4)


def test_micro_counts_frames_and_macro_counts_clips():
    labels = [np.array([0, 0, 1, 1], bool), np.array([0, 1], bool), np.zeros(3, bool)]
    scores = [np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.9, 0.8]), np.array([0.0, 0.1, 0.5])]
    found = frame_auc(scores, labels)
    assert (found.macro, found.frames, found.clips) == (0.5, 9, 2)
    assert found.micro == pytest.approx(metrics.roc_auc_score(np.concatenate(labels), np.concatenate(scores)))
    assert "clip 0: 3 scores for 4 frames." in message(frame_auc, [scores[2], *scores[1:]], labels)


def test_equal_clouds_are_aligned_and_others_less_and_less():
    random = np.random.default_rng(0)
    teacher = random.normal(size=(80, 12))
    same = alignment(teacher, teacher)
    assert same["cosine"] == pytest.approx(1)
    assert same["r2"] == 1
    for name in ("mmd", "kl", "wasserstein"):
        assert same[name] == pytest.approx(0, abs=1e-9)
    near, far = (alignment(teacher + scale * random.normal(size=(80, 12)), teacher) for scale in (0.3, 2.0))
    for name, better in {"cosine": 1, "r2": 1, "mmd": -1, "kl": -1, "wasserstein": -1}.items():
        assert better * near[name] > better * far[name], name
    assert "needs (n, d) twice" in message(alignment, teacher, teacher[:5])


def test_a_cloud_that_is_only_moved_has_a_divergence_and_a_distance():
    teacher = np.random.default_rng(0).normal(size=(200, 4))
    moved = alignment(teacher + 3, teacher)
    assert moved["kl"] > 5
    assert moved["wasserstein"] > 1
    assert moved["mmd"] > 0.3


def test_the_divergence_of_gaussians_is_the_known_one():
    # Variances 1 and 4, means 0 and 2: half the sum of both directions, on one axis.
    x = np.array([-1.0, 0.0, 1.0])[:, None]
    y = 2 * x + 2
    first, second = 1 + 0.025, 4 + 0.025
    expected = 0.25 * (first / second + second / first - 2 + 4 * (1 / first + 1 / second))
    assert alignment(x, y)["kl"] == pytest.approx(expected)


def test_projections_are_repeatable_and_find_the_largest_variance():
    values = np.random.default_rng(0).normal(size=(30, 5)) * [9, 1, 1, 1, 0.1]
    points = project(values)
    np.testing.assert_allclose(np.abs(np.corrcoef(points[:, 0], values[:, 0])[0, 1]), 1, atol=0.02)
    np.testing.assert_allclose(project(values), points)
    assert project(values, method="tsne").shape == (30, 2)
    assert project(values[:, :1]).shape == (30, 2)
    assert "make no picture" in message(project, values[:2])


def test_classes_that_are_told_well_are_chosen():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    values = random.normal(size=(60, 4))
    for label in (1, 3):
        values[labels == label] += 20 * label
    for by in ("lr", "forest"):
        assert choose_classes(values, labels, 2, by=by).tolist() == [1, 3]
    assert choose_classes(values, labels, 9).tolist() == [0, 1, 2, 3, 4]
    assert len(choose_classes(values, labels, 2)) == 2


def test_pictures_are_drawn_without_pyplot(tmp_path):
    vectors = blobs(60)
    clouds = {"student": vectors.values, "converted": vectors.values * 0.9, "teacher": vectors.values @ np.eye(6, 4)}
    plot_clouds(tmp_path / "clouds.png", clouds, vectors.labels, classes={0: "jump", 1: "run"})
    plot_alignment(tmp_path / "bars.png", {"a": alignment(clouds["converted"], clouds["student"])})
    for name in ("clouds.png", "bars.png"):
        assert np.asarray(Image.open(tmp_path / name).convert("L")).std() > 10
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert "60 labels" in message(plot_clouds, tmp_path / "a.png", {"a": vectors.values[:5]}, vectors.labels)
    assert "cannot draw '.gif'" in message(plot_clouds, tmp_path / "a.gif", clouds, vectors.labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.png", "clouds.png"]


def test_half_precision_does_not_overflow(tmp_path):
    made = records(3, dtype=np.float16)
    for record in made:
        record.student[:] = 60000
    export_features(tmp_path, made, dataset="d", split="train")
    with pooled_vectors(find_features(tmp_path)) as found:
        assert np.isfinite(found.values).all()
