"""SwinTExCo: what its backbone, its matching, its color network and its averages promise, at tiny sizes."""

import pytest
import torch
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.matching import gray_picture, warp_color
from gradatim.systems.flowchroma.parts import warpnet as warpnet_module
from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet, Halve
from gradatim.systems.flowchroma.parts.smoothing import averaged_by_features, averaged_nearby
from gradatim.systems.flowchroma.parts.swin import PositionBias, SwinPyramid, cut, joined, shifted_regions
from gradatim.systems.flowchroma.parts.warpnet import (
    SHARP_TEMPERATURE,
    TRAIN_TEMPERATURE,
    ReflectedConv,
    WarpNet,
    match,
    unit_features,
)
from gradatim.weights import translate

WIDTHS = (8, 16, 32, 64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pyramid(**changes):
    small = {"width": 8, "depths": (2, 2, 2, 2), "heads": (1, 2, 2, 4), "window": 2, "hidden": 8}
    return SwinPyramid(**{**small, **changes}).eval()


def warpnet():
    return WarpNet(widths=WIDTHS, width=8).eval()


def features(height, width, batch=1):
    sizes = ((height // side, width // side) for side in (2, 4, 8, 16))
    return [unit_features(torch.randn(batch, count, *size)) for count, size in zip(WIDTHS, sizes, strict=True)]


@torch.no_grad()
def test_a_pyramid_has_four_scales_of_any_size_that_windows_fill():
    network = pyramid()
    pictures = torch.rand(2, 3, 64, 128)

    whole = network(pictures)

    assert network.multiple == 64
    assert [tuple(x.shape) for x in whole] == [(2, w, 32 // 2**n, 64 // 2**n) for n, w in enumerate(WIDTHS)]
    for alone, both in zip(network(pictures[1:]), whole, strict=True):
        torch.testing.assert_close(alone, both[1:])


def test_a_picture_that_windows_do_not_fill_is_refused():
    with pytest.raises(DataError) as error:
        SwinPyramid(depths=(1, 1, 1, 1))(torch.zeros(1, 3, 224, 225))
    assert str(error.value) == (
        "picture is 224 x 225, both sides must be multiples of 224 for windows to fill it at every scale; "
        "resize it first."
    )


@torch.no_grad()
def test_shifted_windows_carry_what_is_seen_across_the_borders_of_windows_but_not_of_the_picture():
    network = pyramid(depths=(2, 1), heads=(1, 1))
    picture = torch.rand(1, 3, 16, 32)
    changed = picture.clone()
    changed[..., :4] += 1

    before, after = network(picture)[0], network(changed)[0]
    seen = (before - after).abs().amax(dim=(0, 1, 2))[::2] > 1e-5

    # Cells of the first window's row, and those that the shifted windows join to it; not the last column.
    assert seen.tolist() == [True, True, True, False, False, False, False, False]


def test_cutting_into_windows_is_undone():
    x = torch.randn(2, 4, 6, 3)
    assert cut(x, 2).shape == (2, 6, 4, 3)
    assert torch.equal(joined(cut(x, 2), (4, 6), 2), x)


def test_what_a_roll_brought_together_is_kept_apart():
    regions = shifted_regions((4, 4), 2, (1, 1), torch.device("cpu"))

    assert torch.equal(regions[0], torch.zeros(4, 4))
    assert torch.equal(regions[3], -100 * (1 - torch.eye(4)))
    assert regions[1].unique(return_counts=True)[1].tolist() == [8, 8]


@torch.no_grad()
def test_a_position_counts_by_the_logarithm_of_its_offset():
    network = PositionBias(2, 4)
    bias = network((3, 4)).view(2, 3, 4, 3, 4)
    offset = torch.tensor([-1.0, 2.0])

    expected = network.fc2(network.fc1(offset.sign() * (1 + offset.abs()).log()).relu())

    torch.testing.assert_close(bias[:, 0, 2, 1, 0], expected)
    torch.testing.assert_close(bias[:, 1, 3, 2, 1], expected)


def test_features_of_length_0_stay_so():
    x = torch.stack([torch.zeros(3, 2, 2), torch.randn(3, 2, 2)])
    assert torch.equal(unit_features(x)[0], x[0])
    torch.testing.assert_close(unit_features(x)[1].norm(dim=0), torch.ones(2, 2))


def test_a_picture_finds_itself():
    keys = unit_features(torch.randn(2, 16, 3, 4))
    lab = torch.rand(2, 3, 12, 16)

    found = match(keys, keys, lab, temperature=SHARP_TEMPERATURE)

    torch.testing.assert_close(found.lab, F.interpolate(F.avg_pool2d(lab, 4), scale_factor=4.0))
    torch.testing.assert_close(found.similarity, torch.ones(2, 1, 12, 16))


def test_matching_in_pieces_is_matching_at_once(monkeypatch):
    queries, keys, lab = (
        unit_features(torch.randn(2, 16, 3, 4)),
        unit_features(torch.randn(2, 16, 5, 2)),
        torch.rand(2, 3, 20, 8),
    )
    whole = match(queries, keys, lab, temperature=TRAIN_TEMPERATURE)

    monkeypatch.setattr(warpnet_module, "_CHUNK", 5)
    pieces = match(queries, keys, lab, temperature=TRAIN_TEMPERATURE)

    assert pieces.lab.shape == (2, 3, 12, 16)
    torch.testing.assert_close(pieces.lab, whole.lab)
    torch.testing.assert_close(pieces.similarity, whole.similarity)


def test_matching_keeps_its_precision_under_autocast():
    queries, keys = unit_features(torch.randn(2, 1, 16, 6, 6)).unbind()
    lab = torch.rand(1, 3, 24, 24)
    exact = match(queries, keys, lab, temperature=SHARP_TEMPERATURE)

    with torch.autocast("cpu", torch.bfloat16):
        cast = match(queries, keys, lab, temperature=SHARP_TEMPERATURE)

    assert torch.equal(cast.lab, exact.lab)
    assert torch.equal(cast.similarity, exact.similarity)


@torch.no_grad()
def test_a_pyramid_and_a_match_come_out_of_autocast_and_of_16_bits():
    swin, network = pyramid(), warpnet()
    picture, lab = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        cast = swin(picture)
    half = swin.bfloat16()(picture.bfloat16())
    found = network.bfloat16()(half, half, lab.bfloat16(), temperature=TRAIN_TEMPERATURE)

    assert half[0].dtype == torch.bfloat16
    torch.testing.assert_close(half[0].float(), cast[0].float(), atol=0.2, rtol=0)
    assert found.lab.dtype == torch.float32


@pytest.mark.parametrize(("temperature", "learns"), [(TRAIN_TEMPERATURE, True), (SHARP_TEMPERATURE, False)])
def test_colors_teach_the_features_only_where_they_are_mixed(temperature, learns):
    queries = unit_features(torch.randn(1, 4, 3, 4)).requires_grad_()
    keys = unit_features(torch.randn(1, 4, 3, 4))

    match(queries, keys, torch.rand(1, 3, 12, 16), temperature=temperature).lab.square().sum().backward()

    assert bool(queries.grad.any()) == learns


@torch.no_grad()
def test_a_reference_may_have_another_size_and_one_that_16_does_not_divide():
    network = warpnet()
    ours, theirs = features(32, 48, batch=2), features(40, 32, batch=2)

    found = network(ours, theirs, torch.rand(2, 3, 40, 32), temperature=TRAIN_TEMPERATURE)

    assert found.lab.shape == (2, 3, 32, 48)
    assert found.similarity.shape == (2, 1, 32, 48)
    assert found.similarity.abs().max() <= 1 + 1e-6


def test_sizes_that_do_not_go_together_are_refused():
    network = warpnet()
    with pytest.raises(DataError, match="come to different sizes: 8 x 9, 8 x 9, 8 x 8, 10 x 8"):
        network.described(features(32, 36))
    with pytest.raises(DataError, match="the reference's features make 8 x 8 cells, its colors 8 x 10"):
        network(features(32, 32), features(32, 32), torch.rand(1, 3, 32, 40), temperature=1.0)


def test_matching_drops_out_only_while_it_learns():
    network, seen = warpnet(), features(32, 32)
    with torch.no_grad():
        assert torch.equal(network.described(seen), network.described(seen))
        network.train()
        assert not torch.equal(network.described(seen), network.described(seen))


@torch.no_grad()
def test_reflection_is_that_of_a_padded_picture():
    conv, x = ReflectedConv(2, 3, stride=2), torch.randn(1, 2, 6, 8)
    padded = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), conv.weight, conv.bias, stride=2)
    torch.testing.assert_close(conv(x), padded)


def test_a_gray_picture_takes_a_reference_s_colors_and_spares_the_backbone():
    swin, network = pyramid(), warpnet()
    lightness, lab = torch.rand(1, 1, 64, 64) * 2 - 1, torch.rand(1, 3, 64, 64)
    reference = swin(torch.rand(1, 3, 64, 64))
    swin.zero_grad()

    found = warp_color(
        swin,
        network,
        lightness,
        reference_lab=lab,
        reference_features=[x.detach() for x in reference],
        temperature=0.01,
    )
    found.lab.sum().backward()

    assert found.lab.shape == (1, 3, 64, 64)
    assert all(p.grad is None for p in swin.parameters())
    assert network.query.weight.grad.any()


def test_a_gray_picture_lies_between_black_and_white():
    lightness = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3)
    assert gray_picture(lightness)[0, :, 0].tolist() == 3 * [[0.0, 0.5, 1.0]]


@torch.no_grad()
@pytest.mark.parametrize(("inside", "bound"), [(4, 1.0), (7, 128.0)])
def test_colors_keep_within_their_bound(inside, bound):
    network = ColorVidNet(inside, bound=bound, width=2)
    network.out.weight.mul_(100)
    colors = network(torch.randn(2, inside, 16, 24))
    assert colors.shape == (2, 2, 16, 24)
    assert 0.9 * bound < colors.abs().max() <= bound


@pytest.mark.parametrize("size", [(12, 16), (8, 8)])
def test_a_picture_that_cannot_be_halved_three_times_is_refused(size):
    with pytest.raises(DataError, match="both sides must be multiples of 8, and one of them larger"):
        ColorVidNet(width=1)(torch.zeros(1, 4, *size))


@torch.no_grad()
def test_halving_is_a_depthwise_convolution_of_one_pixel():
    halve, x = Halve(3), torch.randn(1, 3, 5, 6)
    halve.weight.normal_()
    torch.testing.assert_close(halve(x), F.conv2d(x, halve.weight, stride=2, groups=3))


def test_an_average_nearby_keeps_to_what_looks_alike():
    guide = torch.zeros(1, 1, 4, 6)
    guide[..., 3:] = 1
    colors = torch.where(guide > 0, 0.5, -0.5).expand(1, 2, 4, 6)

    sharp = averaged_nearby(colors, guide, temperature=1e-3)
    blurred = averaged_nearby(colors, guide, temperature=1e3)

    torch.testing.assert_close(sharp[:, :, 1:-1, 3:-1], colors[:, :, 1:-1, 3:-1])
    torch.testing.assert_close(blurred[0, 0, 1, 1:4], torch.tensor([-0.5, -1 / 6, 1 / 6]), atol=1e-3, rtol=0)


def test_an_average_by_features_is_of_the_whole_picture():
    colors, seen = torch.rand(2, 2, 8, 12), torch.randn(2, 5, 4, 6)

    sharp = averaged_by_features(colors, seen, temperature=1e-4)
    blurred = averaged_by_features(colors, seen, temperature=1e4)

    small = colors[:, :, ::2, ::2]
    torch.testing.assert_close(sharp, small)
    torch.testing.assert_close(blurred, small.mean(dim=(2, 3), keepdim=True).expand_as(small), atol=1e-3, rtol=0)


def test_names_of_timm_itself_are_known_too():
    names = ["stages.2.blocks.5.norm3.weight", "stages.1.downsample.reduction.weight", "head.fc.weight"]
    found = translate(LAYOUTS["swin"], names)

    assert list(found.made) == ["swin.stages.2.5.norm3.weight", "swin.merges.0.reduction.weight"]
    assert list(found.dropped) == ["head.fc.weight"]
