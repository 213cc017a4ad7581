"""BombKD's cases, and its arrays by rule."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.weights import Wish
from parity import support

PROSE = {"source", "note", "rule", "mode", "masked_pool", "small", "transformers", "torch", "selection"}
"""Entries that explain a file; nothing to compare."""
VARIED = ("alpha", "beta", "gamma1", "gamma2")
"""Arrays that are filled around 1."""


class Case(support.Case):
    """A file of BombKD's folder, by its name."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root / "bombkd" / name, prose=PROSE)


def filled(root: Path, keys: Mapping[str, list[int]], prefix: str = "") -> dict[str, Tensor]:
    """The original's state dict, by rule; `prefix` stands before each key when its array is drawn."""
    arrays = support.filled(root, keys, prefix)
    return {key: 1 + 2 * array if key.rpartition(".")[2] in VARIED else array for key, array in arrays.items()}


def load(arrays: Mapping[str, Tensor], parts: Mapping[str, nn.Module] | list[Wish], layout: str) -> None:
    """Give parts arrays by the original's names; every array on both sides counts."""
    support.load_whole(arrays, parts, LAYOUTS[layout])
