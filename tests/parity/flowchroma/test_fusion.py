"""Fusion networks, and the discriminator with its power iteration."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from gradatim.systems.flowchroma.adversarial import discriminator_loss, generator_loss
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.discriminator import Discriminator
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1, PlaceholderFusion, SimpleFusionNet, UNetFusionNet
from gradatim.weights import Weights, transfer
from parity.flowchroma.support import (
    GRADIENT,
    LOSS,
    PART,
    by_rule,
    case,
    filled_into,
    index_of,
    keys_of,
    names_of,
    thinned,
    told,
    values_of,
)

pytestmark = pytest.mark.parity


def keys_for(root, kind):
    (keys,) = [name for name in index_of(root)["fusion_nets"]["keys"] if kind in name]
    return keys


def simple(root):
    return filled_into(root, "fusion_nets", "fusion", SimpleFusionNet(), "fusion-simple", keys_for(root, "simple"))


def proposals_of(found):
    """What all networks take, in order, with the proposal that has the lightness which was given beside it."""
    four = [found.input(name) for name in ("memflow_lab", "conf", "swintexco_lab", "sim")]
    lightness = torch.cat([found.input("L"), four[2][:, 1:]], dim=1)
    return four, (*four[:2], lightness, four[3])


@torch.no_grad()
def test_three_networks(parity_root):
    found = case(parity_root, "fusion_nets")
    four, with_lightness = proposals_of(found)
    v1 = filled_into(parity_root, "fusion_nets", "fusion", FusionNetV1(), "fusion-v1", keys_for(parity_root, "v1"))

    mean = PlaceholderFusion()(*with_lightness)

    found.check("placeholder_lab", torch.cat([with_lightness[2][:, :1], mean], dim=1), atol=PART)
    found.check("simple_ab", simple(parity_root)(*with_lightness), atol=PART)
    found.check("v1_ab", v1(*four), atol=PART)
    found.close()


@torch.no_grad()
def test_a_network_that_takes_in_a_batch(parity_root):
    found = case(parity_root, "fusion_simple_train")
    _, with_lightness = proposals_of(case(parity_root, "fusion_nets"))
    network = simple(parity_root).train()

    found.check("simple_ab", network(*with_lightness), atol=PART)
    found.check("running_mean0", network.norms[0].running_mean, atol=PART)
    found.check("running_var0", network.norms[0].running_var, atol=PART)
    found.close()


def test_every_array_of_the_u_net_has_a_place(parity_root):
    network = UNetFusionNet()
    arrays = by_rule(parity_root, "keys_fusion_unet_checkpointed_part.json")
    weights = Weights(path=Path("by-rule"), format="rule", arrays=arrays)

    (account,) = transfer(weights, {"fusion": network}, layouts=LAYOUTS)

    assert account.layout == "fusion-unet"
    assert account.complete
    assert not account.dropped
    assert account.arrays == (len(arrays), len(network.state_dict()))
    assert {name.split(".")[0] for names in account.kept.values() for name in names} == {"merge"}


def gan(root):
    keys = index_of(root)["gan"]["keys"]
    network = Discriminator(keys_of(root, keys)["layer1.0.module.weight_bar"][0][1])
    network = filled_into(root, "gan", "discriminator", network, "discriminator", keys)
    assert len(network.state_dict()) == len(keys_of(root, keys))
    return network


def test_a_discriminator_that_iterates_in_every_pass(parity_root):
    found = case(parity_root, "gan")
    values = values_of(parity_root, "gan", 5)
    fresh = gan(parity_root)
    small = {name: found.input(f"{name}28").requires_grad_(name == "fake") for name in ("real", "fake")}
    (factor,) = re.findall(r"nearest-upsampled by (\d+)", told(parity_root, "gan"))
    real, fake = (F.interpolate(small[name], scale_factor=float(factor)) for name in ("real", "fake"))
    close = {"atol": 0, "rtol": LOSS}

    network = copy.deepcopy(fresh)
    score, features = network(real)
    torch.testing.assert_close(score.tolist(), values["score_first_call_real"], **close)
    torch.testing.assert_close(network(real)[0].tolist(), values["score_second_call_real"], **close)
    found.check("feature4_s", thinned(found, "feature4_s", features), atol=PART)
    torch.testing.assert_close(features.abs().mean().item(), values["feature4_mean_abs"], **close)

    network = copy.deepcopy(fresh)
    false, true = network(fake)[0], network(real)[0]
    (name,) = [name for name in values if name.startswith("generator_loss")]
    loss, length = values[name]
    generated = float(re.search(r"weight ([\d.]+)", name)[1]) * generator_loss(true, false)
    torch.testing.assert_close(generated.item(), loss, **close)
    (gradient,) = torch.autograd.grad(generated, small["fake"])
    torch.testing.assert_close(gradient.norm().item(), length, atol=0, rtol=GRADIENT)

    network = copy.deepcopy(fresh)
    false, true = network(fake)[0], network(real)[0]
    loss, length = values["discriminator_loss, gradnorm wrt layer1 weight_bar"]
    discriminated = discriminator_loss(true, false)
    torch.testing.assert_close(discriminated.item(), loss, **close)
    (gradient,) = torch.autograd.grad(discriminated, network.convs[0].weight)
    torch.testing.assert_close(gradient.norm().item(), length, atol=0, rtol=GRADIENT)
    found.close()


def test_no_case_is_left_out(parity_root):
    assert names_of(parity_root, "fusion_") | names_of(parity_root, "gan") == {
        "fusion_nets", "fusion_simple_train", "gan",
    }  # fmt: skip
