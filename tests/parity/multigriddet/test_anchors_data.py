"""Weights of classes, from the original's annotation text on, beside the original's."""

import json

import numpy as np
import pytest

from annotated import picture
from gradatim.systems.multigriddet.anchors import class_counts, class_weights
from gradatim.systems.multigriddet.annotations import read_annotations
from gradatim.systems.multigriddet.formats.entry import Wanted

pytestmark = pytest.mark.parity


def test_weights_of_classes_are_the_originals(parity_root, tmp_path):
    case = json.loads((parity_root / "multigriddet" / "misc.json").read_text())
    text = case["class_weights_annotation"]
    (tmp_path / "list.txt").write_text(text)
    for line in text.splitlines():
        picture(tmp_path / line.split()[0])
    compared = 0
    for name, classes in (("class_weights", case["num_classes"]), ("class_weights_three_classes_all_present", 3)):
        names = tuple(f"c{i}" for i in range(classes))
        found = read_annotations(Wanted(root=tmp_path / "list.txt", classes=names))
        counts = class_counts((one.classes for one in found.images), classes)
        assert set(case[name]) == {"balanced", "inverse", "sqrt_inverse"}
        for method, expected in case[name].items():
            np.testing.assert_allclose(class_weights(counts, method, absent="original"), expected, rtol=1e-6)
            if (counts > 0).all():
                np.testing.assert_allclose(class_weights(counts, method), expected, rtol=1e-6)
            compared += 1
    assert compared == 6
