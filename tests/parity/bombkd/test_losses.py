"""Losses, their gradients, pooling and metrics on the original's inputs."""

import pytest
import torch

from gradatim.systems.bombkd import losses
from gradatim.systems.bombkd.metrics import accuracy, linear_cka, procrustes
from parity.bombkd.support import Case

pytestmark = pytest.mark.parity
PURE = {
    "l2": losses.squared_error,
    "l1": losses.absolute_error,
    "cos": losses.cosine_distance,
    "nce": losses.contrastive,
    "vic": losses.variance_invariance_covariance,
    "bar": losses.cross_correlation,
}


def test_every_loss_and_its_gradients_are_the_originals(parity_root):
    case = Case(parity_root, "losses")
    names = list(case.entries["cases"])
    assert names
    for name in names:
        for loss in list(case.entries["cases"][name]):
            if loss == "linear_cka":
                value = linear_cka(case.input(f"{name}.x"), case.input(f"{name}.y"))
                case.check_entry(("cases", name, loss), value, rtol=1e-5)
            else:
                check_loss(case, name, loss)
    check_pools(case)
    case.check("procrustes.R", procrustes(case.input("procrustes.X"), case.input("procrustes.Y")), atol=1e-5)
    case.close()


def check_loss(case: Case, name: str, loss: str) -> None:
    """A loss of vectors, and the one of a batch's values, which has one teacher and one token a clip."""
    x, y = (case.input(f"{name}.{letter}").clone().requires_grad_() for letter in "xy")
    for value in (PURE[loss](x, y), losses.LOSSES[loss]({"t": x.unsqueeze(1)}, {"t": y.unsqueeze(1)})):
        slopes = torch.autograd.grad(value, (x, y))
        case.check_entry(("cases", name, loss, "value"), value, rtol=1e-5)
        for letter, slope in zip("xy", slopes, strict=True):
            case.check_entry(("cases", name, loss, f"grad_norm_{letter}"), slope.norm(), rtol=1e-4)
        case.check(f"{name}.gradx_{loss}", slopes[0], atol=1e-5)


def check_pools(case: Case) -> None:
    """Means over all axes, and the mean that divides by another length than it sums."""
    for name in ("pool3", "pool4"):
        case.check(f"{name}.y", losses.pool_sequence(case.input(f"{name}.x")), atol=1e-6)
    x, lengths = case.input("masked_pool.x"), case.input("masked_pool.len")
    case.check("masked_pool.y", losses.length_pool(x, lengths), atol=1e-6)


def test_accuracies_are_the_originals(parity_root):
    case = Case(parity_root, "metrics")
    logits, target = case.input("logits"), case.input("target")
    for name in list(case.entries["topk"]):
        k = int(name.removeprefix("top"))
        case.check_entry(("topk", name), accuracy(logits, target, k), rtol=1e-6)
    case.close()
