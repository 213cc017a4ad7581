"""Reading the original's numbers, and keeping account of which of them were compared.

Sizes, options, keys and values come from the files. `Case.close` fails if an array or an entry was neither used as
input nor compared.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.weights import Weights, Wish, transfer

PROSE = {"source", "note", "rule", "mode", "masked_pool", "small", "transformers", "torch", "selection"}
"""Entries that explain a file; nothing to compare."""
VARIED = ("alpha", "beta", "gamma1", "gamma2")
"""Arrays that are filled around 1."""


class Case:
    """One .npz file with its .json, each of which may be absent."""

    def __init__(self, root: Path, name: str) -> None:
        path = root / "bombkd" / name
        self.name = name
        listing, arrays = path.with_suffix(".json"), path.with_suffix(".npz")
        assert listing.is_file() or arrays.is_file()
        self.entries: dict[str, Any] = json.loads(listing.read_text()) if listing.is_file() else {}
        self.arrays: dict[str, np.ndarray] = {}
        if arrays.is_file():
            with np.load(arrays) as file:
                self.arrays = {key: file[key] for key in file.files}
        self.open_arrays = set(self.arrays)
        self.open_entries = {leaf for leaf in _leaves(self.entries) if not set(leaf) & PROSE}
        self.worst = 0.0
        self.worst_number = 0.0
        self.numbers = 0

    def entry(self, *place: str) -> Any:
        """Take a JSON entry, and all below it, as used."""
        self.open_entries -= {leaf for leaf in self.open_entries if leaf[: len(place)] == place}
        value: Any = self.entries
        for name in place:
            value = value[name]
        return value

    def has(self, name: str) -> bool:
        """Whether the file holds an array."""
        return name in self.arrays

    def input(self, name: str) -> Tensor:
        """Take an array as an input."""
        self.open_arrays.discard(name)
        return torch.from_numpy(self.arrays[name])

    def check(self, name: str, actual: Tensor, *, atol: float = 1e-5, rtol: float = 0.0) -> None:
        """Compare an array."""
        expected = torch.from_numpy(self.arrays[name])
        actual = actual.detach()
        assert actual.shape == expected.shape, f"{self.name}.{name}: {tuple(actual.shape)} != {tuple(expected.shape)}"
        torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol, msg=lambda text: f"{name}: {text}")
        self.worst = max(self.worst, float((actual - expected).abs().max()))
        self.open_arrays.discard(name)

    def check_entry(self, place: tuple[str, ...], actual: float | Tensor, *, rtol: float, atol: float = 0.0) -> None:
        """Compare a JSON number."""
        expected, found = self.entry(*place), float(torch.as_tensor(actual).detach())
        assert abs(found - expected) <= atol + rtol * abs(expected), f"{self.name}, {place}: {found} != {expected}"
        self.worst_number = max(self.worst_number, abs(found - expected))
        self.numbers += 1

    def close(self) -> None:
        """Fail if anything in the file was not used."""
        assert not self.open_arrays, f"{self.name}: arrays never compared: {sorted(self.open_arrays)}"
        assert not self.open_entries, f"{self.name}: entries never compared: {sorted(self.open_entries)}"
        print(
            f"{self.name}: {len(self.arrays)} arrays, largest difference {self.worst:.1e}; "
            f"{self.numbers} numbers, largest difference {self.worst_number:.1e}"
        )


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _leaves(below, (*place, name))
    else:
        yield place


@cache
def fill_rule(root: Path) -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """The rule that makes an array from its key and shape."""
    spec = importlib.util.spec_from_file_location("parity_fill", root / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.filled


def filled(root: Path, keys: Mapping[str, list[int]], prefix: str = "") -> dict[str, Tensor]:
    """The original's state dict, by rule; `prefix` stands before each key when its array is drawn."""
    rule = fill_rule(root)
    result = {}
    for key, shape in keys.items():
        array = torch.from_numpy(np.asarray(rule(prefix + key, tuple(shape))))
        result[key] = 1 + 2 * array if key.rpartition(".")[2] in VARIED else array
    return result


def load(arrays: Mapping[str, Tensor], parts: Mapping[str, nn.Module] | list[Wish], layout: str) -> None:
    """Give parts arrays by the original's names; every array on both sides counts."""
    weights = Weights(path=Path("by-rule"), format="rule", arrays=arrays)
    accounts = transfer(weights, parts, layout=LAYOUTS[layout])
    assert all(account.complete and not account.dropped and not account.kept for account in accounts)
