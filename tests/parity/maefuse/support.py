"""MaeFuse's cases, and its parts filled by rule."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gradatim.engine.build import WithoutDrawing
from gradatim.systems.maefuse.layouts import LAYOUTS
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.weights import translate
from parity import support

PROSE = {"source", "note", "fill", "change_made", "inputs", "subsampling"}
"""Entries that explain a file; nothing to compare."""


class Case(support.Case):
    """A file whose .json lies beside it and lists its arrays, unless it is named."""

    def __init__(self, path: Path, listing: Path | None = None) -> None:
        super().__init__(path, listing=listing, prose=PROSE)
        if listing is None:
            listed = self.entry("arrays")
            assert listed == {name: [str(value.dtype), list(value.shape)] for name, value in self.arrays.items()}

    def check(self, name: str, actual: Tensor, *, atol: float = 1e-5, rtol: float = 0.0) -> None:
        """Compare an array; `actual` may hold more samples than the file kept of the first ones."""
        expected = self.arrays[name]
        super().check(name, actual[: len(expected)] if expected.ndim else actual, atol=atol, rtol=rtol)

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


def cases(root: Path, pattern: str) -> list[Case]:
    """All cases of a pattern; there must be one."""
    found = [Case(path) for path in sorted((root / "maefuse").glob(pattern + ".npz"))]
    assert found, f"no file {pattern}.npz in {root / 'maefuse'}"
    return found


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


def undrawn(settings: MaeFuseSettings, *names: str) -> dict[str, nn.Module]:
    """Some parts, in evaluation mode, for `load` to fill: what is in their weights before is left to chance."""
    with WithoutDrawing():
        return build(settings, *names)


def load(root: Path, keys: Mapping[str, list[int]], parts: Mapping[str, nn.Module], layout: str) -> None:
    """Fill parts by rule with the arrays that the original has under `keys`; every array on both sides counts."""
    support.load_whole(support.filled(root, keys), parts, LAYOUTS[layout])


def places(keys: Iterable[str], layout: str) -> dict[str, list[tuple[str, str]]]:
    """Part and our name of the array or arrays that each of the original's becomes."""
    result: dict[str, list[tuple[str, str]]] = {}
    for name, made in translate(LAYOUTS[layout], keys).made.items():
        part, _, array = name.partition(".")
        result.setdefault(made.sources[0], []).append((part, array))
    return result
