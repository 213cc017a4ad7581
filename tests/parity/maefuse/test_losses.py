"""The losses and their gradients are the original's."""

import pytest
import torch
from torch import Tensor

from gradatim.systems.maefuse.losses import (
    edges,
    fused_mean,
    gradient,
    gray_levels,
    laplacian,
    laplacian_response,
    pattern_mean,
)
from parity.maefuse.support import Case, cases

pytestmark = pytest.mark.parity
LEVELS = 255  # the files hold levels, our losses take [0, 1]


def test_the_fusion_loss_its_maps_and_its_gradients_are_the_originals(parity_root):
    for case in cases(parity_root, "losses*"):
        check_fusion_loss(case)
        check_mean_loss(case)
        case.close()


def check_fusion_loss(case: Case) -> None:
    generated, visible, infrared = (case.input(name) / LEVELS for name in ("generated", "visible", "infrared"))
    generated.requires_grad_()
    losses = {"grad": gradient(generated, visible, infrared), "laplacian": laplacian(generated, visible, infrared)}
    losses["total"] = losses["grad"] + 2 * losses["laplacian"]

    for name, loss in losses.items():
        slope = slope_in_levels(loss, generated)
        case.check(name, loss, atol=0, rtol=1e-6)
        case.check(f"d_{name}", slope.norm(), atol=0, rtol=1e-5)
    case.check("d_total_array", slope_in_levels(losses["total"], generated), atol=1e-7)
    gray = gray_levels(generated)
    case.check("gray", gray, atol=1e-4)
    case.check("sobel", edges(gray), atol=1e-3)
    case.check("laplacian_map", laplacian_response(gray), atol=1e-3)


def slope_in_levels(loss: Tensor, generated: Tensor) -> Tensor:
    return torch.autograd.grad(loss, generated, retain_graph=True)[0] / LEVELS


def check_mean_loss(case: Case) -> None:
    feature, visible, infrared = (case.input(name) for name in ("feat", "feat_vi", "feat_ir"))
    feature.requires_grad_()
    loss = pattern_mean(feature, visible, infrared)

    assert torch.equal(loss, fused_mean(feature, visible, infrared))
    case.check("mean_loss", loss, atol=0, rtol=1e-6)
    case.check("d_mean_loss", torch.autograd.grad(loss, feature)[0].norm(), atol=0, rtol=1e-5)
