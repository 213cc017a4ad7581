"""Anchors: files read and written, clustering that finds what is there, weights of classes."""

import numpy as np
import pytest

from gradatim.errors import DataError
from gradatim.systems.multigriddet.anchors import (
    check_anchors,
    class_counts,
    class_weights,
    cluster_anchors,
    format_anchors,
    read_anchors,
    rescaled,
    size_iou,
)

COCO = (
    ((112.0, 74.0), (149.0, 190.0), (370.0, 328.0)),
    ((28.0, 17.0), (56.0, 112.0), (57.0, 35.0)),
    ((9.0, 10.0), (13.0, 28.0), (28.0, 55.0)),
)


@pytest.mark.parametrize(
    "text",
    [
        "112,74  149,190  370,328\n28,17  56,112  57,35\n9,10  13,28  28,55\n",
        "112,74, 149,190, 370,328,\n\n28,17, 56,112, 57,35,\n9,10, 13,28, 28,55\n\n",
        "112, 74 149, 190 370, 328\r\n28,17 56,112 57,35\r\n9,10 13,28 28,55",
        "112,74\n149,190\n370,328\n\n28,17\n56,112\n57,35\n\n\n9,10\n13,28\n28,55\n",
        "\ufeff112.0,74 149,190 370,328\n28,17 56,112 57,35\n9,10 13,28 28,55\n",
    ],
)
def test_both_layouts_of_a_file_are_read(text, tmp_path):
    path = tmp_path / "anchors.txt"
    path.write_text(text)
    assert read_anchors(path) == COCO


def test_one_anchor_for_each_scale_is_read_and_written(tmp_path):
    anchors = (((100.5, 80.25),), ((40.0, 30.0),), ((1 / 3, 5.0),))
    path = tmp_path / "anchors.txt"
    for given in (anchors, COCO):
        path.write_text(format_anchors(given))
        np.testing.assert_allclose(np.concatenate(read_anchors(path)), np.concatenate(given), rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "anchors of its scales: none"),
        ("9,10 13,28 28,55 28,17\n", "anchors of its scales: 4"),
        ("9,10 13,28\n28,17 56,112\n112,74 370,328\n", "must come first"),
        ("112,74\n28,x\n9,10\n", "anchors.txt:2: '28,x' is not width,height."),
        ("112\n28,17\n9,10\n", "anchors.txt:1: '112' is not width,height."),
        ("112,74\n28,-17\n9,10\n", "must be above 0"),
        ("112,nan\n28,17\n9,10\n", "must be above 0"),
        ("\0\0\1", "not a text file"),
    ],
)
def test_anchors_that_cannot_be_used_are_refused(text, words, tmp_path):
    path = tmp_path / "anchors.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_anchors(path)


def test_anchors_follow_the_size_of_the_input():
    check_anchors(rescaled(COCO, (608, 608), (416, 320)), "ours")
    assert rescaled(((((100.0, 50.0),),)), (608, 608), (304, 1216)) == (((200.0, 25.0),),)


def test_clustering_finds_the_sizes_that_are_there():
    random = np.random.default_rng(0)
    true = np.array([anchor for scale in COCO for anchor in scale])
    sizes = np.concatenate([anchor * random.uniform(0.95, 1.05, (60, 2)) for anchor in true])
    anchors, mean = cluster_anchors(sizes, seed=1)
    found = np.array([anchor for scale in anchors for anchor in scale])
    assert size_iou(true, found).max(axis=1).min() > 0.93
    assert mean > 0.93
    check_anchors(anchors, "found")
    assert cluster_anchors(sizes, seed=1) == (anchors, mean)
    assert [len(scale) for scale in cluster_anchors(sizes, per_scale=(1, 2, 4))[0]] == [1, 2, 4]


def test_clustering_needs_enough_different_boxes():
    with pytest.raises(DataError, match="9 anchors need as many different boxes; there are 2"):
        cluster_anchors(np.array([[5.0, 6.0], [7.0, 8.0]] * 20))
    nine = np.array([[10.0 * i, 7.0 * i] for i in range(1, 10)])
    assert cluster_anchors(nine)[1] == 1.0


def test_size_iou_is_that_of_boxes_at_a_common_center():
    np.testing.assert_allclose(size_iou(np.array([[4.0, 2.0]]), np.array([[2.0, 4.0], [4.0, 2.0]])), [[1 / 3, 1]])


@pytest.mark.parametrize("method", ["balanced", "inverse", "sqrt_inverse"])
def test_a_class_that_does_not_occur_changes_no_other_weight(method):
    with_absent = class_weights(np.array([5, 0, 1, 2]), method)
    without = class_weights(np.array([5, 1, 2]), method)
    np.testing.assert_allclose(with_absent[[0, 2, 3]], without)
    assert with_absent[1] == 1
    assert without.argsort().tolist() == [0, 2, 1]
    assert class_weights(np.zeros(3, np.int64), method).tolist() == [1, 1, 1]


def test_weights_are_held_between_a_tenth_and_ten():
    weights = class_weights(np.array([10**6, 1, *[10**6] * 40]), "balanced")
    assert (weights.min(), weights.max()) == (np.float32(0.1), 10)


def test_objects_are_counted_by_class():
    assert class_counts([np.array([0, 2, 2]), np.array([], np.int64)], 4).tolist() == [1, 0, 2, 0]
