"""Structural similarity."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as expected

from gradatim.vision.similarity import structural_similarity


@pytest.mark.parametrize(("window", "data_range"), [(7, 255), (3, 2)])
def test_it_is_scikit_images_for_each_picture_of_a_batch(window, data_range):
    first, second = np.random.default_rng(0).random((2, 3, 9, 12)) * data_range

    found = structural_similarity(torch.tensor(first), torch.tensor(second), data_range=data_range, window=window)

    pairs = zip(first, second, strict=True)
    each = [expected(*pair, data_range=data_range, win_size=window) for pair in pairs]
    assert found.tolist() == pytest.approx(each)
