"""Whole sequences as the original's three versions color them: an output that is fed back, and three memories.

Rounding grows from frame to frame, so that later ones are compared by how much most of their pixels differ.
"""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from gradatim.errors import WeightsError
from gradatim.systems.flowchroma.color import lab_of_levels, lab_of_values
from gradatim.systems.flowchroma.fusion_system import FusionSystem
from gradatim.systems.flowchroma.matching import match_sequences
from gradatim.systems.flowchroma.parts.carrying import Carrying
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1, SimpleFusionNet
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.warpnet import SHARP_TEMPERATURE, WarpNet
from gradatim.systems.flowchroma.recurrence import color_sequences
from gradatim.weights import read_weights
from parity.flowchroma.support import (
    PART,
    by_rule,
    case,
    filled_into,
    index_of,
    load,
    memflow,
    names_of,
    scaled,
    thinned,
    values_of,
)

pytestmark = [pytest.mark.parity, pytest.mark.slow]

SHARE = 0.99
CLOSE = (1e-4, 2e-4, 3e-3, 5e-2)
"""How near so many of a frame's values are to the original's, frame by frame; all of the first frame's are."""
MEAN = 1.5e-3
"""Largest mean difference of the last frame; another memory's is larger."""
CONFIDENCE = 1e-3
CHANGED = 1e-3
"""Share of pixels whose best match may be another where only that one counts."""

MEMORIES = {
    "system_main": {"max_history": None, "memory_keys": "values"},
    "system_guide": {"max_history": None, "memory_keys": "own"},
    "system_memory": {"max_history": 1, "memory_keys": "own"},
}


def number(root, name, word, pattern):
    """A number that the index tells of a case in words."""
    (found,) = set(re.findall(pattern, index_of(root)[name][word]))
    return float(found)


def pictures(root):
    """The frames and the reference, which are stored small, as (H, W, 3) each."""
    found = case(root, "system_main")
    large = np.ones((4, 4, 1), np.uint8)
    return [np.kron(x, large) for x in found.input("frames_u8_56").numpy()], np.kron(
        found.input("ref_u8_56").numpy(), large
    )


@pytest.fixture(scope="module")
def networks(parity_root):
    """MemFlow, backbone, matching and fusion, which all cases share."""
    name = "system_main"
    keys = {part: index_of(parity_root)[of]["keys"] for part, of in (("swin", "swin_embed"), ("warpnet", "warpnet"))}
    (fusion_keys,) = [file for file in index_of(parity_root)["fusion_nets"]["keys"] if "v1" in file]
    small = number(parity_root, name, "weights", r"conv10_ab\.weight x (0[\d.]*\d)")
    fusion = FusionNetV1().eval()
    load(scaled(by_rule(parity_root, fusion_keys), {"conv10_ab.weight": small}), {"fusion": fusion}, "fusion-v1")
    return (
        memflow(parity_root, "memflow_pair"),
        filled_into(parity_root, "swin_embed", "swin", SwinPyramid(), "swin", keys["swin"]),
        filled_into(parity_root, "warpnet", "warpnet", WarpNet(), "warpnet", keys["warpnet"]),
        fusion,
    )


def temperature(root, name):
    return number(root, name, "what", r"matching temperature ([\d.]+)")


def flow_scale(root, name):
    return number(root, name, "what", r"flow multiplied by (\d+)")


@torch.no_grad()
def by_lists(root, networks):
    """The system as loops use it, with lists, and its proposals."""
    name = "system_main"
    flows, swin, warpnet, fusion = networks
    flows.memory_keys = MEMORIES[name]["memory_keys"]
    system = FusionSystem(
        memflow=flows,
        swin=swin,
        warpnet=warpnet,
        fusion_net=fusion,
        eval_temperature=temperature(root, name),
        max_history=MEMORIES[name]["max_history"],
        flow_scale=flow_scale(root, name),
        target_ab="ground_truth",
    ).eval()
    frames, reference = pictures(root)
    labs, images = [lab_of_levels(frame) for frame in frames], [Image.fromarray(frame) for frame in frames]
    outputs = system.forward_sequence(labs, images, 4 * [Image.fromarray(reference)], return_memflow=True)
    system.eval_temperature = SHARP_TEMPERATURE
    return *(torch.stack(each) for each in outputs), system.swintexco_inference(Image.fromarray(reference), images[1])


@pytest.fixture(scope="module")
def matches(parity_root, networks):
    """What the reference gives the frames, which the memory has no part in."""
    pytest.importorskip("cv2")
    frames, reference = pictures(parity_root)
    _, swin, warpnet, _ = networks
    lightness = torch.stack([lab_of_values(frame)[:1] for frame in frames])[None]
    (degree,) = {temperature(parity_root, name) for name in MEMORIES}
    with torch.no_grad():
        return match_sequences(
            swin,
            warpnet,
            lightness,
            lab_of_values(reference)[None, None],
            size=tuple(lightness.shape[3:]),
            temperature=degree,
        )


@torch.no_grad()
def by_tensors(root, name, networks, matches):
    """Outputs, proposals and confidences of a batch of one."""
    flows, _, _, fusion = networks
    flows.memory_keys = MEMORIES[name]["memory_keys"]
    carrying = Carrying(
        flow_scale=flow_scale(root, name), max_history=MEMORIES[name]["max_history"], target_ab="ground_truth"
    )
    frames = torch.stack([lab_of_levels(frame) for frame in pictures(root)[0]])[None]
    colored = color_sequences(flows, fusion, frames, matches=matches, carrying=carrying)
    return colored.outputs[0], colored.carried[0], colored.confidences[0]


def compare(found, name, colors):
    """Compare the last frames of a sequence, as many as are stored; prints what most of each differ by at most."""
    stored = found.input(name)
    colors = thinned(found, name, colors[-len(stored) :])
    nearness = []
    for limit, ours, theirs in zip(CLOSE[-len(stored) :], colors, stored, strict=True):
        difference = (ours - theirs).abs().flatten()
        most = difference.quantile(SHARE) if limit != CLOSE[0] else difference.max()
        assert most <= limit, f"{found.name}, {name}: {most} > {limit}"
        nearness.append(float(most))
    assert float(difference.mean()) <= MEAN, f"{found.name}, {name}: {difference.mean()}"
    print(f"{found.name}, {name}: {', '.join(f'{x:.1e}' for x in nearness)}; mean of the last {difference.mean():.1e}")


def check_sequence(root, name, found, outputs, carried, confidences):
    compare(found, "results_ab_s", outputs[:, 1:])
    compare(found, "memflow_ab_s", carried[:, 1:])
    last = len(found.arrays["conf_s"])
    found.check("conf_s", thinned(found, "conf_s", confidences[-last:]), atol=CONFIDENCE)
    assert not carried[0].any()
    values = values_of(root, name, 2)
    for word, tensors in (("mean_abs_ab", outputs[:, 1:].abs()), ("conf_mean", confidences)):
        torch.testing.assert_close(tensors.mean(dim=(1, 2, 3)).tolist(), values[word], atol=MEAN / 5, rtol=0)
    for other in MEMORIES.keys() - {name}:
        theirs = case(root, other).input("results_ab_s")
        ours = thinned(found, "results_ab_s", outputs[-len(found.arrays["results_ab_s"]) :, 1:])
        difference = float((ours[-1] - theirs[-1]).abs().mean())
        print(f"{name}: {difference:.1e} from {other}")
        assert difference > MEAN


def test_a_memory_that_compares_with_values(parity_root, networks):
    pytest.importorskip("cv2")
    found = case(parity_root, "system_main")
    outputs, carried, confidences, (colors, similarity) = by_lists(parity_root, networks)
    found.input("frames_u8_56"), found.input("ref_u8_56")

    check_sequence(parity_root, "system_main", found, outputs, carried, confidences)

    found.check("sim_s", thinned(found, "sim_s", similarity), atol=PART)
    other = (thinned(found, "warp_ab_s", colors) - found.input("warp_ab_s")).abs().amax(dim=1) > PART
    print(f"system_main: {float(other.float().mean()):.2%} of the pixels take another color at 1e-10")
    assert other.float().mean() <= CHANGED
    found.close()


@pytest.mark.parametrize("name", ["system_guide", "system_memory"])
def test_a_memory_with_keys_of_its_own(parity_root, networks, matches, name):
    found = case(parity_root, name)

    check_sequence(parity_root, name, found, *by_tensors(parity_root, name, networks, matches))

    found.close()


def test_the_system_comes_out_of_sample_files_unless_they_are_of_the_original_swintexco(parity_root):
    folder = parity_root / "flowchroma" / "format"
    (flows,), (colors,) = folder.glob("memflow_final*"), folder.glob("swintexco_*")
    channels = read_weights(colors / "colornet.pth").arrays["conv1_1.0.weight"].shape[1]
    files = {"memflow_ckpt": flows, "swintexco_ckpt": colors, "fusion_net": SimpleFusionNet()}

    if channels == 4:
        system = FusionSystem("../MemFlow", "../SwinSingle", **files)
        assert not any(array.is_meta for array in system.state_dict().values())
    else:
        # Its networks take colors in other units.
        with pytest.raises(WeightsError, match=rf"file has \(32, {channels}, 3, 3\), part needs \(32, 4, 3, 3\)"):
            FusionSystem("../MemFlow", "../SwinSingle", **files)


def test_no_case_is_left_out(parity_root):
    assert names_of(parity_root, "system_") == MEMORIES.keys()
