"""Geometry of two prints: motions are found among wrong matches, hold for the print as it is, and can be refused."""

import numpy as np
import pytest

from gradatim.systems.ifvit.alignment import Alignment, Search, align, aligned_mask, aligned_picture
from gradatim.systems.ifvit.fingers import PrintStyle, make_impression, make_master
from gradatim.systems.ifvit.fingers.impression import pixels
from gradatim.systems.ifvit.geometry import cell_points, estimate, finer_points, mutual_matches, possible, robust_motion
from gradatim.systems.ifvit.overlap import center_of, largest_area, overlap, patch, ridge_mask
from gradatim.systems.ifvit.warping import Warp, motion, moved, resampled, warped

SIZE = 64
TURN = motion((31.5, 31.5), degrees=30, scale=1.1, shift=(4, -3))


def random():
    return np.random.default_rng(0)


def smooth_picture():
    x, y = pixels(SIZE)[..., 0], pixels(SIZE)[..., 1]
    return (0.5 + 0.3 * np.sin(x / 7) * np.cos(y / 9) + 0.2 * np.sin((x + y) / 11)).astype(np.float32)


def test_a_positive_turn_is_against_the_clock_as_seen():
    np.testing.assert_allclose(moved(np.array([[10.0, 5.0]]), motion((5, 5), degrees=90)), [[5, 0]], atol=1e-12)


def test_a_picture_and_points_go_the_same_way():
    picture = smooth_picture()
    points = random().uniform(20, 44, (50, 2))
    for matrix in (motion((0, 0), shift=(3, 5)), TURN, TURN @ np.array([[1, 0.1, 0], [0, 1, 0], [1e-3, 0, 1]])):
        moved_picture = warped(picture, matrix)
        before, after = (
            resampled(one, where[None])[0] for one, where in ((picture, points), (moved_picture, moved(points, matrix)))
        )
        shown = ((moved(points, matrix) > 1) & (moved(points, matrix) < SIZE - 2)).all(axis=1)
        assert shown.sum() > 20
        np.testing.assert_allclose(after[shown], before[shown], atol=0.02)


def test_a_bent_picture_and_its_points_go_the_same_way():
    x, y = pixels(SIZE)[..., 0], pixels(SIZE)[..., 1]
    bend = np.stack([2 * np.sin(y / 12), 2 * np.cos(x / 10)], axis=-1).astype(np.float32)
    warp, picture = Warp(TURN, bend), smooth_picture()
    points = random().uniform(22, 42, (50, 2))
    before = resampled(picture, points[None])[0]
    after = resampled(warp.picture(picture, fill=0), warp(points)[None])[0]
    np.testing.assert_allclose(after, before, atol=0.02)


def test_beyond_the_border_is_the_fill():
    assert (warped(np.zeros((8, 8), np.float32), motion((0, 0), shift=(100, 0)), fill=0.7) == np.float32(0.7)).all()


def test_the_middle_of_a_cell_is_the_middle_of_its_pixels():
    assert cell_points(np.array([0, 5]), (2, 4), (16, 32)).tolist() == [[3.5, 3.5], [11.5, 11.5]]
    assert cell_points(np.array([0, 5]), (2, 4), (16, 32), corners=True).tolist() == [[0, 0], [8, 8]]


def test_cells_match_if_they_choose_one_another_above_the_threshold():
    scores = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.1], [0.0, 0.1, 0.3]])
    assert mutual_matches(scores, threshold=0.0).tolist() == [[0, 0], [2, 2]]
    assert mutual_matches(scores, threshold=0.5).tolist() == [[0, 0]]


def test_a_match_lies_between_cells_where_its_neighbors_match_too():
    truth = np.array([[21.0, 30.0], [33.5, 40.0]])
    places = cell_points(np.arange(64), (8, 8), (SIZE, SIZE))
    scores = np.exp(-((truth[:, None] - places) ** 2).sum(axis=-1) / (2 * 5**2))
    cells = np.stack([np.arange(2), scores.argmax(axis=1)], axis=1)
    assert np.abs(cell_points(cells[:, 1], (8, 8), (SIZE, SIZE)) - truth).max() > 3
    assert np.abs(finer_points(scores, cells, (8, 8), (SIZE, SIZE)) - truth).max() < 0.6
    # At the border a match has neighbors on one side only, and stays inside.
    corner = finer_points(np.full((1, 64), 0.1), np.array([[0, 0]]), (8, 8), (SIZE, SIZE))
    np.testing.assert_allclose(corner, [[7.5, 7.5]])


@pytest.mark.parametrize(
    ("model", "matrix"),
    [
        ("similarity", TURN),
        ("affine", TURN @ np.array([[1, 0.2, 0], [0, 0.9, 0], [0, 0, 1]])),
        ("homography", TURN @ np.array([[1, 0.2, 0], [0, 0.9, 0], [1e-3, 5e-4, 1]])),
    ],
)
def test_a_motion_is_found_among_wrong_matches(model, matrix):
    first = random().uniform(0, SIZE, (60, 2))
    second = moved(first, matrix)
    np.testing.assert_allclose(estimate(first, second, model), matrix, atol=1e-8)
    second += random().normal(0, 0.2, second.shape)
    second[:25] = random().uniform(0, SIZE, (25, 2))
    found = robust_motion(first, second, random(), model=model)
    assert found.inliers[25:].all()
    assert found.inliers[:25].sum() <= 3
    assert np.abs(moved(first, found.matrix) - moved(first, matrix)).max() < 1


def test_matches_without_a_motion_give_none():
    first, second = random().uniform(0, SIZE, (2, 30, 2))
    assert robust_motion(first, second, random(), least=12) is None
    assert robust_motion(first[:3], first[:3], random()) is None
    assert robust_motion(np.ones((9, 2)), second[:9], random()) is None


def test_a_motion_that_no_finger_makes_is_refused():
    first = random().uniform(0, SIZE, (30, 2))
    mirror = np.diag([-1.0, 1, 1])
    shrink = np.diag([0.1, 0.1, 1.0])
    assert robust_motion(first, moved(first, mirror), random(), model="affine") is None
    assert robust_motion(first, moved(first, shrink), random()) is None
    assert not possible(np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]]), first, 2)
    assert possible(TURN, first, 2)
    line = np.stack([np.arange(9.0), np.zeros(9)], axis=1)
    assert estimate(line, line, "affine") is None
    assert estimate(line, line, "homography") is None


def perfect_matcher(matrix, seen_at):
    """Scores of a matcher that knows the true motion, but sees it only where the first print is turned rightly."""

    def match(first, second):
        cells = np.arange(64)
        scores = np.zeros((64, 64))
        for angle in seen_at:
            turn = motion(((SIZE - 1) / 2,) * 2, degrees=angle)
            if np.allclose(first, warped(PICTURE, turn, fill=FILL), atol=1e-6):
                places = moved(cell_points(cells, (8, 8), (SIZE, SIZE)), matrix @ np.linalg.inv(turn))
                column, row = np.floor((places + 0.5) / 8).astype(int).T
                inside = (column >= 0) & (column < 8) & (row >= 0) & (row < 8)
                scores[cells[inside], (row * 8 + column)[inside]] = 0.9
        return scores

    return match


PICTURE = smooth_picture()
FILL = float(np.percentile(np.concatenate([PICTURE[0], PICTURE[-1], PICTURE[:, 0], PICTURE[:, -1]]), 75))


def test_the_turn_with_most_agreeing_matches_wins_and_the_motion_holds_for_the_print_as_it_is():
    truth = motion((31.5, 31.5), degrees=40, shift=(8, -8))
    found = align(PICTURE, warped(PICTURE, truth), perfect_matcher(truth, (40,)), Search(threshold=0.5))
    assert found.angle == 40
    points = np.array([[20.0, 20], [40, 30], [32, 45]])
    assert np.abs(moved(points, found.matrix) - moved(points, truth)).max() < 1e-6
    assert np.abs(moved(found.points[:, :2], truth) - found.points[:, 2:]).max() < 1e-6
    assert found.inliers > 30
    inner = np.zeros((SIZE, SIZE), bool)
    inner[24:40, 24:40] = True
    there = warped(PICTURE, truth)
    assert np.abs(aligned_picture(PICTURE, found) - there)[inner].max() < 0.1


def test_a_second_pass_looks_between_the_turns():
    truth = motion((31.5, 31.5), degrees=25)
    matcher = perfect_matcher(truth, (25, 20))
    assert align(PICTURE, PICTURE, matcher, Search(threshold=0.5, finer=())).angle == 20
    assert align(PICTURE, PICTURE, matcher, Search(threshold=0.5)).angle in (20, 25)


def test_no_agreement_is_no_alignment():
    assert align(PICTURE, PICTURE, lambda first, second: np.zeros((64, 64)), Search(threshold=0.5)) is None
    noise = random().random((64, 64))
    assert align(PICTURE, PICTURE, lambda first, second: noise, Search(threshold=0.5, tolerance=2, least=8)) is None


def test_two_prints_of_a_finger_lie_on_one_another_after_their_motion():
    master = make_master(0, 0, size=128)
    style = PrintStyle(plastic=False, noise=0, pressure=0)
    first, second = (make_impression(master, number, style) for number in (0, 1))
    matrix = second.skin.rigid @ np.linalg.inv(first.skin.rigid)
    alignment = Alignment(matrix, 0, np.zeros((0, 4)), 0)
    lying = aligned_picture(first.image.astype(np.float32) / 255, alignment)
    both = aligned_mask(first.mask, alignment) & second.mask
    assert both.sum() > 400
    assert np.corrcoef(lying[both], second.image[both])[0, 1] > 0.7


def test_the_mask_is_the_largest_area_with_edges():
    picture = np.zeros((80, 80), np.float32)
    picture[10:50:4, 10:50] = 1
    picture[70:74:2, 70:74] = 1
    mask = ridge_mask(picture, window=9)
    assert mask[15:45, 15:45].all()
    assert not mask[65:, 65:].any()
    for value in (0, 0.2, 128 / 255, 1, 200):
        assert not ridge_mask(np.full((40, 40), value, np.float32)).any()


def test_areas_touch_at_corners_and_wind_around():
    rows = ["#...#..", "#.#.#.#", "#.#.#.#", "#####..", ".....#."]
    mask = np.array([[sign == "#" for sign in row] for row in rows])
    expected = mask.copy()
    expected[1:3, 6] = False
    assert (largest_area(mask) == expected).all()
    assert not largest_area(np.zeros((3, 3), bool)).any()


def test_a_patch_beyond_the_border_is_filled():
    picture = np.arange(36, dtype=np.float32).reshape(6, 6)
    assert patch(picture, (3, 3), 4).tolist() == picture[1:5, 1:5].tolist()
    corner = patch(picture, (0, 0), 4, fill=-1)
    assert (corner[:2] == -1).all()
    assert corner[2:, 2:].tolist() == picture[:2, :2].tolist()
    assert (patch(picture, (50, 50), 4, fill=9) == 9).all()
    assert patch(picture, (5, 0), 3).tolist() == [[0, 0, 0], [4, 5, 0], [10, 11, 0]]


def test_the_center_of_nothing_is_the_pictures_middle():
    nothing = np.zeros((10, 20), bool)
    assert center_of(nothing) == (10, 5)
    one = nothing.copy()
    one[2:4, 5:8] = True
    assert center_of(overlap(one, ~nothing)) == (6, 2)
