import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from gradatim.systems.maefuse.losses import (
    LOSSES,
    edges,
    fused_mean,
    gradient,
    gray_levels,
    intensity,
    laplacian,
    laplacian_response,
    masked_reconstruction,
    pattern_mean,
    reconstruction,
    structure,
)
from gradatim.vision.normalization import to_imagenet
from gradatim.vision.patches import patchify


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(*shape):
    return torch.rand(3, *shape)


def test_the_mean_losses_measure_the_distance_to_the_mean_and_reach_no_target():
    tokens, visible, infrared = torch.randn(3, 2, 4, 8).requires_grad_()

    loss = pattern_mean(tokens, visible, infrared)

    torch.testing.assert_close(loss, ((tokens - (visible + infrared) / 2) ** 2).mean())
    assert torch.equal(loss, fused_mean(tokens, visible, infrared))
    assert torch.autograd.grad(loss, (visible, infrared), allow_unused=True) == (None, None)


@pytest.mark.parametrize("name", ["gradient", "laplacian", "intensity", "structure"])
def test_pixel_losses_are_zero_when_all_images_are_one(name):
    image = torch.rand(2, 3, 8, 9)

    assert abs(LOSSES[name](image, image, image)) < 1e-6


def test_edges_are_seen_where_levels_step_and_with_zeros_beyond_the_border_there_too():
    step = torch.zeros(1, 1, 4, 6)
    step[..., 3:] = 10

    assert edges(step)[0, 0, 1].tolist() == [0, 0, 40, 40, 0, 40]
    assert edges(step, "reflect")[0, 0, 1].tolist() == [0, 0, 40, 40, 0, 0]


def test_a_brighter_copy_costs_nothing_but_at_a_border_of_zeros():
    visible = 0.5 * torch.rand(1, 3, 8, 8)
    brighter = visible + 0.2

    for loss in (gradient, laplacian):
        assert loss(brighter, visible, visible, padding="zero") > 1
        assert loss(brighter, visible, visible, padding="reflect") < 1e-3


def test_the_signed_laplacian_lets_a_thin_bright_detail_go_and_the_absolute_one_keeps_it():
    flat = torch.full((1, 3, 7, 7), 0.2)
    detail = flat.clone()
    detail[..., 3, 3] = 0.9

    assert laplacian_response(gray_levels(detail))[0, 0, 3, 3] < 0
    assert laplacian(detail, detail, flat) > 1
    assert laplacian(detail, detail, flat, select="absolute") == 0


def test_intensity_counts_gray_levels_to_the_brighter_source():
    visible, infrared = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
    white = 255 * 0.9999

    torch.testing.assert_close(intensity(visible, visible, infrared), torch.tensor(0.5 * white))


def test_structure_is_one_minus_scikit_images_similarity_on_gray_levels():
    fused, visible, infrared = images(2, 3, 16, 13)

    def similarity(first, second):
        a, b = gray_levels(first), gray_levels(second)
        pairs = zip(a[:, 0].double().numpy(), b[:, 0].double().numpy(), strict=True)
        return np.mean([structural_similarity(x, y, data_range=255) for x, y in pairs])

    expected = 1 - (similarity(fused, visible) + similarity(fused, infrared)) / 2

    assert abs(float(structure(fused, visible, infrared)) - expected) < 1e-5


def test_reconstruction_compares_patches_in_imagenet_units():
    image, patches = torch.rand(2, 3, 8, 12), torch.randn(2, 6, 48)

    target = patchify(to_imagenet(image), 4)
    whitened = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()

    torch.testing.assert_close(reconstruction(patches, image), ((patches - target) ** 2).mean())
    torch.testing.assert_close(
        reconstruction(patches, image, normalize_patches=True), ((patches - whitened) ** 2).mean()
    )


def test_masked_reconstruction_counts_hidden_patches_only():
    image, patches = torch.rand(2, 3, 8, 12), torch.randn(2, 6, 48)
    hidden = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]], dtype=torch.bool)
    other = torch.where(hidden[..., None], patches, torch.randn(2, 6, 48))

    loss = masked_reconstruction(patches, image, hidden)

    torch.testing.assert_close(loss, ((patches - patchify(to_imagenet(image), 4)) ** 2)[hidden].mean())
    torch.testing.assert_close(loss, masked_reconstruction(other, image, hidden))
    everything = torch.ones_like(hidden)
    torch.testing.assert_close(masked_reconstruction(patches, image, everything), reconstruction(patches, image))


@pytest.mark.parametrize("name", ["gradient", "laplacian", "intensity", "structure"])
def test_pixel_losses_keep_float32_under_autocast(name):
    fused, visible, infrared = images(1, 3, 8, 8)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = LOSSES[name](fused, visible, infrared)

    assert loss.dtype == torch.float32
    assert torch.equal(loss, LOSSES[name](fused, visible, infrared))


def test_every_loss_has_its_own_name_in_the_table():
    assert {name: function.__name__ for name, function in LOSSES.items()} == {name: name for name in LOSSES}
    assert len(LOSSES) == 8
