"""Files as LoFTR's and IFViT's programs write them: every array, and what the networks make of them."""

import json

import numpy as np
import pytest
import torch

from gradatim.systems.ifvit.layouts import LAYOUTS, told_of
from gradatim.systems.ifvit.model import PARTS, IFViTSettings
from gradatim.weights import Wish, read_weights, transfer
from parity.ifvit.support import (
    EMBEDDING,
    FEATURES,
    PROBABILITY,
    check_matches,
    compared,
    first_of,
    last_of,
    loaded,
    registered,
)
from parity.support import Case

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def folder(parity_root):
    return parity_root / "ifvit" / "format"


def told(weights, layout):
    """Settings that lie beside a file's arrays."""
    return told_of(layout, json.loads(weights.metadata["fields"]), {"transformer.layers.0.first.query.weight": ()})


def check_arrays(found, weights):
    """Every array that the case lists is in the file, to the bit; returns how many."""
    names = [name.removeprefix("array:") for name in found.arrays if name.startswith("array:")]
    for name in names:
        assert torch.equal(weights.arrays[name], found.input(f"array:{name}")), name
    return len(names)


def test_the_layers_of_a_loftr_file_are_those_that_the_original_converts(folder):
    ours = read_weights(folder / "tiny_outdoor_ds.ckpt")
    theirs = read_weights(folder / "tiny_loftr_transformer.npz")
    layers = len({name.split(".")[1] for name in theirs.arrays})
    first, accounts = loaded(ours, "loftr", ["transformer"], backbone="loftr_fpn", widths=(4, 4, 8))
    second, others = loaded(theirs, "converter", ["transformer"], backbone="loftr_fpn", widths=(4, 4, 8))

    assert accounts[0].arrays == others[0].arrays == (len(theirs.arrays), 10 * layers)
    for name, array in first["transformer"].state_dict().items():
        assert torch.equal(array, second["transformer"].state_dict()[name]), name
    print(f"{len(theirs.arrays)} arrays of both files equal to the bit")


@pytest.mark.parametrize(
    ("file", "layout"), [("tiny_outdoor_ds.ckpt", "loftr"), ("tiny_loftr_transformer.npz", "converter")]
)
def test_a_loftr_file_feeds_both_images_of_a_legacy_transformer(folder, file, layout):
    weights = read_weights(folder / file)
    shared = loaded(weights, layout, ["transformer"], widths=(2, 4, 8))[0]["transformer"].state_dict()
    parts, (account,) = loaded(weights, f"{layout}-legacy", ["transformer"], widths=(2, 4, 8), layers=4)

    left = [names for why, names in account.dropped.items() if "fewer layers" in why]
    ((_, kept),) = account.kept.items()
    assert (account.arrays, len(kept), [len(names) for names in left]) == ((80, 128), 48, [40])
    for name, array in parts["transformer"].state_dict().items():
        layer, _, rest = name.removeprefix("layers.").replace("first.", "").replace("second.", "").partition(".")
        theirs = shared.get(f"layers.{layer}.{rest}")
        assert torch.equal(array, torch.zeros_like(array) if theirs is None else theirs), name


@torch.no_grad()
def test_module_1(folder):
    weights = read_weights(folder / "tiny_dense_reg_ckpt.pkl")
    found = Case(folder / "tiny_dense_reg_expected.npz")
    count = check_arrays(found, weights)
    with np.load(folder / "tiny_dense_reg_expected.npz") as expected:
        assert "'step'" in weights.notes[0]
        assert int(expected["step"]) == int(found.input("step"))
    parts, accounts = loaded(weights, "dense", ["backbone", "transformer"], **told(weights, "dense"))
    a, b, probability, matches = registered(parts, *(first_of(found.input(name)) for name in ("img1", "img2")))

    assert count == len(weights.arrays)
    assert sum(account.arrays[0] for account in accounts) + 1 == count
    found.check("feat1", last_of(a), atol=FEATURES)
    found.check("feat2", last_of(b), atol=FEATURES)
    found.check("P", probability, rtol=PROBABILITY, atol=1e-7)
    check_matches(found, "matches", probability, matches)
    found.close()
    print(f"{count} arrays equal to the bit")


def matcher_parts(weights, names):
    """Module 2 with fresh running statistics, which its files do not hold."""
    settings = IFViTSettings(transformer="legacy", widths=(2, 4, 8), width=8, embedding=4, classes=5)
    modules = {name: PARTS[name](settings).eval() for name in names}
    wishes = [
        Wish(part=name, module=module, file_part=name, allow_missing=(r".*running_(mean|var)",))
        for name, module in modules.items()
    ]
    return modules, transfer(weights, wishes, layout="matcher", layouts=LAYOUTS)


@torch.no_grad()
@pytest.mark.parametrize("shared", [False, True])
def test_module_2_whose_transformers_are_equal(folder, shared):
    weights = read_weights(folder / "tiny_matcher_ckpt.pkl")
    found = Case(folder / "tiny_matcher_expected.npz")
    count = check_arrays(found, weights)
    names = [name for name in PARTS if not shared or name != "local_transformer"]
    parts, accounts = matcher_parts(weights, names)
    images, regions = ([first_of(found.input(f"{kind}{n}")) for n in (1, 2)] for kind in ("img", "roi"))
    embeddings, probability, _ = compared(parts, images, regions)

    assert told(weights, "matcher") == {"heads": 8, "attention": "linear"}
    assert count == len(weights.arrays) - 1  # All but the centers.
    assert sum(account.arrays[0] for account in accounts) == len(weights.arrays) - 128 * shared
    for name, y in zip(("emb_g1", "emb_g2", "emb_l1", "emb_l2"), embeddings, strict=True):
        # Few and large entries: the tolerance is relative to them.
        found.check(name, y, atol=EMBEDDING, rtol=1e-5)
    found.check("P", probability, rtol=PROBABILITY, atol=1e-7)
    found.close()
