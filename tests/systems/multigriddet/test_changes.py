"""Each change of a picture on its own: light, grid, mosaic, mixup."""

import colorsys

import numpy as np
import pytest

from gradatim.systems.multigriddet.example import Example, Keeping
from gradatim.systems.multigriddet.gridmask import draw_grid, masked
from gradatim.systems.multigriddet.light import grayed, relit
from gradatim.systems.multigriddet.mosaic import draw_share, mixup, mosaic
from gradatim.systems.multigriddet.views import mirrored, tilted, turned

SAME = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def colors(count=300, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (count // 10, 10, 3), dtype=np.uint8)
    picture[0, :4] = [[0, 0, 0], [255, 255, 255], [128, 128, 128], [255, 0, 0]]
    return picture


def example(size=(40, 60), boxes=((10, 5, 30, 25),), seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    boxes = np.array(boxes, float).reshape(-1, 4)
    return Example(picture, boxes, np.arange(len(boxes)), np.ones(len(boxes)))


def test_no_change_of_light_leaves_every_pixel():
    assert np.array_equal(relit(colors(), **SAME), colors())
    assert np.abs(relit(colors(), **{**SAME, "hue": 1.0}).astype(int) - colors()).max() <= 1


def test_saturation_and_hue_are_those_of_hsv():
    picture = colors()
    changed = relit(picture, **{**SAME, "saturation": 0.7, "hue": 0.1})
    for before, after in zip(picture.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = np.array(colorsys.hsv_to_rgb((h + 0.1) % 1, min(s * 0.7, 1), v)) * 255
        assert np.abs(after - expected).max() <= 1


def test_more_saturation_stops_at_full():
    changed = relit(np.array([[[200, 100, 90]]], np.uint8), **{**SAME, "saturation": 50.0})
    assert changed.min() == 0
    assert changed.max() == 200


def test_brightness_is_added_and_contrast_keeps_each_channels_mean():
    picture = np.random.default_rng(0).integers(100, 150, (20, 20, 3), dtype=np.uint8)
    assert np.abs(relit(picture, **{**SAME, "brightness": 0.2}) - (picture + 51.0)).max() <= 1
    strong = relit(picture, **{**SAME, "contrast": 1.5}).astype(float)
    np.testing.assert_allclose(strong.mean(axis=(0, 1)), picture.mean(axis=(0, 1)), atol=0.5)
    np.testing.assert_allclose(strong.std(axis=(0, 1)), 1.5 * picture.std(axis=(0, 1)), rtol=0.02)
    assert relit(picture, **{**SAME, "brightness": -1.0}).max() == 0


def test_gray_is_the_luminance_three_times():
    gray = grayed(colors())
    assert (gray[..., :1] == gray).all()
    assert gray[0, 3].tolist() == [76, 76, 76]


def test_mirroring_twice_and_four_quarter_turns_give_all_back():
    one = example(size=(48, 48), boxes=((10, 5, 30, 25), (0, 40, 7, 48)))
    for back in (
        mirrored(mirrored(one)),
        mirrored(mirrored(one, vertical=True), vertical=True),
        turned(turned(turned(turned(one, 1), 1), 1), 1),
        turned(turned(one, 1), 3),
        tilted(one, 0.0, Keeping()),
    ):
        assert np.array_equal(back.picture, one.picture)
        np.testing.assert_allclose(back.boxes, one.boxes, atol=1e-9)


def test_a_turn_of_an_oblong_input_shows_all_of_the_picture():
    one = example(size=(40, 60), boxes=((0, 0, 60, 40),))
    around = turned(one, 1)
    assert around.size == (40, 60)
    # 60 x 40 becomes 40 x 26 in the middle.
    np.testing.assert_allclose(around.boxes, [[17, 0, 43, 40]])


def test_a_tilt_by_a_quarter_is_a_quarter_turn():
    one = example(size=(48, 48))
    by_tilt, by_turn = tilted(one, 90.0, Keeping()), turned(one, 1)
    np.testing.assert_allclose(by_tilt.boxes, by_turn.boxes, atol=1e-9)
    assert np.array_equal(by_tilt.picture, by_turn.picture)


def test_a_grid_has_bands_in_both_directions_and_hides_about_a_quarter():
    hidden = []
    for seed in range(40):
        visible = draw_grid((96, 128), pitch=(1 / 7, 1 / 3), band=0.5, turn=0, random=np.random.default_rng(seed))
        assert visible.shape == (96, 128)
        assert visible.all(axis=1).any()
        assert visible.all(axis=0).any()
        assert not visible.all()
        hidden.append(1 - visible.mean())
    assert 0.2 < np.mean(hidden) < 0.32


def test_a_turned_grid_covers_the_corners_too():
    random = np.random.default_rng(0)
    grids = [draw_grid((64, 96), pitch=(1 / 7, 1 / 3), band=0.5, turn=360, random=random) for _ in range(40)]
    corners = np.array([[g[0, 0], g[0, -1], g[-1, 0], g[-1, -1]] for g in grids])
    assert (corners.mean(axis=0) > 0.5).all()
    assert sum(not g.all(axis=1).any() for g in grids) > 20


def test_a_grid_drops_what_it_hides_and_keeps_what_is_visible():
    visible = np.zeros((40, 60), bool)
    visible[:, :20] = True
    one = example(boxes=((0, 0, 20, 40), (20, 0, 60, 40), (14, 10, 34, 30), (13, 10, 33, 30)))
    result = masked(one, visible, 0.3)
    # Visible: all, nothing, 6 of 20 columns, 7 of 20 columns.
    assert result.classes.tolist() == [0, 3]
    assert np.array_equal(result.picture[:, :20], one.picture[:, :20])
    assert not result.picture[:, 20:].any()


def test_quarters_of_a_mosaic_come_from_their_own_places():
    four = [example(seed=seed) for seed in range(4)]
    whole = mosaic(four, (25, 15), Keeping(), least_side=0).picture
    for number, (rows, columns) in enumerate(
        [(slice(0, 15), slice(0, 25)), (slice(15, 40), slice(0, 25)), (slice(15, 40), slice(25, 60)),
         (slice(0, 15), slice(25, 60))]
    ):  # fmt: skip
        assert np.array_equal(whole[rows, columns], four[number].picture[rows, columns])


def test_a_mosaic_drops_slivers_that_it_cuts_but_no_small_object_that_it_shows_whole():
    first = example(boxes=((2, 2, 6, 6), (20, 2, 40, 12), (5, 5, 40, 12), (24, 3, 58, 14)))
    empty = example(boxes=())
    result = mosaic([first, empty, empty, empty], (25, 15), Keeping(side=1, share=0.1), least_side=6)
    assert result.classes.tolist() == [0, 2]
    np.testing.assert_array_equal(result.boxes, [[2, 2, 6, 6], [5, 5, 25, 12]])
    assert result.left.tolist() == [1, 20 / 35]


def test_shares_of_a_box_are_counted_over_all_cuts():
    one = example(boxes=((0, 0, 40, 40),))
    half = one.cut((0, 0, 20, 40), Keeping(share=0.3))
    assert half.left.tolist() == [0.5]
    assert len(half.cut((0, 0, 13, 40), Keeping(share=0.3)).boxes) == 1
    assert len(half.cut((0, 0, 11, 40), Keeping(share=0.3)).boxes) == 0


def test_mixup_has_the_objects_of_both_and_their_weighted_mean():
    a, b = example(boxes=((1, 1, 9, 9),), seed=1), example(boxes=((2, 2, 20, 20), (3, 3, 30, 30)), seed=2)
    both = mixup(a, b, 0.25, least=0.1)
    assert np.abs(both.picture - (0.25 * a.picture + 0.75 * b.picture)).max() <= 0.5
    assert both.boxes.tolist() == [*a.boxes.tolist(), *b.boxes.tolist()]
    assert mixup(a, b, 0.05, least=0.1).boxes.tolist() == b.boxes.tolist()


@pytest.mark.parametrize(("alpha", "spread"), [(0.2, (0.38, 0.45)), (1.0, (0.27, 0.31)), (50.0, (0.03, 0.07))])
def test_shares_of_a_mixture_follow_the_beta_distribution(alpha, spread):
    random = np.random.default_rng(0)
    shares = np.array([draw_share(alpha, 0.0, random) for _ in range(2000)])
    assert spread[0] < shares.std() < spread[1]
    clipped = np.array([draw_share(alpha, 0.2, random) for _ in range(500)])
    assert clipped.min() >= 0.2
    assert clipped.max() <= 0.8
