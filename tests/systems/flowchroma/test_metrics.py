"""Metrics of colored frames."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gradatim.errors import DataError
from gradatim.systems.flowchroma.metrics import color_distribution_consistency, psnr, ssim


def frames(count, side=12):
    return np.random.default_rng(0).integers(0, 256, (count, side, side + 2, 3), np.uint8)


def test_similarity_and_noise_are_scikit_images():
    frame, target = frames(2)

    assert ssim(frame, target) == pytest.approx(structural_similarity(target, frame, channel_axis=2, data_range=255))
    assert psnr(frame, target) == pytest.approx(peak_signal_noise_ratio(target, frame, data_range=255))


def test_equal_frames_are_as_good_as_can_be():
    (frame,) = frames(1)

    assert ssim(frame, frame) == pytest.approx(1)
    assert psnr(frame, frame) == math.inf
    assert color_distribution_consistency([frame] * 5) == 0


def test_colors_that_move_change_no_histogram_and_others_change_it_wholly():
    (frame,) = frames(1)
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((5, 5, 3), 255, np.uint8)

    assert color_distribution_consistency([np.roll(frame, n, axis=1) for n in range(5)]) == pytest.approx(0)
    assert color_distribution_consistency([black, white, black], dilations=[1]) == pytest.approx(math.log(2))


def test_what_cannot_be_compared_is_told():
    frame, target = frames(2)
    with pytest.raises(DataError, match="both must have one size"):
        psnr(frame, target[1:])
    with pytest.raises(DataError, match="at least 7 x 7"):
        ssim(frame[:6], target[:6])
    with pytest.raises(DataError, match=r"4 frame\(s\), CDC over 4 frames needs 5"):
        color_distribution_consistency(list(frames(4)))
