"""MemFlow: its encoders, its steps, pairs of frames, three memories, and colors carried by a flow."""

from itertools import pairwise

import pytest
import torch

from gradatim.systems.flowchroma.parts.correlation import correlation_pyramid, look_up
from gradatim.systems.flowchroma.parts.memory import remembered
from gradatim.systems.flowchroma.parts.update import upsampled
from gradatim.systems.flowchroma.warping import pixel_grid, warp_color_by_flow
from parity.flowchroma.support import FLOW, PART, by_rule, case, keys_of, load, memflow, names_of, thinned

pytestmark = pytest.mark.parity


def frames_of(root):
    """The frames that all cases share, (N, 1, 3, H, W); the index lists them with the encoders' case."""
    return case(root, "memflow_encoders").input("frames")[:, None]


def grid_of(frames):
    return pixel_grid((frames.shape[-2] // 8, frames.shape[-1] // 8), frames.device)


@torch.no_grad()
def test_the_encoders(parity_root):
    found = case(parity_root, "memflow_encoders")
    frames = found.input("frames")[:, None]
    network = memflow(parity_root, "memflow_encoders")

    context = network.encode_context(frames[0])
    features = network.encode_features(frames[:2].transpose(0, 1))

    for name, values in (
        ("net_s", context.hidden), ("inp_s", context.inputs), ("query_s", context.query), ("key_s", context.key),
    ):  # fmt: skip
        found.check(name, thinned(found, name, values), atol=PART)
    found.check("fmaps_s", thinned(found, "fmaps_s", features), atol=PART)
    found.check("coords0", grid_of(frames), atol=0)
    found.close()


@torch.no_grad()
def test_one_step_and_its_parts(parity_root):
    found = case(parity_root, "memflow_update_parts")
    frames, places = frames_of(parity_root), found.input("coords")
    network = memflow(parity_root, "memflow_update_parts")
    context, features = network.encode_context(frames[0]), network.encode_features(frames[:2])
    flow = places - grid_of(frames)

    correlation = look_up(correlation_pyramid(*features, network.levels), places, network.radius)
    motion = network.update.encoder(flow, correlation)
    # The case stands in half the motion for what attention would bring, after gamma and all.
    gathered = -0.5 * motion / network.update.gamma
    update = network.update(context.hidden, context.inputs, motion, gathered)
    mask = network.update.mask(update.hidden)

    found.check("corr_s", thinned(found, "corr_s", correlation), atol=PART)
    found.check("motion_s", thinned(found, "motion_s", motion), atol=PART)
    found.check("value_s", thinned(found, "value_s", network.update.value(motion)), atol=PART)
    found.check("net_out_s", thinned(found, "net_out_s", update.hidden), atol=PART)
    found.check("delta_flow", update.delta, atol=PART)
    found.check("mask_s", thinned(found, "mask_s", mask), atol=PART)
    found.check("flow_up", upsampled(flow, mask), atol=PART)
    found.close()


@torch.no_grad()
def test_a_pair_without_memory(parity_root):
    found = case(parity_root, "memflow_pair")
    frames = frames_of(parity_root)

    estimate = memflow(parity_root, "memflow_pair")(frames[0], frames[1])

    for name in [name for name in found.arrays if name.startswith("flow_")]:
        step = int(name.removeprefix("flow_"))
        found.check(name, estimate.flows[step - 1], atol=FLOW if step > 1 else PART)
    found.check("value_s", thinned(found, "value_s", estimate.value[:, :, None]), atol=PART)
    found.check("confidence", estimate.confidence, atol=PART)
    found.close()


MEMORIES = {
    "separate": {"limit": None, "memory_keys": "own"},
    "last1": {"limit": 1, "memory_keys": "own"},
    "values_as_keys": {"limit": None, "memory_keys": "values"},
}


@torch.no_grad()
def test_a_third_pair_with_every_kind_of_memory(parity_root):
    found = case(parity_root, "memflow_memory")
    frames = frames_of(parity_root)
    network = memflow(parity_root, "memflow_memory")
    names = [name.removeprefix("flow_") for name in found.arrays if name.startswith("flow_")]
    for name in names:
        kind = MEMORIES[name]
        network.memory_keys, memory = kind["memory_keys"], None
        for frame, next_frame in pairwise(frames):
            estimate = network(frame, next_frame, memory)
            memory = remembered(memory, estimate.key, estimate.value, limit=kind["limit"])
        found.check(f"flow_{name}", estimate.flow, atol=FLOW)
        found.check(f"conf_{name}_s", thinned(found, f"conf_{name}_s", estimate.confidence), atol=PART)
    assert len(names) == len(MEMORIES)
    found.close()


def test_colors_carried_by_a_flow(parity_root):
    found = case(parity_root, "memflow_warp")
    ab, flow = found.input("ab"), found.input("flow")
    found.check("warped", warp_color_by_flow(ab, flow), atol=PART)
    found.check("warped8_s", thinned(found, "warped8_s", warp_color_by_flow(ab, 8 * flow)), atol=PART)
    found.close()


def test_every_array_of_the_list_is_used_or_dropped_with_a_reason(parity_root):
    network = memflow(parity_root, "memflow_pair")
    arrays = by_rule(parity_root, "keys_memflow.json")
    (account,) = load(arrays, {"memflow": network}, "memflow")
    dropped = [name for names in account.dropped.values() for name in names]

    assert account.arrays[0] + len(dropped) == len(keys_of(parity_root, "keys_memflow.json"))
    assert len(account.dropped) == 2
    assert account.arrays[0] == account.arrays[1] == len(network.state_dict())


def test_no_case_is_left_out(parity_root):
    assert names_of(parity_root, "memflow_") == {
        "memflow_encoders", "memflow_update_parts", "memflow_pair", "memflow_memory", "memflow_warp",
    }  # fmt: skip
