"""Losses of color and flow training with the lengths of their gradients, and their metrics."""

import re

import pytest

from gradatim.systems.flowchroma.flow_metrics import color_errors, flow_errors
from gradatim.systems.flowchroma.losses import color_sequence, flow_sequence, temporal_consistency
from parity.flowchroma.support import LOSS, case, check_loss, index_of, names_of, near

pytestmark = pytest.mark.parity
LEFT_OUT = {
    "perceptual_vgg19": "weighs 0 in every published training; its way from LAB to RGB is not known",
    "contextual_vgg19": "weighs 0 in every published training; its way from LAB to RGB is not known",
}


def gamma_of(name):
    return float(re.search(r"gamma ([\d.]+)", name)[1])


def predictions(found):
    names = sorted(name for name in found.arrays if re.fullmatch(r"pred\d+", name))
    return [found.input(name).requires_grad_() for name in names]


def color_sequences(found, name, values):
    colors = predictions(found)
    return check_loss(values, color_sequence(colors, found.input("gt_ab"), gamma=gamma_of(name)), *colors)


def flow_sequences(found, name, values):
    flows = found.input("flow_preds").requires_grad_()
    target, valid = found.input("flow_gt"), found.input("valid")
    return check_loss(values, flow_sequence(flows.unbind(), target, valid, gamma=gamma_of(name)), flows)


def consistency(found, name, values):
    last = predictions(found)[-1]
    return check_loss(values, temporal_consistency(last, found.input("last_ab"), found.input("flow")), last)


def colors_errors(found, name, values):
    bounds = [float(key.removesuffix("_thresh")) for key in values if key.endswith("_thresh")]
    errors = color_errors(predictions(found)[-1], found.input("gt_ab"), bounds)
    assert len(values) == 1 + len(bounds)
    return max(
        near(errors.mean, values["color_error"], LOSS),
        *(near(errors.below[bound], values[f"{bound}_thresh"], LOSS) for bound in bounds),
    )


def flows_errors(found, name, values):
    bounds = [int(key.removesuffix("px")) for key in values if key.endswith("px")]
    errors = flow_errors(found.input("flow_preds")[-1], found.input("flow_gt"), found.input("valid"), bounds)
    assert len(values) == 1 + len(bounds)
    return max(
        near(errors.mean, values["epe"], LOSS),
        *(near(errors.below[bound], values[f"{bound}px"], LOSS) for bound in bounds),
    )


CHECKS = {
    "color_sequence": color_sequences,
    "flow_sequence": flow_sequences,
    "temporal_consistency": consistency,
    "color_metrics": colors_errors,
    "flow_metrics": flows_errors,
}


def test_losses_and_metrics(parity_root):
    cases, compared = names_of(parity_root, "losses_memflow"), 0
    for each in sorted(cases):
        found = case(parity_root, each)
        for name, values in index_of(parity_root)[each]["values"].items():
            kind = name.split(" ")[0]
            if kind in LEFT_OUT:
                continue
            print(f"{each}, {name}: largest relative difference {CHECKS[kind](found, name, values):.1e}")
            compared += 1
        found.input("L")  # Of what is left out alone.
        found.close()
    assert cases
    assert compared == len(CHECKS) * len(cases)
