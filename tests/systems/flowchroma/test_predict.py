"""Videos colored frame by frame: what is kept, what is fed back, and what is seen once."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gradatim.data.image import resize
from gradatim.errors import DataError, WeightsError
from gradatim.systems.flowchroma.color import lab_of_levels, lab_of_values, restored, rgb_of_lab
from gradatim.systems.flowchroma.matching import match_sequences
from gradatim.systems.flowchroma.predict import Colorizer, has_colors, join_colors
from gradatim.systems.flowchroma.recurrence import color_sequences
from tiny_flowchroma import parts, scene, sizes


@pytest.fixture(autouse=True)
def _colors():
    pytest.importorskip("cv2")


def colorizer(built=None, *, matched_only=False, **changes):
    return Colorizer(built or parts(**changes), sizes(**changes), matched_only=matched_only)


def smaller(picture):
    return resize(picture, (32, 40), kind="lanczos")


def whole(built, pictures, reference, **changes):
    """Colors of all frames at once, at the model's size, and what was matched."""
    small = [smaller(picture) for picture in pictures]
    frames = torch.stack([lab_of_levels(one) for one in small])[None]
    lightness = torch.stack([lab_of_values(resize(one, (32, 32)))[:1] for one in small])[None]
    seen = lab_of_values(resize(smaller(reference), (32, 32)))[None, None]
    with torch.no_grad():
        matches = match_sequences(
            built["swin"], built["warpnet"], lightness, seen, size=(32, 40), temperature=1e-10
        )  # fmt: skip
        fusion = built["fusion"]
        outputs = color_sequences(
            built["memflow"], fusion, frames, matches=matches, carrying=fusion.carrying
        ).outputs  # fmt: skip
    return outputs[0], matches.colors[0]


def lightness_of(picture):
    return lab_of_values(picture)[0] * 50 + 50


@pytest.mark.parametrize("size", [(36, 50), (21, 33), (90, 41)])
def test_size_and_lightness_are_kept_and_colors_come_from_the_reference(size):
    gray, (reference,) = scene(3, size=size, gray=True), scene(1)
    model = colorizer(fusion="placeholder")

    colored = list(model.color(gray, model.encode(reference)))

    assert len(colored) == 3
    for frame, picture in zip(gray, colored, strict=True):
        assert (picture.shape, picture.dtype) == (frame.shape, np.uint8)
        assert has_colors(picture)
        # Half a level of each channel is less than half a unit of lightness.
        assert (lightness_of(picture) - lightness_of(frame)).abs().max() < 0.5


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_history": None}, {"flow_scale": 8.0}, {"target_colors": "ground_truth"}, {"target_colors": "zero"}],
    ids=str,
)
def test_frame_after_frame_is_the_whole_sequence(changes):
    pictures, (reference,) = scene(4), scene(1, size=(40, 30))
    built = parts(**changes)
    expected, _ = whole(built, pictures, reference)
    model, fused = colorizer(built, **changes), []
    built["fusion"].register_forward_hook(lambda *told: fused.append(told[2][0]))

    colored = list(model.color(iter(pictures), model.encode(reference)))

    # A level of 8 bits would be 8e-3.
    torch.testing.assert_close(torch.stack(fused), expected[:, 1:], atol=1e-4, rtol=0)
    for picture, ab, result in zip(pictures, fused, colored, strict=True):
        assert np.array_equal(result, join_colors(picture, ab))
    others, _ = whole(parts(), pictures, reference)
    assert torch.equal(others, expected) == (not changes)


def test_colors_are_resized_bilinearly_and_joined_with_the_full_lightness():
    (picture,) = scene(1, size=(20, 30))
    colors = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.2 - 0.1

    joined = join_colors(picture, colors)

    lab = torch.cat([lab_of_values(picture)[:1], F.interpolate(colors[None], (20, 30), mode="bilinear")[0]])
    expected = rgb_of_lab(restored(lab)).permute(1, 2, 0).numpy() * 255
    assert np.abs(joined - expected).max() <= 0.5


def test_a_reference_is_seen_once_and_frames_one_by_one():
    built, seen = parts(), []
    built["swin"].register_forward_hook(lambda *told: seen.append(len(told[1][0])))
    model, asked = colorizer(built), []

    def frames():
        for number, frame in enumerate(scene(3)):
            asked.append(number)
            yield frame

    given = model.color(frames(), model.encode(scene(1)[0]))
    next(given)
    assert asked == [0]
    list(given)

    assert seen == [1, 1, 1, 1]


def test_the_first_frame_is_the_reference_where_none_is_named():
    pictures, model = scene(3), colorizer()

    own = list(model.color(pictures))

    named = list(model.color(pictures, model.encode(pictures[0])))
    other = list(model.color(pictures, model.encode(pictures[0][:, :, ::-1].copy())))
    assert np.array_equal(own, named)
    assert not np.array_equal(own, other)
    with pytest.raises(DataError, match="the first frame is gray"):
        list(model.color(scene(2, gray=True)))


def test_matching_alone_needs_neither_flow_nor_fusion():
    pictures, (reference,) = scene(2), scene(1, size=(40, 30))
    _, colors = whole(parts(), pictures, reference)
    built = parts()
    model = colorizer({name: built[name] for name in ("swin", "warpnet")}, matched_only=True)

    alone = list(model.color(pictures, model.encode(reference)))

    for picture, ab, result in zip(pictures, colors, alone, strict=True):
        assert np.abs(result.astype(int) - join_colors(picture, ab)).max() <= 1
    with pytest.raises(WeightsError, match=r"it has swin, warpnet\):\n  memflow\n  fusion"):
        colorizer(parts(("swin", "warpnet")))


def test_a_gray_picture_stays_gray_through_a_lossy_format():
    gray = scene(1, gray=True)[0]
    nearly = gray.copy()
    nearly[0, 0, 0] += 4
    colored = gray.copy()
    colored[0, 0, 0] += 9
    assert [has_colors(one) for one in (gray, nearly, colored)] == [False, False, True]
