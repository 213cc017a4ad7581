"""Fusion networks and the discriminator: what they promise, at tiny sizes."""

from pathlib import Path

import pytest
import torch

from gradatim.errors import DataError, WeightsError
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.discriminator import Discriminator
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1, PlaceholderFusion, SimpleFusionNet, UNetFusionNet
from gradatim.systems.flowchroma.parts.spectral import SpectralConv
from gradatim.weights import Weights, transfer

SIZE = (16, 24)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def proposals(batch=2):
    lab = torch.rand(2, batch, 3, *SIZE) * 2 - 1
    sure = torch.rand(2, batch, 1, *SIZE)
    return lab[0], sure[0], lab[1], sure[1]


@torch.no_grad()
@pytest.mark.parametrize(
    "network", [PlaceholderFusion(), SimpleFusionNet(), UNetFusionNet(width=2), FusionNetV1(width=1)]
)
def test_all_fusion_networks_take_the_same_and_give_colors(network):
    given = proposals()
    network.eval()

    colors = network(*given)

    assert colors.shape == (2, 2, *SIZE)
    torch.testing.assert_close(network(*given), colors, atol=0, rtol=0)
    torch.testing.assert_close(network(*(x[1:] for x in given)), colors[1:])


def test_a_mean_goes_by_how_sure_each_proposal_is():
    carried, confidence, matched, similarity = proposals()
    nothing = torch.zeros_like(confidence)
    fusion = PlaceholderFusion()

    torch.testing.assert_close(fusion(carried, confidence + 1, matched, nothing), carried[:, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(fusion(carried, nothing, matched, similarity + 1), matched[:, 1:], atol=1e-5, rtol=0)
    halves = fusion(carried, nothing + 1, matched, nothing + 1)
    torch.testing.assert_close(halves, (carried[:, 1:] + matched[:, 1:]) / 2, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("network", [SimpleFusionNet(), UNetFusionNet(width=2)])
def test_a_network_that_adds_nothing_leaves_what_was_carried_on(network):
    network.eval().out.weight.zero_()
    network.out.bias.zero_()
    given = proposals()
    assert torch.equal(network(*given), given[0][:, 1:])


@torch.no_grad()
def test_a_correction_is_at_most_1():
    network = FusionNetV1(width=1)
    network.network.out.weight.mul_(100)
    given = proposals()
    assert 0.9 < (network(*given) - given[0][:, 1:]).abs().max() <= 1 + 1e-6


def test_layers_behind_the_skips_learn():
    network = UNetFusionNet(width=2)
    network(*proposals()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.merge[0].conv1.parameters() if p.ndim > 1)


@pytest.mark.parametrize("network", [UNetFusionNet(width=1), FusionNetV1(width=1)])
def test_a_frame_that_cannot_be_halved_three_times_is_refused(network):
    lab, sure = torch.zeros(1, 3, 16, 20), torch.zeros(1, 1, 16, 20)
    with pytest.raises(DataError, match="16 x 20, both sides must be multiples of 8"):
        network(lab, sure, lab, sure)


def test_one_network_s_file_does_not_feed_another():
    arrays = {"net.9.weight": torch.zeros(2, 16, 1, 1), "net.9.bias": torch.zeros(2)}
    weights = Weights(path=Path("simple.pth"), format="torch", arrays=arrays)
    with pytest.raises(WeightsError, match="missing in the file"):
        transfer(weights, {"fusion": FusionNetV1(width=1)}, layouts=LAYOUTS)


@torch.no_grad()
def test_a_spectral_norm_settles_at_1_in_evaluation_mode_too():
    conv = SpectralConv(3, 5, 3).eval()
    x = torch.randn(1, 3, 4, 4)
    before = conv.u.clone()

    for _ in range(200):
        conv(x)

    assert not torch.allclose(conv.u, before)
    largest = torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2)
    torch.testing.assert_close(conv.u @ conv.weight.flatten(1) @ conv.v, largest)
    torch.testing.assert_close(
        conv(x), torch.nn.functional.conv2d(x, conv.weight / largest, conv.bias), atol=1e-5, rtol=0
    )


def test_a_gradient_goes_through_the_singular_value():
    conv = SpectralConv(3, 5, 3)

    (conv(torch.randn(1, 3, 4, 4)) - conv.bias.detach().view(-1, 1, 1)).pow(3).sum().backward()

    # The weights' length changes nothing, so no gradient points along them.
    assert conv.weight.grad.norm() > 1e-3
    torch.testing.assert_close((conv.weight * conv.weight.grad).sum(), torch.zeros(()), atol=1e-4, rtol=0)


def test_two_passes_before_one_gradient_are_allowed():
    network = Discriminator(width=1)
    scores, seen = network(torch.randn(2, 3, 192, 192))
    (scores.mean() - network(torch.randn(1, 3, 192, 208))[0].mean()).backward()

    assert scores.shape == (2, 1)
    assert seen.shape == (2, 4, 12, 12)
    assert all(p.grad is not None for p in network.parameters())


def test_a_picture_too_small_to_be_judged_is_refused():
    with pytest.raises(DataError) as error:
        Discriminator(width=1)(torch.zeros(1, 3, 200, 176))
    assert str(error.value) == "picture is 200 x 176, the discriminator needs at least 192 x 192."
