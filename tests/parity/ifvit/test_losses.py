"""Losses of both modules with their gradients, and scores."""

from math import isqrt

import pytest
import torch

from gradatim.systems.ifvit.dense import matrix_loss, points_loss
from gradatim.systems.ifvit.matching import dual_softmax
from gradatim.systems.ifvit.metric_losses import arcface_loss, cosine, cosine_embedding_loss, fused_score
from gradatim.systems.ifvit.parts.heads import Centers
from parity.ifvit.support import EMBEDDING, GRADIENT, LOSS, case, keys_of
from parity.support import fill_rule

pytestmark = pytest.mark.parity


def check_with_gradient(found, name, loss, of, gradient=None):
    """Compare a loss, and the length of its gradient."""
    found.check(name, loss, atol=0, rtol=LOSS)
    length = torch.autograd.grad(loss, of, retain_graph=True)[0].norm()
    found.check(gradient or f"{name}_gradnorm", length, atol=0, rtol=GRADIENT)


def test_points_in_every_form_that_the_original_has_or_should_have(parity_root):
    found = case(parity_root, "loss_dense")
    probability = dual_softmax(found.input("logits")).requires_grad_()
    coarse = found.input("P2").requires_grad_()
    points, valid = found.input("gt_matches"), found.input("valid")
    grid = tuple(found.input("feature_hw").tolist())
    found.input("gt_dense_seed")
    size = {"grid": grid, "image_size": (8 * grid[0], 8 * grid[1])}
    side = isqrt(coarse.shape[1])
    small = {"grid": (side, side), "image_size": size["image_size"]}

    sample = points_loss(probability, points, valid, **size)
    broadcast = points_loss(probability, points, valid, **size, average="original")
    check_with_gradient(found, "LD_nomask", points_loss(probability, points, **size, average="points"), probability)
    check_with_gradient(found, "LD_masked_fixed_per_sample", sample, probability)
    check_with_gradient(found, "LD_masked_original_broadcast", broadcast, probability)
    scaled = points_loss(coarse, points, valid, **small, cell=8, average="original")
    check_with_gradient(found, "LD_scale8_on_stride16", scaled, coarse)
    found.close()


def test_matrices(parity_root):
    found = case(parity_root, "loss_dense_matrix")
    probability = found.input("P").requires_grad_()
    target, mask = found.input("gt"), found.input("mask")
    check_with_gradient(found, "loss", matrix_loss(probability, target), probability)
    check_with_gradient(found, "loss_masked", matrix_loss(probability, target, mask), probability)
    found.close()


def test_embeddings_classes_and_scores(parity_root):
    found = case(parity_root, "loss_matcher")
    g1, g2, l1, l2 = (found.input(f"emb_{name}").requires_grad_() for name in ("g1", "g2", "l1", "l2"))
    pair, ids = found.input("label_pair"), [found.input("class_id1"), found.input("class_id2")]
    told = keys_of(parity_root)["arcface"]
    weight = torch.from_numpy(fill_rule(parity_root)(told["fill_key"], tuple(told["shape"])))
    centers = Centers(weight.shape[1], weight.shape[0])
    centers.weight.data.copy_(weight.T)

    for margin in (0.4, 0.2):
        check_with_gradient(found, f"LE_m{margin}", cosine_embedding_loss(g1, g2, pair, margin=margin), g1)
    for scale, margin in ((64, 0.4), (30, 0.5)):
        loss = arcface_loss(g1, centers(), ids[0], margin=margin, scale=scale)
        check_with_gradient(found, f"LA_s{scale}_m{margin}", loss, g1)
    loss = arcface_loss(g1, centers(), ids[0], margin=0.4, scale=64)
    length = torch.autograd.grad(loss, centers.weight)[0].norm()
    found.check("LA_s64_m0.4_gradnorm_weight", length, atol=0, rtol=GRADIENT)

    whole, local = (cosine_embedding_loss(a, b, pair) for a, b in ((g1, g2), (l1, l2)))
    classes = arcface_loss(torch.cat([g1, g2, l1, l2]), centers(), torch.cat([*ids, *ids]))
    mean = (whole + local) / 2
    assert float(found.input("total_L_D")) == 0
    for name, value in (
        ("L_E", mean), ("L_E_global", whole), ("L_E_local", local), ("L_A", classes),
        ("total", 0.1 * mean + 1.0 * classes),
    ):  # fmt: skip
        found.check(f"total_{name}", value, atol=0, rtol=LOSS)
    found.check("score_global", cosine(g1, g2), atol=EMBEDDING)
    found.check("score_local", cosine(l1, l2), atol=EMBEDDING)
    found.check("score_fused", fused_score(cosine(g1, g2), cosine(l1, l2)), atol=EMBEDDING)
    found.close()
