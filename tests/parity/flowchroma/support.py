"""What the parity tests of FlowChroma share: cases by their index, weights by rule, and parts that hold them."""

import json
import re
from functools import cache
from pathlib import Path

import torch

from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.weights import Weights, transfer
from parity.support import Case, fill_rule

PART, FLOW, LOSS, GRADIENT = 1e-4, 1e-3, 1e-4, 1e-3
"""Tolerances: absolute for parts, in pixels for flows of many steps, relative for losses and gradients' lengths."""


@cache
def index_of(root: Path) -> dict:
    return json.loads((root / "flowchroma" / "index.json").read_text())


@cache
def keys_of(root: Path, name: str) -> dict:
    return json.loads((root / "flowchroma" / name).read_text())


def names_of(root: Path, prefix: str) -> set[str]:
    """Cases whose names begin so."""
    return {name for name in index_of(root) if name.startswith(prefix)}


def case(root: Path, name: str) -> Case:
    """A case, every array of which the index must list with its shape."""
    found = Case(root / "flowchroma" / index_of(root)[name]["file"])
    listed = {array: tuple(shape) for array, (shape, _) in index_of(root)[name]["arrays"].items()}
    assert {array: values.shape for array, values in found.arrays.items()} == listed
    return found


def by_rule(root: Path, keys: str) -> dict[str, torch.Tensor]:
    """Arrays of a listed model. Whole numbers are not filled, and stay 0."""
    rule = fill_rule(root)
    return {
        key: torch.from_numpy(rule(key, tuple(shape))) if kind == "float32" else torch.zeros(shape, dtype=torch.int64)
        for key, (shape, kind) in keys_of(root, keys).items()
    }


def scaled(arrays: dict[str, torch.Tensor], scales: dict[str, float]) -> dict[str, torch.Tensor]:
    """The arrays with a case's extra scales, which the index says in words."""
    left = set(scales)
    for words, factor in scales.items():
        several = words.removeprefix("keys starting '").removesuffix("' with more than one dimension")
        if several != words:
            chosen = {key for key, array in arrays.items() if key.startswith(several) and array.ndim > 1}
        else:
            chosen = {words.removeprefix("additionally ")} & arrays.keys()
        assert chosen, words
        left.discard(words)
        arrays = {key: array * factor if key in chosen else array for key, array in arrays.items()}
    assert not left
    return arrays


def memflow(root: Path, name: str, **changes) -> MemFlow:
    """The network of a case in evaluation mode, its arrays brought in through the layout."""
    told = index_of(root)[name]
    options = dict(told["options"])
    kinds = [options.pop(key) for key in ("cnet", "fnet", "gma")]
    assert kinds == ["basicencoder(batch)", "basicencoder(instance)", "GMA-SK2"]
    network = MemFlow(
        levels=options.pop("corr_levels"),
        radius=options.pop("corr_radius"),
        iterations=options.pop("decoder_depth"),
        train_tokens=options.pop("train_avg_length"),
        **changes,
    )
    assert not options
    load(scaled(by_rule(root, told["keys"]), told["extra_scale"]), {"memflow": network}, "memflow")
    return network.eval()


def load(arrays, parts, layout):
    """Give parts arrays by the original's names; nothing may be missing or unexpected. Returns what was dropped."""
    weights = arrays if isinstance(arrays, Weights) else Weights(path=Path("by-rule"), format="rule", arrays=arrays)
    accounts = transfer(weights, parts, layout=layout, layouts=LAYOUTS)
    assert all(account.complete and not account.kept for account in accounts)
    return accounts


def filled_into(root: Path, name: str, part: str, network, layout: str, keys: str):
    """A part of a case in evaluation mode, its arrays by rule and through the layout; nothing of either is dropped."""
    scales = {words: float(factor) for words, factor in re.findall(r"extra scale (\S+) x ([\d.]*\d)", told(root, name))}
    arrays = by_rule(root, keys)
    (account,) = load(scaled(arrays, {k: v for k, v in scales.items() if k in arrays}), {part: network}, layout)
    assert not account.dropped
    assert account.arrays == (len(arrays), len(network.state_dict()))
    return network.eval()


def told(root: Path, name: str) -> str:
    """What the index says of a case in words."""
    return " ".join(str(index_of(root)[name][word]) for word in ("part", "what") if word in index_of(root)[name])


def values_of(root: Path, name: str, expected: int) -> dict:
    """A case's numbers beside its arrays, of which there are so many."""
    values = index_of(root)[name].get("values", {})
    assert len(values) == expected, f"{name}: {sorted(values)}"
    return values


def near(found, expected, rtol):
    """Compare a number; returns the relative difference."""
    difference = abs(float(torch.as_tensor(found).detach()) - expected)
    assert difference <= rtol * abs(expected), (found, expected)
    return difference / abs(expected)


def check_loss(values, loss, *of, rtol=LOSS):
    """Compare a loss and the lengths of its gradients; returns the largest relative difference."""
    lengths = [gradient.norm() for gradient in torch.autograd.grad(loss, of, retain_graph=True)]
    assert len(values) == 1 + len(lengths)
    return max(near(loss, values[0], rtol), *(near(*pair, GRADIENT) for pair in zip(lengths, values[1:], strict=True)))


def thinned(found: Case, name: str, values: torch.Tensor) -> torch.Tensor:
    """Every so manieth entry of each axis, as many as a case stores."""
    stored = found.arrays[name].shape
    assert len(stored) == values.ndim, name
    return values[tuple(slice(None, None, -(-size // kept)) for size, kept in zip(values.shape, stored, strict=True))]
