"""Reading the original's numbers, and keeping account of which of them were compared.

Nothing about a case is written here or in the tests but how its file is laid out: sizes, keys, modes and values come
from the files. `Case.close` fails if one array or one entry was neither used as input nor compared.
"""

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradatim.systems.maefuse.layouts import LAYOUTS
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.weights import Weights, transfer, translate

PROSE = {"source", "note", "fill", "change_made", "inputs", "subsampling"}
"""Entries that explain a file; nothing to compare."""


class Case:
    """One .npz file with its .json, which lies beside it unless it is named."""

    def __init__(self, path: Path, listing: Path | None = None) -> None:
        self.name = path.stem
        self.entries: dict[str, Any] = json.loads((listing or path.with_suffix(".json")).read_text())
        with np.load(path.with_suffix(".npz")) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.open_arrays = set(self.arrays)
        self.open_entries = set(_leaves(self.entries)) - {(name,) for name in PROSE}
        self.worst = 0.0
        self.worst_number = 0.0
        self.numbers = 0
        if listing is None:
            self._check_listed_arrays()

    def _check_listed_arrays(self) -> None:
        listed = self.entry("arrays")
        assert listed == {name: [str(value.dtype), list(value.shape)] for name, value in self.arrays.items()}

    def entry(self, *place: str) -> Any:
        """Take a JSON entry, and all below it, as used."""
        self.open_entries -= {leaf for leaf in self.open_entries if leaf[: len(place)] == place}
        value: Any = self.entries
        for name in place:
            value = value[name]
        return value

    def input(self, name: str) -> Tensor:
        """Take an array as an input; float16 is widened."""
        self.open_arrays.remove(name)
        value = torch.from_numpy(self.arrays[name])
        return value.float() if value.dtype == torch.float16 else value

    def check(self, name: str, actual: Tensor, *, atol: float = 1e-5, rtol: float = 0.0) -> None:
        """Compare an array; `actual` may hold more samples than the file kept of the first ones."""
        expected = torch.from_numpy(self.arrays[name])
        actual = actual.detach()[: len(expected)] if expected.ndim else actual.detach()
        assert actual.shape == expected.shape, f"{self.name}.{name}: {tuple(actual.shape)} != {tuple(expected.shape)}"
        torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol, msg=lambda text: f"{name}: {text}")
        self.worst = max(self.worst, float((actual - expected).abs().max()))
        self.open_arrays.remove(name)

    def check_entry(self, place: tuple[str, ...], actual: float | Tensor, *, rtol: float) -> None:
        """Compare a JSON number."""
        expected, found = self.entry(*place), float(torch.as_tensor(actual).detach())
        assert abs(found - expected) <= rtol * abs(expected), f"{self.name}, {place}: {found} != {expected}"
        self.worst_number = max(self.worst_number, abs(found - expected) / max(abs(expected), 1e-30))
        self.numbers += 1

    def check_all(self, values: Mapping[str, Callable[[], Tensor]], *, atol: float = 1e-5) -> None:
        """Compare every array left, whole or with the suffix of its subsampling, with the value of its name."""
        for name in sorted(self.open_arrays):
            plain, every = re.fullmatch(r"(.+?)(?:_every_(\d+)[a-z]*_token)?", name).groups()
            assert plain in values, f"{self.name}: nothing here computes {name!r}"
            self.check(name, values[plain]()[:, :: int(every or 1)], atol=atol)

    def check_norms(self, *parts: nn.Module) -> None:
        """Compare the constant of the norms, where the file tells it."""
        if "layer_norm_eps" in self.entries:
            eps = {layer.eps for part in parts for layer in part.modules() if isinstance(layer, nn.LayerNorm)}
            assert eps == {self.entry("layer_norm_eps")}

    def close(self) -> None:
        """Fail if anything in the file was not used."""
        assert not self.open_arrays, f"{self.name}: arrays never compared: {sorted(self.open_arrays)}"
        assert not self.open_entries, f"{self.name}: entries never compared: {sorted(self.open_entries)}"
        print(
            f"{self.name}: {len(self.arrays)} arrays, largest difference {self.worst:.1e}; "
            f"{self.numbers} numbers, largest relative difference {self.worst_number:.1e}"
        )


def cases(root: Path, pattern: str) -> list[Case]:
    """All cases of a pattern; there must be one."""
    found = [Case(path) for path in sorted((root / "maefuse").glob(pattern + ".npz"))]
    assert found, f"no file {pattern}.npz in {root / 'maefuse'}"
    return found


@cache
def fill_rule(root: Path) -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """The rule that makes an array from its key and shape."""
    spec = importlib.util.spec_from_file_location("parity_fill", root / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.filled


def filled(root: Path, keys: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The original's state dict, by rule."""
    rule = fill_rule(root)
    return {key: torch.from_numpy(np.asarray(rule(key, tuple(shape)))) for key, shape in keys.items()}


def settings_of(options: Mapping[str, Any], **more: Any) -> MaeFuseSettings:
    """Our settings from the options of the original's constructor; each must be understood."""
    names = {
        "img_size": "image_size",
        "patch_size": "patch_size",
        "embed_dim": "width",
        "depth": "depth",
        "num_heads": "heads",
        "decoder_embed_dim": "decoder_width",
        "decoder_depth": "decoder_depth",
        "decoder_num_heads": "decoder_heads",
        "mlp_ratio": "mlp_ratio",
    }
    assert options.get("in_chans", 3) == 3
    return MaeFuseSettings(**{names[name]: value for name, value in options.items() if name != "in_chans"}, **more)


def grid_of(value: int | list[int]) -> tuple[int, int]:
    """A grid as the files write it: a number for a square, or rows and columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def build(settings: MaeFuseSettings, *names: str) -> dict[str, nn.Module]:
    """Some parts, in evaluation mode."""
    return {name: PARTS[name](settings).eval() for name in names}


def load(root: Path, keys: Mapping[str, list[int]], parts: Mapping[str, nn.Module], layout: str) -> None:
    """Fill parts by rule with the arrays that the original has under `keys`; every array on both sides counts."""
    weights = Weights(path=Path("by-rule"), format="rule", arrays=filled(root, keys))
    accounts = transfer(weights, parts, layout=LAYOUTS[layout])
    assert all(account.complete and not account.dropped and not account.kept for account in accounts)


def places(keys: Iterable[str], layout: str) -> dict[str, list[tuple[str, str]]]:
    """Part and our name of the array or arrays that each of the original's becomes."""
    result: dict[str, list[tuple[str, str]]] = {}
    for name, made in translate(LAYOUTS[layout], keys).made.items():
        part, _, array = name.partition(".")
        result.setdefault(made.sources[0], []).append((part, array))
    return result


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(below, (*place, name))
    else:
        yield place
