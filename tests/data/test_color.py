"""Conversions between RGB, luminance and chroma."""

import numpy as np
import torch

from gradatim.data.color import exchange_luminance, luminance, pillow_rgb, pillow_ycbcr, rgb_to_ycbcr, ycbcr_to_rgb

COLOR = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)


def test_ycbcr_and_back_is_the_identity_and_gray_has_chroma_one_half():
    image = torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(image)), image)
    gray = rgb_to_ycbcr(torch.full((3, 2, 2), 0.3, dtype=torch.float64))
    torch.testing.assert_close(gray[:, 0, 0], torch.tensor([0.3, 0.5, 0.5], dtype=torch.float64))


def test_exchanged_luminance_leaves_chroma_alone():
    picture = (COLOR // 2 + 64).astype(np.uint8)
    old = picture @ np.array([0.299, 0.587, 0.114])
    new = exchange_luminance(picture, old + 20)
    np.testing.assert_array_equal(new, picture + 20)
    np.testing.assert_array_equal(exchange_luminance(COLOR, COLOR @ np.array([0.299, 0.587, 0.114])), COLOR)


def test_colors_that_leave_the_range_are_clipped():
    assert (exchange_luminance(COLOR, np.full(COLOR.shape[:2], 1000.0)) == 255).all()


def test_pillows_luminance_is_cut_down_where_ours_is_exact():
    theirs = pillow_ycbcr(COLOR)[:, :, 0].astype(float)
    ours = luminance(torch.from_numpy(COLOR).permute(2, 0, 1).double())[0].numpy()
    assert (theirs <= ours + 1e-3).all()
    assert (ours - theirs).max() < 1.01
    assert np.abs(pillow_rgb(pillow_ycbcr(COLOR)).astype(int) - COLOR).max() <= 3
