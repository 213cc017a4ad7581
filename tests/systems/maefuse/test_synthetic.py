"""Synthetic scenes: repeatable, registered, and each picture with something that the other lacks."""

import numpy as np
from PIL import Image

from gradatim.data.image import luminance
from gradatim.systems.maefuse.data import PairSettings, open_pairs
from gradatim.systems.maefuse.metrics import measure
from gradatim.systems.maefuse.synthetic import LIGHTS, make_scene, write_scenes

SIZE = (64, 88)


def test_a_scene_is_the_same_for_the_same_seed_only():
    first, again, other = (make_scene(SIZE, seed) for seed in (3, 3, 3 + len(LIGHTS)))
    for one, two, three in zip(first, again, other, strict=True):
        assert one.shape[:2] == SIZE
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, two)
        assert (one != three).mean() > 0.3


def test_both_pictures_show_what_the_other_lacks():
    gains, scenes = [], 2 * len(LIGHTS)
    for seed in range(scenes):
        visible, infrared = make_scene(SIZE, seed)
        assert visible.std(axis=(0, 1)).min() > 5
        assert np.ptp(infrared) > 150
        gray = luminance(visible)
        correlation = np.corrcoef(gray.ravel(), infrared.ravel())[0, 1]
        assert abs(correlation) < 0.9
        gains.append(measure(gray, gray, infrared)["SF"] / measure(infrared, gray, infrared)["SF"])
    assert np.mean(gains) > 1.3


def test_scenes_lie_on_disk_as_pairs_that_open(tmp_path):
    names = write_scenes(tmp_path / "new" / "set", 3, size=SIZE, seed=5)
    dataset = open_pairs(PairSettings(root=tmp_path / "new" / "set", holdout=0), "train")
    assert [dataset.name(index) for index in range(len(dataset))] == names
    assert dataset.sample(0, ("visible",), None)["visible"].shape == (3, *SIZE)
    with Image.open(tmp_path / "new" / "set" / "vi" / f"{names[1]}.png") as image:
        np.testing.assert_array_equal(np.asarray(image), make_scene(SIZE, 6)[0])
