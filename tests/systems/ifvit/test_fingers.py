"""Fingers that do not exist: singular points where asked for, ridges as stated, maps that hold, the same bytes."""

from functools import cache

import numpy as np
import pytest

from gradatim.systems.ifvit.fingers import PATTERNS, PrintStyle, make_impression, make_master, poincare_index
from gradatim.systems.ifvit.fingers.impression import pixels, sampled
from gradatim.systems.ifvit.fingers.noise import blurred, gradient_noise
from gradatim.systems.ifvit.fingers.orientation import draw_pattern

SIZE = 128


@cache
def master(finger, pattern=None, size=SIZE):
    return make_master(3, finger, size=size, pattern=pattern)


@cache
def impression(finger, number, **style):
    return make_impression(master(finger), number, PrintStyle(**style))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_orientation_turns_around_the_cores_and_deltas_and_nowhere_else(pattern):
    counts = {"arch": 0, "tented_arch": 1, "left_loop": 1, "right_loop": 1, "whorl": 2, "twin_loop": 2}
    for finger in range(4):
        print_ = master(finger, pattern)
        index = poincare_index(print_.theta)
        singular = print_.singularities
        assert len(singular.cores) == len(singular.deltas) == counts[pattern]
        for sign, places in ((1, singular.cores), (-1, singular.deltas)):
            found = np.argwhere(index == sign)[:, ::-1] + 0.5
            assert len(found) == len(places)
            for place in places:
                assert np.abs(found - place).max(axis=1).min() <= 1
        assert set(np.unique(index)) <= {-1, 0, 1}


def structure_orientation(image, sigma):
    """Direction of ridges from the gradients' structure tensor, radians modulo pi."""
    down, right = np.gradient(image.astype(np.float64))
    xx, yy, xy = (blurred(part, sigma) for part in (right * right, down * down, right * down))
    return np.mod(np.arctan2(2 * xy, xx - yy) / 2 + np.pi / 2, np.pi)


def test_ridges_run_along_the_stated_orientation():
    medians = []
    for finger in range(4):
        for number in range(2):
            print_ = impression(finger, number)
            theta, _ = print_.orientation(master(finger))
            found = structure_orientation(print_.image, 4)
            away = np.abs(np.mod(found - theta + np.pi / 2, np.pi) - np.pi / 2)
            medians.append(np.degrees(np.median(away[print_.mask])))
    assert max(medians) < 6


def test_ridges_stand_at_the_stated_distance():
    errors = []
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    band = (radius > 0.1) & (radius < 0.25)
    window = np.hanning(SIZE)[:, None] * np.hanning(SIZE)
    for finger in range(4):
        print_ = impression(finger, 0)
        _, period = print_.orientation(master(finger))
        image = np.where(print_.mask, print_.image - print_.image[print_.mask].mean(), 0) * window
        power = np.abs(np.fft.fft2(image, (256, 256)))[band] ** 2
        # Distances differ over a print, so it has many peaks; their common middle is compared.
        found = power.sum() / (power * radius[band]).sum()
        errors.append(abs(found / np.median(period[print_.mask]) - 1))
    assert max(errors) < 0.1


def agreement(first, second):
    """Correlation of two prints' ridges where both touch, on the master's pixels."""
    places = pixels(master(0).side)
    seen, values = [], []
    for print_ in (first, second):
        where = print_.skin(places)
        inside = ((where >= 2) & (where <= SIZE - 3)).all(axis=-1)
        values.append(sampled(print_.image.astype(np.float32), where))
        seen.append(inside & (sampled(print_.mask.astype(np.float32), where) > 0.99))
    both = seen[0] & seen[1]
    assert both.sum() > 500
    return np.corrcoef(values[0][both], values[1][both])[0, 1]


def test_two_prints_of_a_finger_agree_where_both_touch_and_prints_of_two_do_not():
    same = [agreement(*(impression(finger, n, noise=0, pressure=0) for n in (0, 1))) for finger in range(4)]
    inked = [agreement(*(impression(finger, n) for n in (0, 1))) for finger in range(4)]
    other = [abs(agreement(impression(finger, 0), impression(finger + 1, 0))) for finger in range(4)]
    assert min(same) > 0.8
    assert min(inked) > 0.5
    assert max(other) < 0.3


def test_the_map_and_its_inverse_cancel_out():
    for number in range(8):
        print_ = impression(1, number)
        places = pixels(SIZE)
        assert np.abs(print_.skin(print_.skin.inverse(places)) - places).max() < 0.05


def test_skin_does_not_fold():
    for number in range(8):
        origins = impression(1, number).origins()
        right, down = np.diff(origins, axis=1)[:-1], np.diff(origins, axis=0)[:, :-1]
        assert (right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]).min() > 0.1


def test_a_print_without_plasticity_is_moved_by_a_matrix():
    skin = impression(0, 2, plastic=False, rotation=60).skin
    points = np.random.default_rng(0).uniform(0, SIZE, (5, 2))
    homogeneous = np.concatenate([points, np.ones((5, 1))], axis=1) @ skin.rigid.T
    np.testing.assert_allclose(homogeneous[:, :2], skin(points), atol=1e-9)
    assert impression(0, 2).skin.rigid is None


def test_a_print_depends_on_seed_finger_and_number_only():
    first, again = (make_impression(make_master(5, 2, size=64), 3) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes()
    assert (first.mask == again.mask).all()
    others = [
        make_impression(make_master(5, 2, size=64), 4),
        make_impression(make_master(5, 3, size=64), 3),
        make_impression(make_master(6, 2, size=64), 3),
    ]
    assert all((other.image != first.image).any() for other in others)


def test_ridges_are_dark_and_the_ground_is_light():
    for finger in range(4):
        print_ = impression(finger, 0, noise=0)
        ridges = sampled(master(finger).ridges, print_.origins())
        inside = print_.mask
        dark, light = print_.image[inside & (ridges > 0.5)].mean(), print_.image[inside & (ridges < -0.5)].mean()
        assert dark < light - 40
        assert print_.image[~inside].mean() > light - 25
        assert 0.25 < inside.mean() < 0.85


def test_patterns_occur_by_their_shares():
    random = np.random.default_rng(0)
    drawn = [draw_pattern(random) for _ in range(2000)]
    assert sum(PATTERNS.values()) == pytest.approx(1)
    for pattern, share in PATTERNS.items():
        assert abs(drawn.count(pattern) / 2000 - share) < 0.03


def test_gradient_noise_is_smooth_and_without_mean():
    noise = gradient_noise(60, 90, 10, np.random.default_rng(0))
    assert noise.shape == (60, 90)
    assert abs(noise.mean()) < 0.1
    assert 0.15 < noise.std() < 0.5
    assert np.abs(np.diff(noise, axis=0)).max() < 0.3
    assert np.abs(noise[::10, ::10]).max() < 1e-6
