"""Boxes of mosaics and of resized, mirrored pictures beside the original's."""

import json

import numpy as np
import pytest

from gradatim.systems.multigriddet.mosaic import merged_boxes
from gradatim.systems.multigriddet.views import original_reshaped

pytestmark = pytest.mark.parity


def test_boxes_of_a_mosaic_are_merged_as_in_the_original(parity_root):
    case = np.load(parity_root / "multigriddet" / "mosaic_boxes_numpy.npz")
    assert sorted(case.files) == ["boxes", "crop_xy", "image_hw", "merged"]
    height, width = case["image_hw"].tolist()
    least = max(10, 0.01 * min(height, width))

    ours = merged_boxes(list(case["boxes"].astype(float)), tuple(case["crop_xy"]), (height, width), least)

    padded = np.zeros_like(case["merged"])
    padded[: len(ours)] = ours
    assert np.array_equal(padded, case["merged"])
    assert len(ours) == 5


def test_boxes_of_a_resized_and_mirrored_picture_are_the_originals(parity_root):
    case = json.loads((parity_root / "multigriddet" / "misc.json").read_text())["reshape_boxes"]
    assert set(case) == {
        "boxes", "src_wh", "target_wh", "padding_wh", "offset", "horizontal_flip", "sorted_by_class",
    }  # fmt: skip
    source, target, content, offset = (
        tuple(case[name][::-1]) for name in ("src_wh", "target_wh", "padding_wh", "offset")
    )

    ours = original_reshaped(
        np.array(case["boxes"], float), source, content, offset, target, mirror=case["horizontal_flip"]
    )

    assert ours[np.argsort(ours[:, 4])].tolist() == case["sorted_by_class"]
