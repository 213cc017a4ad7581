"""LAB as the networks take it, and the ways between it and RGB."""

import sys

import numpy as np
import pytest
import torch

from gradatim.errors import MissingExtraError
from gradatim.systems.flowchroma.color import lab_of_values, levels_of_lab, normalized, restored, rgb_of_lab


def test_restoring_undoes_normalizing_and_can_leave_the_colors():
    lab = torch.tensor([75.0, 127.0, -63.5])[:, None, None]

    assert normalized(lab).flatten().tolist() == [0.5, 1.0, -0.5]
    assert torch.equal(restored(normalized(lab)), lab)
    assert restored(normalized(lab), ab=False).flatten().tolist() == [75.0, 1.0, -0.5]


def test_a_picture_comes_back_from_lab_with_and_without_opencv():
    pytest.importorskip("cv2")
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    lab = lab_of_values(picture)

    back = rgb_of_lab(restored(lab)).permute(1, 2, 0).numpy() * 255
    assert np.abs(back - picture).max() < 0.5
    # Whole numbers of L, a and b are coarser than those of RGB.
    assert np.abs(levels_of_lab(lab).astype(int) - picture).mean() < 4


def test_colors_that_no_screen_shows_have_finite_gradients_and_clipped_ones_none():
    lab = torch.tensor([[0.0, 0, 0], [5, 0, 127], [100, 127, 127], [-20, 0, 0]]).T[None, :, :, None].requires_grad_()

    rgb = rgb_of_lab(lab)
    rgb.sum().backward()

    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert lab.grad.isfinite().all()
    assert lab.grad[0, :, 3].abs().sum() == 0


def test_lab_in_16_bits_is_computed_in_32():
    assert rgb_of_lab(torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_without_opencv_it_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match="LAB of pixels needs 'cv2'"):
        lab_of_values(np.zeros((2, 2, 3), np.uint8))
