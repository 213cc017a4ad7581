"""Reading an original's numbers, with account of what was compared; what the systems' parity tests share.

Nothing about a case is written here or in the tests but how its file is laid out: sizes, options, keys and values come
from the files. `Case.close` fails if an array or an entry was neither used as input nor compared.
"""

import importlib.util
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradatim.weights import Layout, Weights, Wish, transfer


class Case:
    """One .npz file with its .json, either of which may be absent.

    Args:
        path: of both; their suffixes are put in its place.
        listing: the .json, where it has another name.
        prose: entries at the top that explain the file, with all below them; nothing to compare. Notes at any depth
            are prose too.
    """

    def __init__(self, path: Path, *, listing: Path | None = None, prose: Collection[str] = ()) -> None:
        self.name = path.stem
        arrays, entries = path.with_suffix(".npz"), listing or path.with_suffix(".json")
        assert arrays.is_file() or entries.is_file(), f"neither {arrays} nor {entries}"
        self.entries: dict[str, Any] = json.loads(entries.read_text()) if entries.is_file() else {}
        self.arrays: dict[str, np.ndarray] = {}
        if arrays.is_file():
            with np.load(arrays) as file:
                self.arrays = {name: file[name] for name in file.files}
        self.open_arrays = set(self.arrays)
        self.open_entries = {leaf for leaf in _leaves(self.entries) if leaf[0] not in prose and leaf[-1] != "note"}
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
        """Take an array as an input; float16 is widened."""
        self.open_arrays.discard(name)
        value = torch.from_numpy(self.arrays[name])
        return value.float() if value.dtype == torch.float16 else value

    def check(self, name: str, actual: Tensor, *, atol: float = 1e-5, rtol: float = 0.0) -> None:
        """Compare an array."""
        expected, actual = torch.from_numpy(self.arrays[name]), actual.detach()
        assert actual.shape == expected.shape, f"{self.name}.{name}: {tuple(actual.shape)} != {tuple(expected.shape)}"
        torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol, msg=lambda text: f"{name}: {text}")
        self.worst = max(self.worst, float((actual - expected).abs().max()))
        self.open_arrays.discard(name)

    def check_entry(self, place: tuple[str, ...], actual: float | Tensor, *, rtol: float) -> None:
        """Compare a JSON number."""
        expected, found = self.entry(*place), float(torch.as_tensor(actual).detach())
        assert abs(found - expected) <= rtol * abs(expected), f"{self.name}, {place}: {found} != {expected}"
        self.worst_number = max(self.worst_number, abs(found - expected) / max(abs(expected), 1e-30))
        self.numbers += 1

    def close(self) -> None:
        """Fail if anything in the file was not used."""
        assert not self.open_arrays, f"{self.name}: arrays never compared: {sorted(self.open_arrays)}"
        assert not self.open_entries, f"{self.name}: entries never compared: {sorted(self.open_entries)}"
        print(
            f"{self.name}: {len(self.arrays)} arrays, largest difference {self.worst:.1e}; "
            f"{self.numbers} numbers, largest relative difference {self.worst_number:.1e}"
        )


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and (value or not place):
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
    """An original's state dict, by rule; `prefix` stands before each key when its array is drawn."""
    rule = fill_rule(root)
    return {key: torch.from_numpy(np.asarray(rule(prefix + key, tuple(shape)))) for key, shape in keys.items()}


def load_whole(arrays: Mapping[str, Tensor], parts: Mapping[str, nn.Module] | list[Wish], layout: Layout) -> None:
    """Give parts arrays by the original's names; every array on both sides counts."""
    weights = Weights(path=Path("by-rule"), format="rule", arrays=arrays)
    accounts = transfer(weights, parts, layout=layout)
    assert all(account.complete and not account.dropped and not account.kept for account in accounts)


def check_claims(folder: Path, claimed: Mapping[str, str], *, least: int) -> None:
    """Fail if a file below a system's folder is claimed by no test.

    Args:
        folder: of the original's numbers.
        claimed: test that compares the files of a pattern, by the pattern, relative to the folder.
        least: number of files that must be there.
    """
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    unclaimed = [name for name in files if not any(fnmatch(name, pattern) for pattern in claimed)]
    assert not unclaimed, f"claimed by no test: {unclaimed}"
    assert len(files) >= least, f"{len(files)} files in {folder}, at least {least} expected"
    print(f"{len(files)} files of {folder.name}, all claimed")
