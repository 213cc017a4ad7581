"""Worse copies of prints: ridges change the right way, points stay on the print, and everything is drawn anew."""

from functools import cache

import numpy as np
import pytest

from gradatim.systems.ifvit.corruption import (
    Corruption,
    corrupted,
    inside,
    original_noise,
    original_points,
    spread_points,
    thinned,
    widened,
    within,
)
from gradatim.systems.ifvit.fingers import PrintStyle, make_impression, make_master
from gradatim.systems.ifvit.prints import background
from gradatim.systems.ifvit.warping import resampled

STILL = {"rotation": 0, "translation": 0, "scale": 0, "elastic": 0}


@cache
def example():
    drawn = make_impression(make_master(1, 0, size=96), 0, PrintStyle(noise=0))
    return drawn.image.astype(np.float32) / 255, drawn.mask


def draw(seed, **settings):
    return corrupted(*example(), Corruption(**settings), np.random.default_rng(seed))


def test_dark_ridges_become_wider_or_thinner():
    picture, mask = example()
    assert widened(picture)[mask].mean() < picture[mask].mean() < thinned(picture)[mask].mean()


def test_light_ridges_are_pressed_like_dark_ones():
    picture, mask = example()
    for seed in range(12):
        dark = corrupted(picture, mask, Corruption(noise=0, **STILL), np.random.default_rng(seed)).picture
        light = corrupted(1 - picture, mask, Corruption(noise=0, **STILL), np.random.default_rng(seed)).picture
        np.testing.assert_allclose(light, 1 - dark, atol=1e-6)


def test_all_three_kinds_occur_and_none_leaves_the_range():
    picture, mask = example()
    changes = [draw(seed, pressure=1, **STILL).picture - picture for seed in range(24)]
    darker = sum(change[mask].mean() < -0.02 for change in changes)
    lighter = sum(change[mask].mean() > 0.02 for change in changes)
    assert darker >= 3
    assert lighter >= 3
    assert 24 - darker - lighter >= 3
    noisy = np.stack([draw(seed, noise=1).picture for seed in range(6)])
    assert noisy.min() >= 0
    assert noisy.max() <= 1


@pytest.mark.parametrize("elastic", [0, 0.01])
def test_a_point_of_the_print_shows_the_same_in_the_copy(elastic):
    picture, mask = example()
    for seed in range(4):
        copy = draw(seed, noise=0, pressure=0, elastic=elastic)
        points = spread_points(mask, np.random.default_rng(0))
        there = copy.warp(points)
        kept = inside(there, copy.mask)
        assert kept.mean() > 0.5
        values = resampled(picture, points[None])[0], resampled(copy.picture, there[None])[0]
        assert np.corrcoef(values[0][kept], values[1][kept])[0, 1] > 0.9


def test_what_comes_from_beyond_the_border_is_the_prints_ground():
    picture, _ = example()
    copy = draw(3, noise=0, pressure=0)
    corners = copy.picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.abs(corners - background(picture)).max() < 0.2


def test_a_copy_depends_on_its_random_source_only():
    assert (draw(5).picture == draw(5).picture).all()
    assert (draw(5).picture != draw(6).picture).any()
    assert (draw(5).warp.matrix != draw(6).warp.matrix).any()


def test_the_first_points_are_spread_over_the_print():
    _, mask = example()
    points = spread_points(mask, np.random.default_rng(0))
    assert len(points) == mask.sum()
    assert len(np.unique(points, axis=0)) == len(points)
    cells = len(np.unique(np.argwhere(mask) // 8, axis=0))
    assert len(np.unique(points[:cells] // 8, axis=0)) == cells
    some = points[: cells // 2]
    center = np.argwhere(mask)[:, ::-1].mean(axis=0)
    assert np.abs(some.mean(axis=0) - center).max() < 12


def test_a_point_is_on_a_mask_if_its_nearest_pixel_is():
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = True
    points = np.array([[2.4, 1.4], [2.6, 1.0], [-0.4, 0], [5.6, 1], [2, 9]])
    assert inside(points, mask).tolist() == [True, False, False, False, False]
    assert within(points, (4, 6)).tolist() == [True, True, False, True, False]


def test_the_published_corruption_turns_only_and_draws_whole_pixels():
    copy = draw(0, original=True, elastic=0.01)
    assert copy.warp.bend is None
    np.testing.assert_allclose(np.linalg.det(copy.warp.matrix[:2, :2]), 1)
    np.testing.assert_allclose(copy.warp(np.array([[48.0, 48.0]])), [[48, 48]], atol=1e-9)
    points = original_points(500, (20, 30), np.random.default_rng(0))
    assert points.shape == (500, 2)
    assert (points == points.round()).all()
    assert (points.min(axis=0).tolist(), points.max(axis=0).tolist()) == ([0, 0], [29, 19])


def test_the_published_noise_is_scaled_by_its_peak_and_nearly_white():
    noise = original_noise((96, 96), np.random.default_rng(0))
    assert np.abs(noise).max() == 1
    flat = noise - noise.mean()
    assert 0 < (flat[:, 1:] * flat[:, :-1]).mean() / flat.var() < 0.4
