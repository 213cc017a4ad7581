"""Prints registered by dense matching, and the pairs of a data set."""

import numpy as np
import pytest

from gradatim.systems.ifvit.aligning import pairs_to_align
from gradatim.systems.ifvit.alignment import settled
from gradatim.systems.ifvit.sources import FingersSettings, drawn_prints
from gradatim.systems.ifvit.warping import motion, moved, warped


@pytest.fixture(scope="module")
def source():
    return drawn_prints(FingersSettings(fingers=3, impressions=3), 64, training=True, memory=64)


def test_pairs_are_all_of_one_finger_and_a_share_of_two(source):
    pairs = pairs_to_align(source, imposters=0.5)

    genuine = [pair for pair in pairs if pair.genuine]
    assert len(genuine) == 9
    assert 0 < len(pairs) - len(genuine) <= 9
    assert len(set(pairs)) == len(pairs)
    assert pairs == pairs_to_align(source, imposters=0.5)
    assert pairs_to_align(source, imposters=0.0) == genuine


@pytest.mark.parametrize("wrong", [(3, -4, 2.0), (-6, 5, -3.0), (0, 0, 0.0)], ids=str)
def test_a_rough_motion_settles_on_the_ridges(source, wrong):
    x, y, degrees = wrong
    first, mask, middle = source.picture(0), source.mask(0), (31.5, 31.5)
    true = motion(middle, degrees=8.0, shift=(4, -3))
    second, other = warped(first, true, fill=0.9), warped(mask.astype(np.float32), true) > 0.5
    rough = motion(middle, degrees=degrees, shift=(x, y)) @ true

    found, likeness = settled(first, second, (mask, other), rough, reach=12)

    places = np.stack([axis[mask] for axis in np.meshgrid(np.arange(64.0), np.arange(64.0))], axis=-1)
    off = np.linalg.norm(moved(places, found) - moved(places, true), axis=1)
    assert off.mean() < 1.5
    assert likeness > 0.7


def test_prints_of_two_fingers_are_less_alike_wherever_they_lie(source):
    masks = source.mask(0), source.mask(3)
    _, own = settled(source.picture(0), source.picture(0), (masks[0], masks[0]), np.eye(3), reach=6)
    _, other = settled(source.picture(0), source.picture(3), masks, np.eye(3), reach=6)

    assert own > 0.99
    assert other < 0.5
