"""Ridges made clear: those that were there, in their places, on drawn prints and on real ones."""

import numpy as np
import pytest
from PIL import Image

from gradatim.systems.ifvit.enhancement import enhanced, ridge_distance, ridge_orientation, ridge_period
from gradatim.systems.ifvit.fingers import make_impression, make_master
from gradatim.systems.ifvit.fingers.impression import sampled
from gradatim.systems.ifvit.prints import read_print


def waves(period, degrees, side=64):
    y, x = np.mgrid[:side, :side]
    angle = np.radians(degrees)
    return np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period).astype(np.float32)


def test_the_direction_of_waves_is_found():
    for degrees in (0, 30, 90, 150):
        theta = ridge_orientation(waves(7, degrees), 5)[16:48, 16:48]
        away = np.mod(theta - np.radians(degrees) + np.pi / 2, np.pi) - np.pi / 2
        assert np.degrees(np.abs(away)).max() < 2


def test_the_distance_of_waves_is_found():
    for period in (6.0, 9.0):
        for degrees in (0, 40):
            found = ridge_period(waves(period, degrees), np.ones((64, 64), bool), 6)
            assert abs(np.median(found) / period - 1) < 0.1


@pytest.mark.parametrize("period", [4.0, 7.0, 11.0, 18.0])
def test_the_usual_distance_of_waves_is_found_at_any_scale(period):
    for degrees in (0, 30, 75):
        whole = (waves(period, degrees, side=160) + 1) / 2
        assert ridge_distance(whole, np.ones(whole.shape, bool)) == pytest.approx(period, rel=0.05)


def test_a_print_of_another_size_has_ridges_so_much_farther_apart():
    drawn = make_impression(make_master(3, 0, size=256), 0)
    base = ridge_distance(drawn.image / 255, drawn.mask)
    for factor in (0.5, 0.75, 1.5):
        side = round(256 * factor)
        image, mask = (
            np.asarray(Image.fromarray(np.uint8(x)).resize((side, side), Image.Resampling.BILINEAR))
            for x in (drawn.image, drawn.mask * 255)
        )
        assert ridge_distance(image / np.float32(255), mask > 127) == pytest.approx(base * factor, rel=0.1)


def test_ridges_of_a_print_are_where_the_finger_has_them():
    for finger in range(3):
        master = make_master(2, finger, size=128)
        drawn = make_impression(master, 0)
        truth = sampled(master.ridges, drawn.origins())
        clear = enhanced(drawn.image.astype(np.float32) / 255, drawn.mask)
        assert clear.shape == (128, 128)
        assert clear.dtype == np.float32
        assert (clear[~drawn.mask] == 1).all()
        raw = np.corrcoef(drawn.image[drawn.mask], truth[drawn.mask])[0, 1]
        ours = np.corrcoef(clear[drawn.mask], truth[drawn.mask])[0, 1]
        # Ridges are dark, so both are below 0.
        assert ours < -0.88
        assert ours < raw - 0.03


def test_a_picture_without_ridges_is_empty():
    assert (enhanced(np.full((40, 40), 0.5, np.float32)) == 1).all()


def test_real_prints_get_clear_ridges(data_root):
    picture = read_print(data_root / "fingerprint" / "101_2.tif")[80:240, 80:240]
    clear = enhanced(picture, np.ones_like(picture, dtype=bool))
    inner = (slice(16, -16),) * 2
    # Nearly all is ridge or valley, and the ridges are those of the print.
    assert (np.abs(clear - 0.5) > 0.25)[inner].mean() > 0.7
    assert np.corrcoef(clear[inner].ravel(), picture[inner].ravel())[0, 1] > 0.5
