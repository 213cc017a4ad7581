"""Losses of fusion training and of SwinTExCo's, with the lengths of their gradients."""

import re
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from gradatim.systems.flowchroma.color_losses import (
    Proposal,
    adaptive_temporal,
    contextual_reference,
    flow_temporal,
    perceptual,
    perceptual_features,
    smoothness,
)
from gradatim.systems.flowchroma.contextual import contextual
from gradatim.systems.flowchroma.fusion_loss import FusionLoss
from gradatim.systems.flowchroma.parts.vgg import Vgg16
from parity.flowchroma.support import LOSS, case, check_loss, index_of, load, names_of, near, told
from parity.support import fill_rule

pytestmark = pytest.mark.parity
LEFT_OUT = {
    "consistent": "no term of FlowChroma's trainings; how the original SwinTExCo carries a frame over is not known, "
    "and no usual border and grid gives its numbers",
}
CHUNK = 20
"""Places at a time, so that even small maps are taken in several parts."""
ALMOST_GRAY = 3 * LOSS
"""Of pictures whose channels hardly differ the contextual loss is worse known: rounding moves the stored values by
6e-5 from what double precision gives."""
FUSION = {"smallest": 1e-3, "chunk": CHUNK}


def vgg(root):
    network = Vgg16()
    rule = fill_rule(root)
    names = {name: tuple(values.shape) for name, values in network.state_dict().items()}
    load({name: torch.from_numpy(rule(name, shape)) for name, shape in names.items()}, {"vgg": network}, "vgg16")
    return network


def pools(x):
    """What stands for the backbone."""
    return lambda rgb: [F.avg_pool2d(rgb, side) for side in x["pools"]]


def with_gradients(found, *names):
    """All arrays of a case, those with a gradient marked."""
    arrays = {name: found.input(name) for name in found.arrays}
    for name in names:
        arrays[name].requires_grad_()
    return arrays


def proposals(x):
    return Proposal(x["pred_ab"], x["memflow_t1"], x["conf_t1"]), Proposal(x["prev_ab"], x["memflow_t"], x["conf_t"])


def temporal(root, x, values):
    found = adaptive_temporal(*proposals(x))
    apart = [near(found.align, values[1], LOSS), near(found.smooth, values[2], LOSS)]
    return max(*apart, check_loss([values[0], *values[3:]], found.total, x["prev_ab"], x["pred_ab"]))


def contextual_ab(root, x, values):
    return check_loss(values, contextual(x["p16"], x["g16"], best="here", **FUSION), x["p16"])


def contextual_features(root, x, values):
    return check_loss(values, contextual(x["feat_x"], x["feat_y"], **FUSION), x["feat_x"])


def contextual_pools(root, x, values):
    loss = contextual_reference(pools(x), x["pred_lab32"], x["ref_lab32"], uncenter_ab=False)
    return check_loss(values, loss, x["pred_lab32"], rtol=ALMOST_GRAY)


def perceptual_vgg(root, x, values):
    return check_loss(values, perceptual(vgg(root), x["pred_ab"], x["gt_ab"]), x["pred_ab"])


def flow_difference(root, x, values):
    loss = flow_temporal(x["prev_ab"], x["pred_ab"], x["flow"])
    return check_loss(values, loss, x["prev_ab"], x["pred_ab"])


def check_terms(values, terms, of, *, rtol=LOSS):
    """Compare a frame's terms, those that it does not have with 0."""
    worst = check_loss([values["total"], values["gradnorm"]], terms.total, of, rtol=rtol)
    for name in ("l1", "perceptual", "contextual", "temporal"):
        term = getattr(terms, name)
        worst = max(worst, near(term, values[name], rtol)) if term is not None else worst
        assert term is not None or values[name] == 0
    return worst


def first_frame(root, x, values):
    lab, side = x["frame0_lab"], x["ref_lab32"].shape[2:]
    target = torch.cat([lab[:, :1].detach(), x["gt_ab"]], dim=1)
    loss = FusionLoss(vgg=vgg(root), swin=lambda rgb: pools(x)(F.interpolate(rgb, size=side)), uncenter_ab=False)
    assert values["align"] == values["smooth"] == 0
    return check_terms(values, loss.first(lab, target, x["ref_lab32"]), lab, rtol=ALMOST_GRAY)


def first_frame_by_colors(root, x, values):
    """The original's contextual loss where there is no backbone, in its chunks instead of a matrix of all pixels."""
    colors, target = (torch.cat([torch.zeros_like(ab[:, :1]), ab], dim=1) for ab in (x["p16"], x["g16"]))
    loss = FusionLoss(vgg=vgg(root))
    terms = loss.first(colors, target)
    by_colors = loss.contextual * contextual(x["p16"], x["g16"], best="here", **FUSION)
    apart = [
        near(terms.l1, values["l1"], LOSS),
        near(terms.perceptual, values["perceptual"], LOSS),
        near(by_colors, values["contextual"], LOSS),
    ]
    return max(*apart, check_loss([values["total"], values["gradnorm"]], terms.total + by_colors, x["p16"]))


def later_frame(root, x, values):
    now, before = proposals(x)
    steady = adaptive_temporal(now, before)
    apart = [near(steady.align, values["align"], LOSS), near(steady.smooth, values["smooth"], LOSS)]
    return max(*apart, check_terms(values, FusionLoss(vgg=vgg(root)).later(now, x["gt_ab"], before), x["pred_ab"]))


FUSION_CHECKS = {
    "adaptive_temporal": temporal,
    "contextual_ab": contextual_ab,
    "contextual_features": contextual_features,
    "swin_contextual_with_pools": contextual_pools,
    "perceptual_vgg16_relu3_3": perceptual_vgg,
    "temporal_flow": flow_difference,
    "fusion_frame0": first_frame,
    "fusion_frame0_ab_fallback": first_frame_by_colors,
    "fusion_frame1": later_frame,
}


def contextual_loss(x, weight, far, *, best):
    return contextual(x["X"], x["Y"], best=best, chunk=CHUNK), x["X"]


def feature_loss(x, weight, far, *, unlike):
    return weight * perceptual_features(x["pred_feat"], x["true_feat"], unlike=unlike), x["pred_feat"]


def smoothness_loss(x, weight, far):
    features = None if far is None else x["feat0"]
    return smoothness(x["pred_ab"], x["lab"], features, near=weight, far=far or 0.0), x["pred_ab"]


SWINTEXCO_LOSSES = {
    "contextual_forward": partial(contextual_loss, best="there"),
    "contextual_max_dim1": partial(contextual_loss, best="here"),
    "perceptual_plain": partial(feature_loss, unlike=False),
    "perceptual_domain_invariant": partial(feature_loss, unlike=True),
    "smoothness": smoothness_loss,
}


def number_after(word, name):
    """A weight that a name tells."""
    found = re.search(rf"\b{word}([\d.]+)", name)
    return None if found is None else float(found[1])


def compared(root, each, check):
    """Check all numbers of a case that are not left out; returns their kinds, without sizes at the end of a name."""
    kinds = set()
    for name, values in index_of(root)[each]["values"].items():
        kind = re.sub(r"_(\d+x)+\d+$", "", re.split("[ ,]", name)[0])
        if kind not in LEFT_OUT:
            print(f"{each}, {name}: largest relative difference {check(kind, name, values):.1e}")
            kinds.add(kind)
    return kinds


def test_losses_of_fusion_training(parity_root):
    cases = names_of(parity_root, "losses_fusion")
    for each in cases:
        found = case(parity_root, each)
        x = with_gradients(found, "pred_ab", "prev_ab", "pred_lab32", "frame0_lab", "p16", "feat_x")
        sides = map(int, re.search(r"average pools ([\d,]+)", told(parity_root, each))[1].split(","))
        x["pools"] = list(sides)
        kinds = compared(parity_root, each, lambda kind, _, values, x=x: FUSION_CHECKS[kind](parity_root, x, values))
        assert kinds == FUSION_CHECKS.keys()
        found.close()
    assert cases


def test_losses_of_swintexcos_training(parity_root):
    cases = names_of(parity_root, "losses_swintexco")
    for each in cases:
        found = case(parity_root, each)
        x = with_gradients(found, "X", "pred_ab", "pred_feat")

        def check(kind, name, values, x=x):
            weight, far = number_after("w=", name), number_after("nonlocal ", name)
            return check_loss(values, *SWINTEXCO_LOSSES[kind](x, weight, far))

        assert compared(parity_root, each, check) == SWINTEXCO_LOSSES.keys()
        found.close()
    assert cases
