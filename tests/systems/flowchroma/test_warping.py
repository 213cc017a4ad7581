"""Pictures sampled through flows, flows carried on, padding, and the losses and errors of both."""

import math

import pytest
import torch

from gradatim.systems.flowchroma.flow_metrics import color_errors, flow_errors
from gradatim.systems.flowchroma.losses import color_sequence, flow_sequence, temporal_consistency
from gradatim.systems.flowchroma.warping import carried_on, cropped, padded, warp_color_by_flow, warped


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shift(x, y, size=(6, 8)):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(-1, -1, *size).clone()


def colors(batch=1):
    return torch.rand(batch, 2, 6, 8) * 2 - 1


def test_no_flow_leaves_a_picture_as_it_is():
    ab = colors(batch=2)
    torch.testing.assert_close(warp_color_by_flow(ab, torch.zeros_like(ab)), ab)


def test_a_flow_fetches_colors_from_where_it_points_and_gray_from_outside():
    ab = colors()
    found = warp_color_by_flow(ab, shift(2.0, -1.0))
    torch.testing.assert_close(found[..., 1:, :-2], ab[..., :-1, 2:], atol=1e-5, rtol=0)
    assert found[..., 0, :].abs().max() < 1e-5
    assert found[..., -2:].abs().max() < 1e-5


def test_half_a_pixel_is_the_mean_of_two():
    ab = colors()
    found = warp_color_by_flow(ab, shift(0.5, 0.0))
    torch.testing.assert_close(found[..., :-1], (ab[..., :-1] + ab[..., 1:]) / 2, atol=1e-5, rtol=0)


def test_colors_are_clamped_and_other_pictures_are_not():
    ab, still = torch.full((1, 2, 6, 8), 1.5), shift(0.0, 0.0)
    assert warp_color_by_flow(ab, still).max() == 1
    torch.testing.assert_close(warped(ab, still), ab)


def test_pictures_in_16_bits_are_sampled_in_32():
    ab = colors().bfloat16()
    assert torch.equal(warped(ab, shift(1.0, 0.0)), warped(ab.float(), shift(1.0, 0.0)))


def test_a_single_row_has_a_place():
    ab = torch.rand(1, 2, 1, 8)
    torch.testing.assert_close(warp_color_by_flow(ab, torch.zeros(1, 2, 1, 8)), ab)


def test_every_pixel_takes_the_flow_that_lands_nearest_inside_the_picture():
    flow = shift(50.0, 0.0)
    flow[0, :, 2, 3] = torch.tensor([2.0, 1.0])
    flow[0, :, 1, 1] = torch.tensor([0.25, 0.5])

    leaving = shift(-0.4, 0.1)
    leaving[:, 1, :, 0] = 0.2

    found = carried_on(torch.cat([flow, shift(50.0, 0.0), shift(1.0, 1.0), leaving]))

    assert found[0, :, 3, 5].tolist() == found[0, :, 5, 7].tolist() == [2.0, 1.0]
    assert found[0, :, 1, 1].tolist() == found[0, :, 0, 0].tolist() == [0.25, 0.5]
    assert torch.equal(found[1:2], shift(0.0, 0.0))
    assert torch.equal(found[2:3], shift(1.0, 1.0))
    assert torch.equal(found[3:], shift(-0.4, 0.1))


@pytest.mark.parametrize("size", [(128, 136), (130, 200), (5, 7)])
def test_padding_makes_sides_suit_and_is_taken_off_again(size):
    frames = torch.rand(2, 3, 3, *size)

    whole, padding = padded(frames)

    assert all(side % 8 == 0 and side >= 128 for side in whole.shape[-2:])
    assert torch.equal(cropped(whole, padding), frames)
    assert torch.equal(whole[..., 0, 0], frames[..., 0, 0])
    assert 0 <= padding.right - padding.left <= 1
    assert 0 <= padding.bottom - padding.top <= 1


def test_later_steps_weigh_more():
    target = torch.zeros(1, 2, 6, 8)
    steps = [torch.full_like(target, value) for value in (1.0, 2.0, 3.0)]
    assert color_sequence(steps, target, gamma=0.5).item() == pytest.approx(0.25 + 1 + 3)
    valid = torch.ones(1, 6, 8)
    assert flow_sequence(steps, target, valid, gamma=0.5).item() == pytest.approx(0.25 + 1 + 3)


def test_unknown_and_long_flows_do_not_count_even_if_infinite():
    target, valid = torch.zeros(1, 2, 6, 8), torch.ones(1, 6, 8)
    target[..., 0, 0], valid[..., 0, 0] = math.inf, 0
    target[..., 0, 1] = 300.0
    valid[..., 0, 2] = 0.4
    prediction = torch.ones(1, 2, 6, 8, requires_grad=True)

    loss = flow_sequence([prediction], target, valid)
    loss.backward()

    assert loss.item() == pytest.approx(45 / 48)
    assert prediction.grad.isfinite().all()
    assert prediction.grad[..., 0, :3].abs().max() == 0


def test_colors_that_follow_a_flow_are_consistent():
    previous, flow = colors(), shift(1.0, 0.0)
    assert temporal_consistency(warped(previous, flow), previous, flow) == 0
    assert temporal_consistency(previous, previous, flow) > 0


def test_errors_and_shares_below_bounds():
    target, valid = torch.zeros(1, 2, 2, 2), torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    prediction = torch.tensor([[[[3.0, 0.0], [0.0, 9.0]], [[4.0, 0.5], [0.0, 9.0]]]])

    flow, color = flow_errors(prediction, target, valid, (1, 6)), color_errors(prediction, target, (1,))

    assert flow.mean == pytest.approx(5.5 / 3)
    assert flow.below == pytest.approx({1: 2 / 3, 6: 1.0})
    assert color.mean == pytest.approx(25.5 / 8)
    assert color.below == {1: 0.5}
