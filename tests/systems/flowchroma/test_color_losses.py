"""Losses of proposed colors."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.flowchroma.adversarial import discriminator_loss, generator_loss, judged
from gradatim.systems.flowchroma.color_losses import (
    contextual_pyramid,
    contextual_reference,
    flow_temporal,
    perceptual,
    smoothness,
)
from gradatim.systems.flowchroma.contextual import contextual
from gradatim.systems.flowchroma.fusion_loss import FusionLoss
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.vgg import LAYERS, Vgg16
from gradatim.weights import Weights, transfer


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("best", ["there", "here"])
def test_parts_of_the_contextual_loss_make_the_whole(best):
    features, reference = random(2, 5, 4, 6).requires_grad_(), random(2, 5, 3, 7, seed=1)

    losses = [contextual(features, reference, best=best, chunk=chunk) for chunk in (24, 7)]
    whole, parts = (torch.autograd.grad(loss, features)[0] for loss in losses)

    torch.testing.assert_close(losses[1], losses[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)
    assert whole.abs().sum() > 0


def test_what_is_found_elsewhere_costs_less_than_what_is_nowhere():
    picture = random(1, 8, 4, 4)

    elsewhere = contextual(picture, picture.flip(3))

    assert elsewhere < 0.01
    assert contextual(picture, random(1, 8, 4, 4, seed=1)) > 10 * elsewhere


def test_what_both_pictures_have_in_common_does_not_count():
    features, reference = random(1, 5, 4, 4), random(1, 5, 4, 4, seed=1)
    torch.testing.assert_close(contextual(features + 3, reference + 3), contextual(features, reference))


def test_deeper_stages_weigh_twice_as_much():
    fine, coarse = (random(1, 5, side, side) for side in (4, 2))

    found = contextual_pyramid([fine, coarse], [fine.flip(1), coarse.flip(1)])

    torch.testing.assert_close(found, contextual(fine, fine.flip(1)) + 2 * contextual(coarse, coarse.flip(1)))


def test_a_contextual_loss_in_16_bits_is_computed_in_32_under_autocast():
    features = random(1, 4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contextual(features.bfloat16(), features.flip(3).bfloat16(), chunk=4)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_left_centered_colors_are_almost_gray_to_the_backbone():
    seen = []

    def swin(rgb):
        seen.append(rgb)
        return [F.avg_pool2d(rgb, 2)]

    lab = random(1, 3, 4, 4) / 2
    for uncenter in (True, False):
        contextual_reference(swin, lab, lab.flip(3), uncenter_ab=uncenter)

    spread = [rgb.std(dim=1).mean() for rgb in seen]
    assert spread[2] < 0.05 * spread[0]


def test_no_gradient_reaches_the_target_of_a_perceptual_loss():
    torch.manual_seed(0)
    colors, target = random(1, 2, 8, 8).requires_grad_(), random(1, 2, 8, 8, seed=1).requires_grad_()

    perceptual(Vgg16(["relu1_2", "relu2_2"]), colors, target).backward()

    assert colors.grad.abs().sum() > 0
    assert target.grad is None


def test_vgg_goes_no_deeper_than_it_is_asked():
    torch.manual_seed(0)
    network = Vgg16(["relu2_2", "relu1_2"])

    features = network(random(1, 3, 8, 8))

    assert [tuple(x.shape) for x in features] == [(1, 128, 4, 4), (1, 64, 8, 8)]
    assert len(network.features) == LAYERS["relu2_2"] + 1
    with pytest.raises(DataError, match="Did you mean 'relu3_3'"):
        Vgg16(["relu3_2"])


def test_a_mask_weighs_differences_to_the_following_frame():
    colors, following = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    still, mask = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1

    assert flow_temporal(colors, following, still) == 1
    assert flow_temporal(colors, following, still, mask) == 0.5


def test_colors_that_differ_where_lightness_does_are_smooth():
    lab = torch.zeros(1, 3, 8, 8)
    lab[:, 0, :, 4:] = 1
    edge, stripes = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    edge[..., 4:], stripes[..., ::2] = 1, 1

    # Beyond the border colors count as 0, as the published weights were trained.
    inside = smoothness(edge, lab), smoothness(stripes, lab)

    assert inside[0] < 0.2 * inside[1]


def test_scores_that_are_far_enough_apart_cost_nothing():
    real, fake = torch.tensor([[0.5], [0.5]]), torch.tensor([[-0.5], [-0.5]])

    assert discriminator_loss(real, fake) == 0
    assert generator_loss(real, fake) == 4
    assert judged(torch.ones(1, 3, 1, 1)).flatten().tolist() == [100, 1, 1]


def sequence(count=3):
    torch.manual_seed(0)
    return [[random(3, 4, 4, seed=10 * kind + n) for n in range(count)] for kind in range(3)]


def test_a_sequences_loss_is_the_mean_over_its_frames():
    outputs, frames, flowed = sequence()
    flowed[0] = torch.zeros(3, 4, 4)

    loss = FusionLoss()(outputs, frames, flowed)

    colors, true, carried = (torch.stack(each)[:, 1:] for each in (outputs, frames, flowed))
    l1 = (colors - true).abs().mean()
    off = (colors - carried).abs().mean(dim=(1, 2, 3)) * torch.tensor([0, 1, 1])
    change = (colors[1:] - colors[:-1]).abs().mean(dim=(1, 2, 3))
    temporal = 0.5 * ((off[1:] + off[:-1]) / 2 + 0.3 * change).sum() / 3
    torch.testing.assert_close(loss, l1 + temporal)


def test_one_reference_is_looked_at_in_the_first_frame_alone():
    outputs, frames, flowed = sequence()
    looked = []

    def swin(rgb):
        looked.append(rgb)
        return [rgb]

    with_reference = FusionLoss(swin=swin)(outputs, frames, flowed, references=[random(3, 5, 5, seed=9)])

    assert len(looked) == 2
    assert with_reference > FusionLoss(swin=swin)(outputs, frames, flowed)


def test_a_loop_may_give_everything_by_its_place():
    outputs, frames, flowed = sequence()
    confidences, references = [torch.rand(1, 4, 4) for _ in outputs], [random(3, 5, 5, seed=9)]

    def swin(rgb):
        return [rgb]

    by_place = FusionLoss()(outputs, frames, flowed, confidences, references, swin)

    by_name = FusionLoss(swin=swin)(outputs, frames, flowed, confidences=confidences, references=references)
    assert torch.equal(by_place, by_name)
    assert by_place > FusionLoss()(outputs, frames, flowed, confidences, references)


def test_a_gradient_reaches_every_frame():
    outputs, frames, flowed = sequence()
    for output in outputs:
        output.requires_grad_()

    FusionLoss()(outputs, frames, flowed).backward()

    assert all(output.grad.abs().sum() > 0 for output in outputs)


def test_sequences_of_different_lengths_are_refused():
    outputs, frames, flowed = sequence()
    with pytest.raises(DataError, match="3 outputs, 2 frames, 3 flows' colors and 3 confidences"):
        FusionLoss()(outputs, frames[1:], flowed)
    with pytest.raises(DataError, match="at least one"):
        FusionLoss()([], [], [])


def test_vggs_published_names_are_read_and_what_lies_deeper_is_left():
    torch.manual_seed(0)
    shallow, deep = Vgg16(["relu1_2"]), Vgg16(["relu4_3"])
    arrays = {**deep.state_dict(), "classifier.0.weight": torch.zeros(2, 2)}
    weights = Weights(path=Path("vgg16.pth"), format="rule", arrays=arrays)

    (account,) = transfer(weights, {"vgg": shallow}, layout="vgg16", layouts=LAYOUTS)

    assert account.complete
    assert not account.kept
    assert torch.equal(shallow.features[2].weight, deep.features[2].weight)
