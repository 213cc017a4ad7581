"""Forward passes of every network, and the statistics that a pass in train mode leaves."""

import pytest
import torch

from gradatim.systems.ifvit.matching import best_rows, probabilities
from gradatim.systems.ifvit.parts.tokens import loftr_positions, sine_positions
from parity.ifvit.support import (
    EMBEDDING,
    FEATURES,
    PROBABILITY,
    by_rule,
    case,
    check_matches,
    compared,
    first_of,
    keys_of,
    last_of,
    loaded,
    registered,
    whole,
)

pytestmark = pytest.mark.parity
RESNET = ("backbone",)
DENSE = ("backbone", "transformer")
MATCHER = ("backbone", "transformer", "local_transformer", "embedding")


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18_a", "resnet18_b"])
def test_the_backbone_in_both_modes_and_its_statistics(parity_root, name):
    found = case(parity_root, name)
    backbone = whole(by_rule(parity_root, "resnet18"), "dense", RESNET)["backbone"]
    image = first_of(found.input("x"))

    found.check("y_eval", last_of(backbone(image)), atol=FEATURES)
    found.check("y_train", last_of(backbone.train()(image)), atol=FEATURES)
    found.check("bn0_mean_after", backbone.stem.norm.running_mean, atol=EMBEDDING)
    found.check("bn0_var_after", backbone.stem.norm.running_var, atol=EMBEDDING)
    found.close()


def test_the_table_of_sines(parity_root):
    found = case(parity_root, "pos_encoding")
    height, width, channels = found.input("hw").tolist()
    found.check("pos", sine_positions(channels, (height, width)).flatten(1).T, atol=1e-6)
    found.close()


@torch.no_grad()
def test_the_legacy_transformer_with_both_attentions_and_masks(parity_root):
    found = case(parity_root, "jax_transformer")
    arrays = by_rule(parity_root, "jax_transformer")
    pair, masks = (found.input("feat0"), found.input("feat1")), (found.input("mask0"), found.input("mask1"))
    for attention in ("linear", "full"):
        transformer = whole(arrays, "dense", ["transformer"], attention=attention)["transformer"]
        for number, y in enumerate(transformer.mix(*pair)):
            found.check(f"y{number}_{attention}", y, atol=FEATURES)
        if attention == "linear":
            for number, y in enumerate(transformer.mix(*pair, *masks)):
                found.check(f"y{number}_linear_masked", y, atol=FEATURES)
    found.close()


@torch.no_grad()
def test_the_generic_transformer(parity_root):
    found = case(parity_root, "siamese_transformer")
    features = [first_of(found.input(name)) for name in ("feat1", "feat2")]
    grid = tuple(features[0].shape[2:])
    arrays = by_rule(parity_root, "siamese_transformer")
    transformer = whole(arrays, "dense", ["transformer"], grid=grid)["transformer"]
    for number, y in enumerate(transformer(*features), 1):
        # Outputs reach 20: the tolerance is relative to that.
        found.check(f"y{number}", last_of(y), atol=FEATURES, rtol=1e-5)
    found.close()


def test_the_matching_head(parity_root):
    found = case(parity_root, "matching_head")
    probability = probabilities(first_of(found.input("feat1")), first_of(found.input("feat2")))
    found.check("P", probability, rtol=PROBABILITY, atol=1e-7)
    assert torch.equal(best_rows(probability), found.input("matches").long())
    true = found.input("perm").long()
    assert torch.equal(probability.argmax(dim=1), true.expand(len(probability), -1))
    found.close()


@torch.no_grad()
def test_the_embedding(parity_root):
    found = case(parity_root, "embedding_head")
    embedding = whole(by_rule(parity_root, "embedding_head"), "matcher", ["embedding"], width=256, heads=8)["embedding"]
    x = first_of(found.input("x"))
    found.check("emb", embedding(x), atol=EMBEDDING)
    found.check("emb_vec", embedding(x[:, :, :1, :1]), atol=EMBEDDING)
    found.close()


@torch.no_grad()
def test_module_1(parity_root):
    found = case(parity_root, "module1")
    images = [first_of(found.input(name)) for name in ("img1", "img2")]
    variants = [name.removeprefix("module1_") for name in keys_of(parity_root) if name.startswith("module1_")]
    for variant in variants:
        given = {"attention": "full"} if variant.endswith("full") else {}
        parts = whole(by_rule(parity_root, f"module1_{variant}"), "dense", DENSE, **given)
        a, b, probability, matches = registered(parts, *images)
        rtol = 1e-5 if variant == "generic" else 0.0
        found.check(f"{variant}_feat1", last_of(a), atol=FEATURES, rtol=rtol)
        found.check(f"{variant}_feat2", last_of(b), atol=FEATURES, rtol=rtol)
        found.check(f"{variant}_P", probability, rtol=PROBABILITY, atol=1e-7)
        check_matches(found, f"{variant}_matches", probability, matches)
    assert len(variants) == 3
    found.close()


@torch.no_grad()
def test_module_2(parity_root):
    found = case(parity_root, "module2")
    images = [first_of(found.input(name)) for name in ("img1", "img2")]
    regions = [first_of(found.input(name)) for name in ("roi1", "roi2")]
    names = ("emb_g1", "emb_g2", "emb_l1", "emb_l2")
    arrays = by_rule(parity_root, "module2_loftr_linear")
    parts = whole(arrays, "matcher", MATCHER)

    embeddings, probability, matches = compared(parts, images, regions)
    for name, y in zip(names, embeddings, strict=True):
        found.check(f"loftr_linear_{name}", y, atol=EMBEDDING)
    found.check("loftr_linear_P", probability, rtol=PROBABILITY, atol=1e-7)
    check_matches(found, "loftr_linear_matches", probability, matches)

    transformer = by_rule(parity_root, "module1_loftr_linear", "params/loftr_transformer")
    shared = {**parts, **whole(transformer, "dense", ["transformer"])}
    del shared["local_transformer"]
    for name, y in zip(names, compared(shared, images, regions)[0], strict=True):
        found.check(f"transferred_{name}", y, atol=EMBEDDING)
    found.close()


@torch.no_grad()
def test_module_2_with_the_generic_transformer(parity_root):
    found = case(parity_root, "module2_generic")
    images = [first_of(found.input(name)) for name in ("img1", "img2")]
    regions = [first_of(found.input(name)) for name in ("roi1", "roi2")]
    parts = whole(by_rule(parity_root, "module2_generic"), "matcher", ("backbone", "transformer", "embedding"))
    embeddings, probability, matches = compared(parts, images, regions)
    for name, y in zip(("emb_g1", "emb_g2", "emb_l1", "emb_l2"), embeddings, strict=True):
        found.check(name, y, atol=EMBEDDING)
    found.check("P", probability, rtol=PROBABILITY, atol=1e-7)
    check_matches(found, "matches", probability, matches)
    found.close()


@torch.no_grad()
def test_the_true_loftr(parity_root):
    found = case(parity_root, "loftr_true")
    arrays = by_rule(parity_root, "loftr_outdoor_ds")
    pair = found.input("feat0"), found.input("feat1")
    backbone = loaded(arrays, "loftr", ["backbone"])[0]["backbone"]
    found.check("backbone_coarse", backbone(found.input("image")), atol=FEATURES)

    for layers, end in ((1, "_after1"), (2, "_after2"), (4, "_after4"), (8, "")):
        parts, accounts = loaded(arrays, "loftr", ["transformer"], backbone="loftr_fpn", layers=layers)
        assert accounts[0].arrays == (10 * layers, 10 * layers)
        for number, y in enumerate(parts["transformer"].mix(*pair)):
            found.check(f"y{number}{end}", y, atol=FEATURES)

    size, step = tuple(found.input("pe_hw").tolist()), int(found.input("pe_channel_step"))
    for name, kind in (("pos_nofix", "outdoor"), ("pos_fix", "fixed")):
        found.check(name, loftr_positions(pair[0].shape[2], size, kind)[None, ::step], atol=1e-5)
    found.close()
