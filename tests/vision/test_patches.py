import pytest
import torch

from gradatim.vision.normalization import from_imagenet, to_imagenet
from gradatim.vision.patches import patch_side, patchify, unpatchify


def test_a_patch_holds_its_pixels_row_by_row_with_the_channels_of_a_pixel_together():
    image = torch.rand(2, 3, 4, 6)

    patches = patchify(image, 2)

    assert patches.shape == (2, 6, 12)
    row, column = 1, 2
    pixels = [image[:, :, 2 * row + y, 2 * column + x] for y in (0, 1) for x in (0, 1)]
    assert torch.equal(patches[:, row * 3 + column], torch.cat(pixels, dim=1))


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 3, 9, 3), (2, 1, 3, 3)])
def test_unpatchify_undoes_patchify_on_any_grid(shape):
    image = torch.rand(shape)
    side = 2 if shape[2] % 2 == 0 else 3

    patches = patchify(image, side)
    again = unpatchify(patches, (shape[2] // side, shape[3] // side), channels=shape[1])

    assert torch.equal(again, image)
    assert patch_side(patches, channels=shape[1]) == side


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="image is 4 x 5, both sides must be multiples of the patch size, 2"):
        patchify(torch.rand(1, 3, 4, 5), 2)
    with pytest.raises(ValueError, match="grid of 2 x 2 needs 4"):
        unpatchify(torch.rand(1, 6, 12), (2, 2))
    with pytest.raises(ValueError, match="13 values, not a square"):
        unpatchify(torch.rand(1, 4, 13), (2, 2))


def test_imagenet_units_have_known_zero_and_scale_and_are_undone():
    image = torch.rand(2, 3, 2, 2)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1).expand(3, 2, 2)

    assert torch.equal(to_imagenet(mean), torch.zeros(3, 2, 2))
    torch.testing.assert_close(to_imagenet(mean + 0.1)[:, 0, 0], 0.1 / torch.tensor([0.229, 0.224, 0.225]))
    torch.testing.assert_close(from_imagenet(to_imagenet(image)), image)
