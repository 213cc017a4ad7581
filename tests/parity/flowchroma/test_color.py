"""LAB of pixels and back, and the filters that pictures are resized by."""

import numpy as np
import pytest
import torch
from PIL import Image

from gradatim.systems.flowchroma.color import (
    gray_picture,
    lab_of_levels,
    lab_of_values,
    levels_of_lab,
    normalized,
    restored,
    rgb_of_lab,
)
from parity.flowchroma.support import GRADIENT, PART, case, names_of

pytestmark = pytest.mark.parity
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}


def one_level(found, name, picture):
    """Compare a picture: pixels on a rounding edge may be a level off, but hardly any is."""
    difference = (torch.from_numpy(picture).int() - found.input(name).int()).abs()
    print(f"{found.name}, {name}: {float((difference > 0).float().mean()):.2%} differ, at most by {difference.max()}")
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


def test_colors(parity_root):
    pytest.importorskip("cv2")
    cases = names_of(parity_root, "colour")
    for name in cases:
        found = case(parity_root, name)
        pixels = found.input("rgb_u8").numpy()
        frame, matched = lab_of_levels(pixels), lab_of_values(pixels)
        wild = found.input("lab_wild").requires_grad_()
        rgb = rgb_of_lab(wild)
        (gradient,) = torch.autograd.grad(rgb.square().sum(), wild)

        found.check("dataset_lab", frame, atol=PART)
        found.check("processor_lab", matched, atol=PART)
        found.check("gray3", gray_picture(matched[None, :1]), atol=PART)
        found.check("rgb_from_processor", rgb_of_lab(restored(matched[None])), atol=PART)
        found.check("rgb_swin_train", rgb_of_lab(restored(matched[None], ab=False)), atol=PART)
        found.check("rgb_wild", rgb, atol=PART)
        found.check("grad_wild", gradient, atol=PART, rtol=GRADIENT)
        one_level(found, "u8_back", levels_of_lab(frame))
        one_level(found, "u8_wild", levels_of_lab(normalized(wild[0])))
        found.close()
    assert cases


def test_filters(parity_root):
    cases = names_of(parity_root, "resize")
    for name in cases:
        found = case(parity_root, name)
        picture = Image.fromarray(found.input("src").numpy())
        for array, kind in FILTERS.items():
            height, width = found.arrays[array].shape[:2]
            found.check(array, torch.from_numpy(np.array(picture.resize((width, height), kind))), atol=0)
        found.close()
    assert cases
