"""The state of a running stage: what a snapshot holds, and what is read from it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradatim.engine.module import Turn
from gradatim.engine.optimizer import Factor, build_optimizer, optimizer_arrays, restore_optimizer, schedule_factor
from gradatim.guards import LossBand, Patience, Spike
from gradatim.parts import named_trained
from gradatim.plan.stage import Stage
from gradatim.runs.progress import Snapshot


@dataclass(kw_only=True)
class Driver:
    """One update's optimizer and what is counted for it."""

    name: str
    turn: Turn
    optimizer: Optimizer
    factor: Factor
    parameters: list[nn.Parameter]
    sums: Tensor
    norms: Tensor
    applied: dict[float, float] = field(default_factory=dict)

    def clear_gradients(self) -> None:
        """Drop the gradients of what this optimizer changes; its own `zero_grad` costs ten times as much."""
        for parameter in self.parameters:
            parameter.grad = None

    def set_rate(self, step: int, scale: float) -> None:
        """Set the learning rate of a step, counted from 0."""
        groups = self.optimizer.param_groups
        rates = {base: base * self.factor(step, base) * scale for base in {group["base_lr"] for group in groups}}
        if rates != self.applied:
            for group in groups:
                group["lr"] = rates[group["base_lr"]]
            self.applied = rates


@dataclass(kw_only=True)
class Counters:
    """What a snapshot holds beside arrays; JSON values only."""

    step: int = 0
    counted: int = 0
    lr_scale: float = 1.0
    rollbacks: int = 0
    stopped: bool = False
    first_terms: dict[str, float] = field(default_factory=dict)
    lowest: float | None = None
    patience: dict[str, Any] = field(default_factory=dict)


def build_driver(turn: Turn, parts: Mapping[str, nn.Module], *, steps: int, per_epoch: int) -> Driver:
    """An update's optimizer, anew.

    Args:
        turn: the update.
        parts: modules by name, freezing set.
        steps: of the whole stage.
        per_epoch: steps of one epoch.
    """
    parameters = [parameter for _, _, parameter in named_trained(parts, turn.training)]
    return Driver(
        name=turn.name,
        turn=turn,
        optimizer=build_optimizer(parts, turn.training),
        factor=schedule_factor(turn.training, steps=steps, per_epoch=per_epoch),
        parameters=parameters,
        sums=torch.zeros(len(turn.logged), device=parameters[0].device),
        norms=torch.zeros((), device=parameters[0].device),
    )


def trained_modules(stage: Stage, parts: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Modules that learn in a stage, by their name in `train`."""
    found = {}
    for path in stage.trained():
        root, _, child = path.partition(".")
        found[path] = parts[root].get_submodule(child) if child else parts[root]
    return found


class LoopState:
    """Everything that a stage changes while it runs.

    Args:
        stage: resolved.
        modules: that learn, by name in `train`; where they stand now is what drift is measured from.
        drivers: one for each update.
        higher_is_better: which way the stage's metric is up.
    """

    def __init__(
        self, stage: Stage, modules: Mapping[str, nn.Module], drivers: list[Driver], *, higher_is_better: bool
    ) -> None:
        self.modules = dict(modules)
        self.drivers = drivers
        self.counters = Counters()
        self.patience = Patience(higher_is_better=higher_is_better, limit=stage.guards.patience)
        band, spike = stage.guards.loss_band, stage.guards.spike
        self.band = LossBand(band.band, band.terms) if band else None
        self.spike = Spike(spike) if spike else None
        self.best: dict[str, Tensor] = {}
        self._origin = {path: _copies(module) for path, module in self.modules.items()}
        self._lengths = {path: _length(module) for path, module in self.modules.items()}

    def finite(self, *, weights: bool) -> bool:
        """Whether all losses since the last log are finite, and the trained weights too."""
        if not all(math.isfinite(value) for driver in self.drivers for value in driver.sums.tolist()):
            return False
        arrays = [parameter for driver in self.drivers for parameter in driver.parameters] if weights else []
        return all(bool(torch.isfinite(array).all()) for array in arrays)

    def means(self) -> dict[str, float]:
        """Mean of each loss term since the last log."""
        counted = max(1, self.counters.counted)
        return {
            name if len(self.drivers) == 1 else f"{driver.turn.name}.{name}": value / counted
            for driver in self.drivers
            for name, value in zip(driver.turn.logged, driver.sums.tolist(), strict=True)
        }

    def start_interval(self) -> None:
        """Forget what was counted for the last log."""
        for driver in self.drivers:
            driver.sums.zero_()
            driver.norms.zero_()
        self.counters.counted = 0

    @torch.no_grad()
    def drifts(self) -> dict[str, float]:
        """Relative L2 distance of each trained module from where the stage began."""
        result = {}
        for path, module in self.modules.items():
            origin = self._origin[path]
            moves = [torch.linalg.vector_norm(p - origin[name]) for name, p in module.named_parameters()]
            result[path] = float(torch.linalg.vector_norm(torch.stack(moves)) / self._lengths[path])
        return result

    def trained_arrays(self) -> dict[str, Tensor]:
        """Copies of what learns, on the CPU, by full name."""
        return {
            f"{path}.{name}": copy
            for path, module in self.modules.items()
            for name, copy in _copies(module, cpu=True).items()
        }

    def restore_modules(self, arrays: Mapping[str, Tensor]) -> None:
        """Put such copies back."""
        for path, module in self.modules.items():
            prefix = f"{path}."
            module.load_state_dict({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})

    def snapshot(self) -> Snapshot:
        """The state now, as copies."""
        arrays = {f"part/{name}": array for name, array in self.trained_arrays().items()}
        for driver in self.drivers:
            own = optimizer_arrays(driver.optimizer)
            arrays |= {f"optimizer/{driver.turn.name}/{name}": array for name, array in own.items()}
            arrays[f"sums/{driver.turn.name}"] = driver.sums.cpu().clone()
            arrays[f"norms/{driver.turn.name}"] = driver.norms.cpu().clone()
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        self.counters.patience = self.patience.state()
        self.counters.first_terms = dict(self.band.first) if self.band else {}
        self.counters.lowest = self.spike.lowest if self.spike else None
        return Snapshot(step=self.counters.step, arrays=arrays, counters=dict(vars(self.counters)))

    def restore(self, snapshot: Snapshot) -> None:
        """Go to the state of a snapshot of this stage."""
        self.restore_modules(_below(snapshot.arrays, "part/"))
        for driver in self.drivers:
            restore_optimizer(driver.optimizer, _below(snapshot.arrays, f"optimizer/{driver.turn.name}/"))
            driver.sums.copy_(snapshot.arrays[f"sums/{driver.turn.name}"])
            driver.norms.copy_(snapshot.arrays[f"norms/{driver.turn.name}"])
            driver.applied = {}
        self.best = _below(snapshot.arrays, "best/")
        self.counters = Counters(**dict(snapshot.counters))
        self.patience.restore(self.counters.patience)
        if self.band is not None:
            self.band.first = dict(self.counters.first_terms)
        if self.spike is not None:
            self.spike.lowest = self.counters.lowest


@torch.no_grad()
def _length(module: nn.Module) -> Tensor:
    """L2 norm of all parameters of a module together, above 0."""
    norms = [torch.linalg.vector_norm(parameter) for parameter in module.parameters()]
    length: Tensor = torch.linalg.vector_norm(torch.stack(norms)).clamp_min(1e-30)
    return length


def _copies(module: nn.Module, *, cpu: bool = False) -> dict[str, Tensor]:
    return {n: a.detach().to("cpu", copy=True) if cpu else a.detach().clone() for n, a in module.state_dict().items()}


def _below(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
