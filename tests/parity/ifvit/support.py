"""What the parity tests of IFViT share: weights by rule, parts that hold them, and what the two modules give."""

import json
from functools import cache
from pathlib import Path

import torch

from gradatim.systems.ifvit.layouts import LAYOUTS
from gradatim.systems.ifvit.matching import best_rows, probabilities
from gradatim.systems.ifvit.model import PARTS, IFViTSettings, sizes_of
from gradatim.weights import Weights, transfer, translate
from parity.support import Case, fill_rule

FEATURES, PROBABILITY, EMBEDDING, LOSS, GRADIENT = 1e-4, 1e-3, 1e-6, 1e-5, 1e-4
"""Tolerances: absolute for features, relative for probabilities, absolute for embeddings, relative for losses and for
the lengths of their gradients."""


@cache
def keys_of(root: Path) -> dict:
    return json.loads((root / "ifvit" / "keys.json").read_text())


def case(root, name):
    return Case(root / "ifvit" / f"{name}.npz")


def by_rule(root, part, matching=""):
    """Arrays of one of the listed models, those whose names begin with `matching`."""
    rule = fill_rule(root)
    return {
        name: torch.from_numpy(rule(told["fill"], tuple(told["shape"])))
        for name, told in keys_of(root)[part]["keys"].items()
        if name.startswith(matching)
    }


def loaded(arrays, layout, parts, **given):
    """Parts in evaluation mode that hold all arrays that a layout has for them, sizes by the arrays' shapes.

    Nothing may be missing or unexpected; what is dropped or kept by rule is for the caller to look at.
    """
    weights = arrays if isinstance(arrays, Weights) else Weights(path=Path("by-rule"), format="rule", arrays=arrays)
    made = translate(LAYOUTS[layout], weights.arrays).made
    shapes = {ours: how.make([weights.arrays[n] for n in how.sources]).shape for ours, how in made.items()}
    settings = IFViTSettings(**{**sizes_of({n: tuple(shape) for n, shape in shapes.items()}, given), **given})
    modules = {name: PARTS[name](settings).eval() for name in parts}
    accounts = transfer(weights, modules, layout=layout, layouts=LAYOUTS)
    assert all(account.complete for account in accounts)
    return modules, accounts


def whole(arrays, layout, parts, **given):
    """The same where every array of both sides is used."""
    modules, accounts = loaded(arrays, layout, parts, **given)
    assert not any(account.dropped or account.kept for account in accounts)
    return modules


def first_of(x):
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def last_of(x):
    """(B, C, H, W) -> (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def registered(parts, first, second):
    """Module 1: features of both images, their probability of matching, and the best rows."""
    features = [parts["backbone"](image) for image in (first, second)]
    a, b = parts["transformer"](*features)
    probability = probabilities(a, b)
    return a, b, probability, best_rows(probability)


def compared(parts, images, regions):
    """Module 2: embeddings of images and regions, the images' probability of matching, and the best rows."""
    features = [parts["backbone"](x) for x in (*images, *regions)]
    whole_pair = parts["transformer"](*features[:2])
    local_pair = parts.get("local_transformer", parts["transformer"])(*features[2:])
    probability = probabilities(*whole_pair)
    return [parts["embedding"](x) for x in (*whole_pair, *local_pair)], probability, best_rows(probability)


def check_matches(case, name, probability, matches):
    """Rows may change places, and partners, only where their probabilities are equal within the tolerance."""
    expected = case.input(name).long()
    assert matches.shape == expected.shape
    taken, right = (
        probability.gather(1, rows[..., :1].expand(-1, -1, probability.shape[2])).gather(2, rows[..., 1:])
        for rows in (matches, expected)
    )
    torch.testing.assert_close(taken, right, atol=0, rtol=PROBABILITY)
    same = (matches == expected).all(dim=2).float().mean()
    print(f"{case.name}.{name}: {float(same):.1%} of the rows in the same place")
    assert same > 0.9
