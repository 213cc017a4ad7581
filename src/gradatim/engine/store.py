"""The parts of a run between its stages: modules in memory, or files of finished stages, each with its lineage."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gradatim.engine.sources import Builder, Loaded
from gradatim.errors import RunError
from gradatim.runs.lineage import Lineage
from gradatim.weights import part_digest, read_weights, transfer


@dataclass
class _Held:
    lineage: Lineage
    module: nn.Module | None = None
    file: Path | None = None


class PartStore:
    """Parts by name, loaded when they are first asked for.

    Args:
        builder: of modules for parts that lie in files.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._held: dict[str, _Held] = {}

    def names(self) -> tuple[str, ...]:
        """Parts that have weights by now."""
        return tuple(self._held)

    def put(self, loaded: Mapping[str, Loaded]) -> None:
        """Take in parts from sources."""
        for name, part in loaded.items():
            self._held[name] = _Held(lineage=part.lineage, module=part.module)

    def put_files(self, file: Path, lineages: Mapping[str, Lineage], saved: tuple[str, ...]) -> None:
        """Take in the parts that a finished stage saved; they are read when needed."""
        for name in saved:
            self._held[name] = _Held(lineage=lineages[name], file=file)

    def module(self, name: str) -> nn.Module:
        """A part with its weights, on the device where it was last.

        Raises:
            RunError: a finished stage's file does not hold what its lineage says.
        """
        held = self._held[name]
        if held.module is None:
            assert held.file is not None
            module = self._builder.fresh(name)
            transfer(read_weights(held.file), {name: module}, layout="gradatim")
            if part_digest(module) != held.lineage.digest:
                raise RunError(f"{held.file}: part {name!r} is not what the stage ended with; the file was changed")
            held.module = module
        return held.module

    def copy(self, name: str, other: str) -> Loaded:
        """A new module for part `name` with the weights of part `other`."""
        source = self.module(other)
        module = self._builder.fresh(name)
        module.load_state_dict(source.state_dict())
        return Loaded(module=module, lineage=self.lineage(other))

    def lineage(self, name: str) -> Lineage:
        """History of a part's weights."""
        return self._held[name].lineage

    def set_lineage(self, name: str, lineage: Lineage) -> None:
        """Note what a stage made of a part."""
        self._held[name].lineage = lineage
