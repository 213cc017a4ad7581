"""Classifiers and detectors on features give the original's figures."""

import json

import numpy as np
import pytest

from gradatim.systems.bombkd.analysis import Vectors, classify_actions, detect_anomalies

pytestmark = pytest.mark.parity
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def told(parity_root) -> dict:
    return json.loads((parity_root / "bombkd" / "feature_cls.json").read_text())


@pytest.fixture(scope="module")
def sides(parity_root) -> tuple[Vectors, Vectors]:
    arrays = np.load(parity_root / "bombkd" / "feature_cls.npz")
    return tuple(Vectors(arrays[f"X{side}"], arrays[f"y{side}"]) for side in ("tr", "te"))


def test_actions_are_told_as_the_original_tells_them(told, sides):
    ours = classify_actions(*sides, models=tuple(told["ar"]))
    for model, expected in told["ar"].items():
        assert ours[model]["top1"] == pytest.approx(expected["top1"])
        assert ours[model]["report"] == expected["report"]
    print(f"{len(told['ar'])} models of actions")


def test_anomalies_are_detected_as_the_original_detects_them(told, sides):
    options = told["vad_options"]
    ours = detect_anomalies(
        *sides,
        normal_class=options["normal_class"],
        dbscan_eps=options["dbscan_eps"],
        dbscan_min_samples=options["dbscan_min_samples"],
        contamination=options["iforest_contam"],
    )
    figures = 0
    for model, expected in told["vad"].items():
        for name, value in expected.items():
            assert ours[model][name] == pytest.approx(value, rel=1e-6), (model, name)
            figures += 1
    assert set(ours) == set(told["vad"])
    print(f"{len(told['vad'])} detectors, {figures} figures")
