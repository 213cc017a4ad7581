"""SwinTExCo: its backbone's pyramid, matching, coloring, and averages over places that look alike."""

import re

import pytest
import torch
from torch.nn import functional as F

from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet
from gradatim.systems.flowchroma.parts.smoothing import averaged_by_features, averaged_nearby
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.warpnet import SHARP_TEMPERATURE, WarpNet, unit_features
from parity.flowchroma.support import (
    LOSS,
    PART,
    case,
    filled_into,
    index_of,
    names_of,
    thinned,
    told,
    values_of,
)

pytestmark = pytest.mark.parity

TIE = 1e-6
"""Cosines nearer than this are equal."""

FAMILY = ("swin_", "warpnet", "colorvidnet", "local_averages")


def enlarged(image, words):
    """A picture stored small, repeated as the case says."""
    (factor,) = re.findall(r"nearest-upsampled by (\d+)", words)
    return F.interpolate(image, scale_factor=float(factor))


@torch.no_grad()
def test_the_pyramid_of_a_picture(parity_root):
    names = names_of(parity_root, "swin_")
    for name in names:
        found, words = case(parity_root, name), told(parity_root, name)
        (stored,) = [array for array in found.arrays if array.startswith("rgb")]
        network = filled_into(parity_root, name, "swin", SwinPyramid(), "swin", index_of(parity_root)[name]["keys"])

        features = network(enlarged(found.input(stored), words))

        for scale, values in enumerate(features):
            found.check(f"f{scale}_s", thinned(found, f"f{scale}_s", values), atol=PART)
        means = values_of(parity_root, name, 1)["mean_abs"]
        torch.testing.assert_close([x.abs().mean().item() for x in features], means, atol=0, rtol=LOSS)
        found.close()
    assert names


def warpnet(root, name):
    keys = index_of(root)[name].get("keys") or index_of(root)["warpnet"]["keys"]
    (width,) = re.findall(r"feature_channel=(\d+)", index_of(root)["warpnet"]["part"])
    return filled_into(root, name, "warpnet", WarpNet(width=int(width)), "warpnet", keys)


def features_of(found, letter):
    """Features as a case stores them: eighths, not yet of length 1."""
    return [unit_features(found.input(f"{letter}{scale}_int8").float() / 8) for scale in range(4)]


def tied(network, ours, theirs):
    """Cells whose best two matches are equally good, (B, 1, h, w); they must be few."""
    queries, keys = network.queries(ours), network.keys(theirs)
    cosines = torch.einsum("bcn,bcm->bnm", queries.flatten(2), keys.flatten(2))
    first, second = cosines.topk(2, dim=2).values.unbind(dim=2)
    equal = first - second < TIE
    assert equal.float().mean() < 0.01
    return equal.view(len(equal), 1, *queries.shape[2:])


@torch.no_grad()
def test_colors_of_a_reference_at_every_temperature(parity_root):
    found = case(parity_root, "warpnet")
    network = warpnet(parity_root, "warpnet")
    ours, theirs, lab = features_of(found, "A"), features_of(found, "B"), found.input("B_lab")
    temperatures = [name.removeprefix("y_t") for name in found.arrays if name.startswith("y_t")]
    for temperature in temperatures:
        match = network(ours, theirs, lab, temperature=float(temperature))
        colors, similarity = (x[:, :, ::4, ::4] for x in (match.lab, match.similarity))
        assert torch.equal(match.lab, F.interpolate(colors, scale_factor=4.0))
        assert torch.equal(match.similarity, F.interpolate(similarity, scale_factor=4.0))
        if float(temperature) <= SHARP_TEMPERATURE:
            # Either of two cells may be the best where both are as good.
            expected = torch.from_numpy(found.arrays[f"y_t{temperature}"])
            colors = torch.where(tied(network, ours, theirs), expected, colors)
        found.check(f"y_t{temperature}", colors, atol=PART)
        found.check("sim", similarity, atol=PART)
    assert temperatures
    found.close()


@torch.no_grad()
def test_what_the_matching_compares(parity_root):
    found = case(parity_root, "warpnet_inner")
    features = features_of(case(parity_root, "warpnet"), "A")
    network = warpnet(parity_root, "warpnet_inner")
    trunk = network.described(features)

    branches = [branch(x) for branch, x in zip(network.branches, features, strict=True)]
    inner = {**{f"l{n + 2}": x for n, x in enumerate(branches)}, "trunk": trunk, "theta": network.query(trunk)}

    for name, values in inner.items():
        found.check(name, thinned(found, name, values), atol=PART)
    found.close()


@torch.no_grad()
def test_colors_of_a_proposal(parity_root):
    names = names_of(parity_root, "colorvidnet")
    for name in sorted(names):
        found, words = case(parity_root, name), told(parity_root, name)
        (inside,) = map(int, re.findall(r"ColorVidNet\(ic=(\d+)\)", index_of(parity_root)[name]["part"]))
        bound = 128.0 if "out_unit" in found.arrays else 1.0
        assert bound == 1.0 or "multiplies by 128" in words
        network = ColorVidNet(inside, bound=bound)
        network = filled_into(parity_root, name, "colornet", network, "colornet", index_of(parity_root)[name]["keys"])

        (stored,) = [array for array in found.arrays if array.startswith("out")]
        found.check(stored, network(found.input("x")) / bound, atol=PART)
        found.close()
    assert len(names) >= 2


def test_averages_over_places_that_look_alike(parity_root):
    found, words = case(parity_root, "local_averages"), told(parity_root, "local_averages")
    patch, plain, color, whole, scale = (
        float(re.search(pattern, words)[1])
        for pattern in (
            r"patch (\d+)", r"alpha ([\d.]+) for WeightedAverage", r", ([\d.]+) for the colour one",
            r"nonlocal alpha ([\d.]+)", r"scale ([\d.]+)",
        )
    )  # fmt: skip
    norm, mean = map(float, re.search(r"l_norm ([\d.]+), mean ([\d.]+)", words).groups())
    lab, predicted, features = found.input("x_lab"), found.input("x_lab_predict"), found.input("feature")
    by_lightness = torch.cat([norm * lab[:, :1] + mean, lab[:, 1:]], dim=1)

    found.check("avg", averaged_nearby(lab[:, 1:], lab[:, :1], temperature=plain, patch=int(patch)), atol=PART)
    averaged = averaged_nearby(predicted[:, 1:], by_lightness, temperature=color, patch=int(patch))
    found.check("avg_color", averaged, atol=PART)
    averaged = averaged_by_features(predicted[:, 1:], features, temperature=whole, scale=scale, patch=int(patch))
    found.check("avg_nonlocal", averaged, atol=PART)
    found.close()


def test_no_case_is_left_out(parity_root):
    assert {name for prefix in FAMILY for name in names_of(parity_root, prefix)} == {
        "swin_embed", "warpnet", "warpnet_inner", "colorvidnet", "colorvidnet7", "local_averages",
    }  # fmt: skip
