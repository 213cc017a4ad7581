"""The training loop of one stage: steps, guards at fixed intervals, snapshots, validation.

Nothing here reads a clock to decide what happens, so a stage that was killed and resumed ends with the same bits
as one that was not. The host waits for the device only every `log_every` steps.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradatim.data.batches import BatchOrder, batches
from gradatim.data.dataset import Dataset
from gradatim.data.random import keyed_seed
from gradatim.engine.device import Place
from gradatim.engine.module import Computation, Turn, only_learns
from gradatim.engine.optimizer import build_optimizer, optimizer_arrays, restore_optimizer, schedule_factor
from gradatim.errors import GuardError
from gradatim.guards import Drift, LossBand, Patience, Trouble, check_reached
from gradatim.parts import named_trained
from gradatim.plan.stage import Stage
from gradatim.runs.progress import Snapshot
from gradatim.task import store

Observer = Callable[[dict[str, Any]], None]
Tick = Callable[[int, int], None]
ROLLBACKS = 3
_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class Work:
    """Everything that a loop needs, derived anew from the plan for every stage.

    Args:
        stage: resolved.
        seed: of the plan.
        parts: modules by name, frozen and trained, on the device.
        computation: the stage's task, cut into prefix and rest.
        dataset: training samples.
        place: device and processes.
        judge: validation, -> value of the stage's metric; None where it names none.
        higher_is_better: which way that metric is up.
        observe: receives every event.
        tick: receives (steps done, steps in all) after each step.
        keep: puts a snapshot on disk in the background; (snapshot, at once).
    """

    stage: Stage
    seed: int
    parts: Mapping[str, nn.Module]
    computation: Computation
    dataset: Dataset
    place: Place
    observe: Observer
    tick: Tick
    keep: Callable[[Snapshot, bool], None]
    judge: Callable[[], float] | None = None
    higher_is_better: bool = True


@dataclass(kw_only=True)
class Driver:
    """One update's optimizer and what is counted for it."""

    turn: Turn
    optimizer: Optimizer
    factor: Callable[[int], float]
    parameters: list[nn.Parameter]
    sums: Tensor
    norms: Tensor
    applied: float = math.nan

    def set_rate(self, step: int, scale: float) -> None:
        """Set the learning rate of a step, counted from 0."""
        factor = self.factor(step) * scale
        if factor != self.applied:
            for group in self.optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            self.applied = factor


@dataclass(kw_only=True)
class Counters:
    """What a snapshot holds beside arrays; JSON values only."""

    step: int = 0
    counted: int = 0
    lr_scale: float = 1.0
    rollbacks: int = 0
    stopped: bool = False
    first_terms: dict[str, float] = field(default_factory=dict)
    patience: dict[str, Any] = field(default_factory=dict)


class Loop:
    """Trains one stage from a snapshot, or from its start, to its end.

    Args:
        work: what to do.
    """

    def __init__(self, work: Work) -> None:
        stage, order = work.stage, self._order(work)
        self.work = work
        self.order = order
        self.steps_per_epoch = -(-order.per_epoch // stage.accumulate)
        self.total_steps = stage.steps or self.steps_per_epoch * (stage.epochs or 1)
        self.drivers = [self._driver(turn) for turn in work.computation.turns]
        self.counters = Counters()
        self.patience = Patience(higher_is_better=work.higher_is_better, limit=stage.guards.patience)
        self.band = LossBand(stage.guards.loss_band) if stage.guards.loss_band else None
        self.drift = Drift(stage.guards.drift)
        self.best: dict[str, Tensor] = {}
        self.origin = {path: _copies(part) for path, part in self.trained_modules().items()}
        self.generator = torch.Generator(work.place.device)
        self._precision = _precision(stage, work.place)
        self._prefix_parts: dict[str, Any] = {name: work.parts[name] for name in work.computation.prefix_parts}
        if work.computation.random:
            self._prefix_parts["generator"] = self.generator
        self._base = keyed_seed(work.seed, stage.name, work.place.rank)
        self._good: Snapshot | None = None
        self._clock = time.perf_counter()

    @staticmethod
    def _order(work: Work) -> BatchOrder:
        return BatchOrder(
            samples=len(work.dataset),
            batch_size=work.stage.batch_size,
            seed=work.seed,
            stage=work.stage.name,
            rank=work.place.rank,
            world=work.place.world,
        )

    def _driver(self, turn: Turn) -> Driver:
        device = self.work.place.device
        parameters = [p for _, _, p in named_trained(self.work.parts, turn.training)]
        return Driver(
            turn=turn,
            optimizer=build_optimizer(self.work.parts, turn.training),
            factor=schedule_factor(turn.training, steps=self.total_steps, per_epoch=self.steps_per_epoch),
            parameters=parameters,
            sums=torch.zeros(len(turn.losses), device=device),
            norms=torch.zeros((), device=device),
        )

    def trained_modules(self) -> dict[str, nn.Module]:
        """Modules that learn, by their name in `train`."""
        found = {}
        for path in self.work.stage.trained():
            root, _, child = path.partition(".")
            found[path] = self.work.parts[root].get_submodule(child) if child else self.work.parts[root]
        return found

    # -- one step -----------------------------------------------------------------------------------

    def _seed_step(self, step: int) -> None:
        seed = (self._base + step * _MIX) & _MASK
        self.work.place.seed(seed)
        if self.work.computation.random:
            self.generator.manual_seed(seed)

    def _prepared(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Send a batch to the device and run the frozen prefix on it."""
        computation = self.work.computation
        values: dict[str, Any] = self.work.place.send(batch)
        if not computation.prefix and not computation.random:
            return values
        found = {**self._prefix_parts, **values}
        with torch.no_grad(), self._precision:
            for names, step in computation.prefix:
                store(found, names, step(found))
        return found

    def _backward(self, driver: Driver, values: dict[str, Any], share: int) -> None:
        with self._precision:
            total, terms = self.work.computation.module(driver.turn.name, values)
        (total if share == 1 else total / share).backward()
        driver.sums += terms if share == 1 else terms / share

    def _step(self, source: Iterator[dict[str, Any]], size: int) -> None:
        """One optimizer step of every update, over `size` batches."""
        step = self.counters.step
        self._seed_step(step)
        turns = self.work.computation.turns
        if len(turns) == 1:
            driver = self.drivers[0]
            for _ in range(size):
                self._backward(driver, self._prepared(next(source)), size)
            self._apply(driver, step)
        else:
            prepared = [self._prepared(next(source)) for _ in range(size)]
            for driver in self.drivers:
                only_learns(driver.turn, turns, self.work.parts)
                for values in prepared:
                    self._backward(driver, values, size)
                self._apply(driver, step)
        self.counters.step = step + 1
        self.counters.counted += 1

    def _apply(self, driver: Driver, step: int) -> None:
        clip = driver.turn.training.clip
        if clip is not None:
            driver.norms += torch.nn.utils.clip_grad_norm_(driver.parameters, clip)
        driver.set_rate(step, self.counters.lr_scale)
        driver.optimizer.step()
        driver.optimizer.zero_grad(set_to_none=True)

    def _batches_of(self, step: int) -> tuple[int, int]:
        """(number of a step's first batch, number of its batches)."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        first = inside * self.work.stage.accumulate
        return epoch * self.order.per_epoch + first, min(self.work.stage.accumulate, self.order.per_epoch - first)

    def _source(self) -> Iterator[dict[str, Any]]:
        work = self.work
        start, _ = self._batches_of(self.counters.step)
        last, size = self._batches_of(self.total_steps - 1)
        return batches(
            work.dataset, work.computation.fields, self.order, start=start, stop=last + size, workers=work.stage.workers
        )

    # -- the whole stage ----------------------------------------------------------------------------

    def trace(self) -> list[str]:
        """Run one step without updating, to see that gradients reach what should learn; leaves no trace.

        Returns:
            Names of trained arrays that no loss reaches.
        """
        work = self.work
        buffers = {part: {n: b.clone() for n, b in module.named_buffers()} for part, module in work.parts.items()}
        self._seed_step(0)
        values = self._prepared(next(self._source()))
        unreached: list[str] = []
        for driver in self.drivers:
            only_learns(driver.turn, work.computation.turns, work.parts)
            self._backward(driver, values, 1)
            unreached += check_reached(work.stage.name, named_trained(work.parts, driver.turn.training), work.parts)
            driver.optimizer.zero_grad(set_to_none=True)
            driver.sums.zero_()
        for path in work.stage.trained():
            self.trained_modules()[path].requires_grad_(True)
        for part, module in work.parts.items():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[part][name])
        return unreached

    def run(self) -> None:
        """Train to the end of the stage, then put the weights in place that it ends with.

        Raises:
            GuardError: a guard stopped the stage; the state before it is kept on disk.
        """
        self._good = self._good or self._snapshot()
        self._clock = time.perf_counter()
        source: Iterator[dict[str, Any]] | None = None
        while self.counters.step < self.total_steps and not self.counters.stopped:
            source = source or self._source()
            self._step(source, self._batches_of(self.counters.step)[1])
            self.work.tick(self.counters.step, self.total_steps)
            if self._after_step():
                source = None
        if self.best:
            self._restore_parts(self.best)

    def _after_step(self) -> bool:
        """Log, judge and snapshot where a step asks for it; whether the stage went back to an earlier step."""
        stage, step = self.work.stage, self.counters.step
        end = step == self.total_steps
        judged = stage.validation is not None and (end or step % (self.steps_per_epoch * stage.validation.every) == 0)
        due = step % stage.snapshot_every == 0 or judged or end
        if (due or step % stage.log_every == 0) and not self._finite(weights=due):
            self._roll_back()
            return True
        if step % stage.log_every == 0 or end:
            self._log()
        if judged:
            self._validate()
        if due:
            self._judge_drift()
            self._good = self._snapshot()
            self.work.keep(self._good, end or self.counters.stopped)
        return False

    def _finite(self, *, weights: bool) -> bool:
        """Whether all losses since the last log are finite, and the trained weights too."""
        arrays = [driver.sums for driver in self.drivers]
        if weights:
            arrays += [parameter for driver in self.drivers for parameter in driver.parameters]
        return all(bool(torch.isfinite(array).all()) for array in arrays)

    def _log(self) -> None:
        counted = self.counters.counted
        terms = self._means()
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        samples = counted * self.work.stage.accumulate * self.work.stage.batch_size * self.work.place.world
        event = {
            "losses": terms,
            "lr": {d.turn.name: max(g["lr"] for g in d.optimizer.param_groups) for d in self.drivers},
            "samples_per_second": round(samples / max(seconds, 1e-9), 2),
        }
        if any(driver.turn.training.clip is not None for driver in self.drivers):
            event["gradient_norm"] = {d.turn.name: float(d.norms) / counted for d in self.drivers}
        self._observe("step", **event)
        for driver in self.drivers:
            driver.sums.zero_()
            driver.norms.zero_()
        self.counters.counted = 0
        if self.band is not None:
            self._stop_on(self.band.judge(terms))

    def _means(self) -> dict[str, float]:
        counted = max(1, self.counters.counted)
        return {
            name if len(self.drivers) == 1 else f"{driver.turn.name}.{name}": value / counted
            for driver in self.drivers
            for (name, _, _), value in zip(driver.turn.losses, driver.sums.tolist(), strict=True)
        }

    def _validate(self) -> None:
        assert self.work.judge is not None
        assert self.work.stage.validation is not None
        value = self.work.judge()
        best = self.patience.judge(value, self.counters.step)
        if best and self.work.stage.validation.keep == "best":
            self.best = self._trained_arrays()
        self._observe("validation", metric=self.work.stage.validation.metric, value=value, best=best)
        if self.patience.exhausted:
            self.counters.stopped = True
            self._observe(
                "guard",
                guard="patience",
                what=self.work.stage.validation.metric,
                value=value,
                message=f"no better {self.work.stage.validation.metric} for {self.patience.waited} validations; "
                f"the best was {self.patience.best} at step {self.patience.best_step}",
            )
        self._clock = time.perf_counter()

    @torch.no_grad()
    def drifts(self) -> dict[str, float]:
        """Relative L2 distance of each trained module from where the stage began."""
        result = {}
        for path, module in self.trained_modules().items():
            moved = total = torch.zeros((), dtype=torch.float64)
            for name, parameter in module.named_parameters():
                start = self.origin[path][name]
                moved = moved + (parameter - start).double().square().sum().cpu()
                total = total + start.double().square().sum().cpu()
            result[path] = float((moved / total.clamp_min(1e-300)).sqrt())
        return result

    def _judge_drift(self) -> None:
        drift = self.drifts()
        self._observe("drift", parts=drift)
        self._stop_on(self.drift.judge(drift))

    def _stop_on(self, trouble: Trouble | None) -> None:
        if trouble is None:
            return
        self._observe(
            "guard",
            guard=trouble.guard,
            what=trouble.what,
            value=trouble.value,
            limit=trouble.limit,
            message=trouble.message,
        )
        self.work.keep(self._snapshot(), True)
        raise GuardError(
            f"stage {self.work.stage.name!r}, step {self.counters.step}: {trouble.message}. "
            f"The state of this step is kept; change `guards.{trouble.guard}`, or lower `lr`"
        )

    def _roll_back(self) -> None:
        """Go back to the last good state with half the learning rate, or stop."""
        assert self._good is not None
        bad = [name for name, value in self._means().items() if not math.isfinite(value)]
        found, step = ", ".join(bad) or "weights", self.counters.step
        rollbacks = self.counters.rollbacks + 1
        stop = rollbacks > ROLLBACKS or self.work.stage.guards.nonfinite == "stop"
        message = f"{found}: not finite in the steps up to {step}"
        trouble = {
            "guard": "nonfinite",
            "what": found,
            "found_at": step,
            "back_to": self._good.step,
            "message": message,
        }
        scale = self.counters.lr_scale / 2
        if stop:
            self._observe("guard", **trouble)
            self.work.keep(self._good, True)
            tried = f" after {rollbacks - 1} returns with ever lower learning rates" if rollbacks > 1 else ""
            raise GuardError(
                f"stage {self.work.stage.name!r}: {message}{tried}; "
                f"the last good state, of step {self._good.step}, is kept. Lower `lr`, set `clip`, or look at the data"
            )
        self.restore(self._good)
        self.counters.rollbacks, self.counters.lr_scale = rollbacks, scale
        self._observe("resumed", because=message, lr_scale=scale)
        self._observe("guard", **trouble)
        # A later return to this very state goes on from the rate that was reached by now.
        self._good = self._snapshot()

    def _observe(self, kind: str, **values: Any) -> None:
        step = self.counters.step
        epoch = -(-step // self.steps_per_epoch)
        self.work.observe({"event": kind, "stage": self.work.stage.name, "step": step, "epoch": epoch, **values})

    # -- snapshots ----------------------------------------------------------------------------------

    def _trained_arrays(self) -> dict[str, Tensor]:
        modules = self.trained_modules()
        return {
            f"{path}.{name}": copy
            for path, module in modules.items()
            for name, copy in _copies(module, cpu=True).items()
        }

    def _restore_parts(self, arrays: Mapping[str, Tensor]) -> None:
        for path, module in self.trained_modules().items():
            prefix = f"{path}."
            module.load_state_dict({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})

    def _snapshot(self) -> Snapshot:
        arrays = {f"part/{name}": array for name, array in self._trained_arrays().items()}
        for driver in self.drivers:
            own = optimizer_arrays(driver.optimizer)
            arrays |= {f"optimizer/{driver.turn.name}/{name}": array for name, array in own.items()}
            arrays[f"sums/{driver.turn.name}"] = driver.sums.cpu().clone()
            arrays[f"norms/{driver.turn.name}"] = driver.norms.cpu().clone()
        arrays |= {f"best/{name}": array for name, array in self.best.items()}
        self.counters.patience = self.patience.state()
        self.counters.first_terms = dict(self.band.first) if self.band else {}
        return Snapshot(step=self.counters.step, arrays=arrays, counters=dict(vars(self.counters)))

    def restore(self, snapshot: Snapshot) -> None:
        """Go to the state of a snapshot of this stage."""
        self._restore_parts(_below(snapshot.arrays, "part/"))
        for driver in self.drivers:
            restore_optimizer(driver.optimizer, _below(snapshot.arrays, f"optimizer/{driver.turn.name}/"))
            driver.sums.copy_(snapshot.arrays[f"sums/{driver.turn.name}"])
            driver.norms.copy_(snapshot.arrays[f"norms/{driver.turn.name}"])
            driver.applied = math.nan
        self.best = _below(snapshot.arrays, "best/")
        self.counters = Counters(**dict(snapshot.counters))
        self.patience.restore(self.counters.patience)
        if self.band is not None:
            self.band.first = dict(self.counters.first_terms)
        self._good = snapshot


def _precision(stage: Stage, place: Place) -> AbstractContextManager[Any]:
    """The context in which steps and losses run; may be entered any number of times."""
    if stage.precision == "bf16-mixed":
        return torch.autocast(place.device.type, dtype=torch.bfloat16)
    return nullcontext()


def _copies(module: nn.Module, *, cpu: bool = False) -> dict[str, Tensor]:
    return {n: a.detach().to("cpu", copy=True) if cpu else a.detach().clone() for n, a in module.state_dict().items()}


def _below(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
