"""MemFlow: what its network, its memory and its layout promise, at tiny sizes."""

import math
from dataclasses import fields

import pytest
import torch

from gradatim.errors import DataError
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.correlation import correlation_pyramid, look_up
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.memory import Memory, drawn, gather, remembered
from gradatim.systems.flowchroma.parts.update import MASK, Depthwise, peakedness, upsampled
from gradatim.systems.flowchroma.warping import pixel_grid
from gradatim.weights import translate

SIZE = (32, 40)
CELLS = (4, 5)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def network(**changes):
    small = {"width": 8, "features": 8, "widths": (4, 4, 8), "levels": 2, "radius": 1, "iterations": 2}
    made = MemFlow(**{**small, "train_tokens": 20.0, **changes}).eval()
    torch.nn.init.ones_(made.update.gamma)
    return made


def frames(count, batch=1):
    return torch.rand(count, batch, 3, *SIZE) * 2 - 1


def pair_of_memory(count, batch=1):
    return Memory(*torch.randn(2, batch, count, 8, *CELLS))


@torch.no_grad()
def test_a_pass_gives_a_flow_for_every_step_and_a_confidence():
    estimate = network()(*frames(2, batch=2))

    assert [flow.shape for flow in estimate.flows] == 2 * [(2, 2, *SIZE)]
    assert torch.equal(estimate.flow, estimate.flows[-1])
    assert estimate.coarse.shape == (2, 2, *CELLS)
    assert estimate.key.shape == estimate.value.shape == (2, 8, *CELLS)
    assert estimate.confidence.shape == (2, 1, *SIZE)
    assert 0 <= estimate.confidence.min() <= estimate.confidence.max() <= 1


@torch.no_grad()
def test_a_batch_is_its_samples():
    memflow, (first, second), memory = network(), frames(2, batch=3), pair_of_memory(2, batch=3)

    whole = memflow(first, second, memory)

    for n in range(3):
        one = slice(n, n + 1)
        alone = memflow(first[one], second[one], Memory(memory.keys[one], memory.values[one]))
        torch.testing.assert_close(alone.flow, whole.flow[one], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.value, whole.value[one], atol=1e-4, rtol=0)


@torch.no_grad()
def test_frames_of_a_clip_are_encoded_as_one_by_one():
    memflow, clip = network(), frames(2, batch=3)

    context, features = memflow.encode_context(clip), memflow.encode_features(clip)

    assert features.shape == (2, 3, 8, *CELLS)
    for part in fields(context):
        alone = getattr(memflow.encode_context(clip[1]), part.name)
        torch.testing.assert_close(getattr(context, part.name)[1], alone)
    torch.testing.assert_close(features[0], memflow.encode_features(clip[0]))


@torch.no_grad()
def test_only_the_last_flow_is_upsampled_where_that_is_asked_for():
    memflow, (first, second) = network(iterations=3), frames(2)
    context, a, b = memflow.encode_context(first), *memflow.encode_features(torch.stack([first, second]))

    every, last = (memflow.estimate(context, a, b, flows=flows) for flows in ("all", "last"))
    early = memflow.estimate(context, a, b, flows="last", iterations=2)

    assert len(every.flows) == 3
    assert len(last.flows) == len(early.flows) == 1
    assert torch.equal(every.flow, last.flow)
    assert torch.equal(every.flows[1], early.flow)


@torch.no_grad()
def test_a_flow_to_begin_with_is_gone_on_from():
    once, (first, second) = network(iterations=1), frames(2)
    still = once(first, second)

    ahead = once(first, second, initial=torch.full((1, 2, *CELLS), 2.0))

    assert torch.equal(once(first, second, initial=torch.zeros(1, 2, *CELLS)).flow, still.flow)
    assert (ahead.coarse - still.coarse).mean() > 1


@torch.no_grad()
def test_the_modes_of_memory_differ_only_where_something_is_remembered():
    memflow, (first, second), memory = network(), frames(2), pair_of_memory(2)
    newest = Memory(memory.keys[:, 1:], memory.values[:, 1:])
    without, own, last = (memflow(first, second, kept).flow for kept in (None, memory, newest))
    memflow.memory_keys = "values"

    by_values = memflow(first, second, memory).flow
    as_own = memflow(first, second, Memory(memory.values, memory.values))

    assert torch.equal(memflow(first, second).flow, without)
    for one, other in ((without, own), (own, last), (own, by_values)):
        assert not torch.allclose(one, other)
    assert torch.equal(as_own.flow, by_values)


def test_a_memory_keeps_the_newest_pairs():
    pairs, memories = torch.randn(4, 2, 1, 8, *CELLS), {1: None, 2: None, None: None}
    for key, value in pairs:
        memories = {limit: remembered(memory, key, value, limit=limit) for limit, memory in memories.items()}

    for limit, kept in ((1, 1), (2, 2), (None, 4)):
        assert len(memories[limit]) == kept
        assert torch.equal(memories[limit].keys, pairs[-kept:, 0].transpose(0, 1))
        assert torch.equal(memories[limit].values, pairs[-kept:, 1].transpose(0, 1))


def test_pairs_are_drawn_for_each_sample_and_again_by_the_same_seed():
    memory = Memory(*torch.arange(40.0).view(1, 8, 5, 1, 1, 1).expand(2, -1, -1, 8, *CELLS))

    one, again = (drawn(memory, 2, torch.Generator().manual_seed(3)) for _ in range(2))

    assert torch.equal(one.keys, again.keys)
    assert torch.equal(one.keys, one.values)
    chosen = one.keys[:, :, 0, 0, 0]
    assert torch.equal(chosen.div(5, rounding_mode="floor"), torch.arange(8.0)[:, None].expand(-1, 2))
    assert all(len(set(row.tolist())) == 2 for row in chosen)
    assert len({tuple(row.tolist()) for row in chosen % 5}) > 1
    assert drawn(memory, 5, torch.Generator()) is memory


def test_attention_is_a_softmax_over_all_cells_of_all_pairs():
    query, keys, values = torch.randn(2, 8, *CELLS), *torch.randn(2, 2, 3, 8, *CELLS)
    q, k, v = query.flatten(2), keys.transpose(1, 2).flatten(2), values.transpose(1, 2).flatten(2)
    weights = (q.transpose(1, 2) @ k * (math.log(60) / math.log(20) / 8**0.5)).softmax(dim=2)

    found = gather(query, keys, values, train_tokens=20.0)

    torch.testing.assert_close(found, (v @ weights.transpose(1, 2)).view_as(query))


@torch.no_grad()
def test_in_16_bits_places_and_flows_keep_32():
    memflow, pair = network(), frames(2)
    with torch.autocast("cpu", torch.bfloat16):
        estimate = memflow(*pair, pair_of_memory(1))

    assert estimate.flow.dtype == estimate.coarse.dtype == estimate.confidence.dtype == torch.float32
    assert estimate.value.dtype == torch.bfloat16
    assert memflow.update.state.depthwise[0](torch.ones(1, 32, *CELLS).bfloat16()).dtype == torch.bfloat16


def test_gradients_reach_every_parameter_and_the_memory_but_no_place():
    memflow = network().train()
    memory = Memory(*(x.requires_grad_() for x in torch.randn(2, 2, 2, 8, *CELLS)))
    initial = torch.zeros(2, 2, *CELLS, requires_grad=True)

    estimate = memflow(*frames(2, batch=2), memory, initial=initial)
    sum(flow.abs().mean() for flow in estimate.flows).backward()

    without = [name for name, array in memflow.named_parameters() if not array.grad.abs().sum() > 0]
    # A shift before an instance normalization makes no difference, up to rounding.
    assert not [name for name in without if not (name.startswith("features.") and name.endswith(".bias"))]
    assert (memflow.context.out.bias.grad[:8] != 0).all()  # Through the state that the steps begin with.
    assert memory.keys.grad.abs().sum() > 0
    assert memory.values.grad.abs().sum() > 0
    assert initial.grad is None


def test_a_window_goes_down_its_columns_and_places_are_halved_from_scale_to_scale():
    first, second = torch.randn(2, 1, 8, *CELLS)
    pyramid = correlation_pyramid(first, second, 2)
    places = pixel_grid(CELLS, CPU)

    found = look_up(pyramid, places, 1)

    products = torch.einsum("cyx,cvu->yxvu", first[0], second[0]) / 8**0.5
    assert found.shape == (1, 18, *CELLS)
    for channel, (x, y) in {1: (-1, 0), 3: (0, -1), 4: (0, 0), 5: (0, 1), 7: (1, 0)}.items():
        torch.testing.assert_close(found[0, channel, 2, 1], products[2, 1, 2 + y, 1 + x])
    assert torch.equal(found[0, :3, :, 0], torch.zeros(3, 4))
    torch.testing.assert_close(found[0, 13, 2, 2], products[2, 2, 2:4, 2:4].mean())


@pytest.mark.parametrize("side", [1, 3])
def test_a_depthwise_layer_is_a_convolution_in_groups(side):
    layer, x = Depthwise(8, side), torch.randn(2, 8, *CELLS, requires_grad=True)
    whole = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=side // 2, groups=8)
    arrays = (x, layer.weight, layer.bias)

    torch.testing.assert_close(layer(x), whole)
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), arrays) for y in (layer(x), whole)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_flow_is_upsampled_by_choosing_among_nine_cells():
    flow = torch.randn(1, 2, *CELLS)
    logits = torch.full((1, MASK, 8, 8, *CELLS), -100.0)
    logits[:, 4] = 100.0
    logits[:, 4, 0, 7], logits[:, 5, 0, 7] = -100.0, 100.0  # In each cell's corner at the right, the cell beside it.

    fine = upsampled(flow, logits.flatten(1, 3))

    expected = 8 * flow.repeat_interleave(8, 2).repeat_interleave(8, 3)
    expected[..., ::8, 7::8] = 8 * torch.nn.functional.pad(flow[..., 1:], (0, 1))
    torch.testing.assert_close(fine, expected)


def test_a_confidence_is_0_for_equal_weights_and_1_for_one_alone():
    logits = torch.zeros(1, MASK, 64, *CELLS)
    torch.testing.assert_close(peakedness(logits.flatten(1, 2)), torch.zeros(1, 1, *SIZE), atol=1e-6, rtol=0)
    logits[:, 4] = 100.0
    torch.testing.assert_close(peakedness(logits.flatten(1, 2)), torch.ones(1, 1, *SIZE))


@pytest.mark.parametrize("size", [(36, 40), (32, 24), (32, 39)])
def test_sides_that_do_not_suit_are_refused_with_what_would(size):
    with pytest.raises(DataError, match="multiples of 8 and at least 32; `padded` makes them so"):
        network()(*torch.zeros(2, 1, 3, *size))


def test_the_published_size():
    memflow = MemFlow().to("meta")
    estimate = memflow(*torch.zeros(2, 1, 3, 128, 136, device="meta"))

    unused_positions = 2 * 319 * 128
    assert sum(array.numel() for array in memflow.parameters()) + unused_positions == 6_273_149
    assert memflow.least == 128
    assert len(estimate.flows) == 9


def test_the_second_name_of_a_normalization_does_not_count():
    names = ["cnet.layer2.0.norm3.weight", "cnet.layer2.0.downsample.1.weight", "att.pos_emb.rel_ind", "cnet.wrong"]

    found = translate(LAYOUTS["memflow"], names)

    assert {ours: how.sources for ours, how in found.made.items()} == {
        "memflow.context.stages.1.0.shortcut.1.weight": (names[1],)
    }
    assert set(found.dropped) == {names[0], names[2]}
    assert found.unknown == ("cnet.wrong",)
