"""The training loop of one stage: steps, guards at fixed intervals, snapshots, validation.

Nothing here reads a clock to decide what happens, so a stage that was killed and resumed ends with the same bits
as one that was not. The host waits for the device only every `log_every` steps.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gradatim.data.batches import BatchOrder, batches
from gradatim.data.dataset import Dataset
from gradatim.data.random import keyed_seed
from gradatim.engine.device import Place, precision_of
from gradatim.engine.feed import Feed
from gradatim.engine.judge import Judgement
from gradatim.engine.lengthen import OpenedTooEarlyError
from gradatim.engine.module import Computation, only_learns
from gradatim.engine.state import Driver, LoopState, build_driver, trained_modules
from gradatim.errors import GuardError
from gradatim.guards import Drift, Trouble, check_reached
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
        judge: validation, -> value of the stage's metric, and terms; None where it names none.
        feed: stored values of the frozen prefix; None computes them for every batch.
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
    judge: Callable[[], Judgement] | None = None
    feed: Feed | None = None
    higher_is_better: bool = True


def order_of(stage: Stage, seed: int, samples: int, place: Place) -> BatchOrder:
    """Which samples each batch of a stage holds."""
    return BatchOrder(
        samples=samples,
        batch_size=stage.batch_size,
        seed=seed,
        stage=stage.name,
        rank=place.rank,
        world=place.world,
    )


class Loop:
    """Trains one stage from a snapshot, or from its start, to its end.

    Args:
        work: what to do.
    """

    def __init__(self, work: Work) -> None:
        stage, order = work.stage, order_of(work.stage, work.seed, len(work.dataset), work.place)
        self.work = work
        self.order = order
        self.steps_per_epoch = -(-order.per_epoch // stage.passes)
        self.total_steps = stage.steps or self.steps_per_epoch * (stage.epochs or 1)
        length = {"steps": self.total_steps, "per_epoch": self.steps_per_epoch}
        self.state = LoopState(
            stage,
            trained_modules(stage, work.parts),
            [build_driver(turn, work.parts, **length) for turn in work.computation.turns],
            higher_is_better=work.higher_is_better,
        )
        self.drift = Drift(stage.guards.drift)
        self.generator = torch.Generator(work.place.device)
        self._precision = precision_of(stage.precision, work.place.device.type)
        self._prefix_parts: dict[str, Any] = {name: work.parts[name] for name in work.computation.prefix_parts}
        if work.computation.random:
            self._prefix_parts["generator"] = self.generator
        self._at_home = work.place.device.type == "cpu"
        self._exact = stage.precision == "fp32"
        self._reseed = work.place.seeder()
        # Without a wrapper around it, the module's own call would only look for hooks that nobody has set.
        self._module = work.computation.module.forward
        self._base = keyed_seed(work.seed, stage.name, work.place.rank)
        self._good: Snapshot | None = None
        self._clock = time.perf_counter()

    # -- one step -----------------------------------------------------------------------------------

    def _seed_step(self, step: int) -> None:
        seed = (self._base + step * _MIX) & _MASK
        self._reseed(seed)
        if self.work.computation.random:
            self.generator.manual_seed(seed)

    def _prepared(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Send a batch to the device and run the frozen prefix on it."""
        computation = self.work.computation
        values: dict[str, Any] = batch if self._at_home else self.work.place.send(batch)
        if self.work.feed is not None:
            values = self.work.feed.restored(values)
        if not computation.prefix and not computation.random:
            return values
        found = {**self._prefix_parts, **values}
        with torch.no_grad(), self._precision:
            for names, step in computation.prefix:
                store(found, names, step(found))
        return found

    def _backward(self, driver: Driver, values: dict[str, Any], share: int) -> None:
        if self._exact:
            total, terms = self._module(driver.name, values)
        else:
            with self._precision:
                total, terms = self._module(driver.name, values)
        torch.autograd.backward(total if share == 1 else total / share)
        driver.sums.add_(terms if share == 1 else terms / share)

    def _step(self, source: Iterator[dict[str, Any]], size: int) -> None:
        """One optimizer step of every update, over `size` batches."""
        step = self.state.counters.step
        self._seed_step(step)
        turns = self.work.computation.turns
        if len(turns) == 1:
            driver = self.state.drivers[0]
            for _ in range(size):
                self._backward(driver, self._prepared(next(source)), size)
            self._apply(driver, step)
        else:
            prepared = [self._prepared(next(source)) for _ in range(size)]
            for driver in self.state.drivers:
                only_learns(driver.turn, turns, self.work.parts)
                for values in prepared:
                    self._backward(driver, values, size)
                self._apply(driver, step)
        self.state.counters.step = step + 1
        self.state.counters.counted += 1

    def _apply(self, driver: Driver, step: int) -> None:
        clip = driver.turn.training.clip
        if clip is not None:
            driver.norms += torch.nn.utils.clip_grad_norm_(driver.parameters, clip)
        driver.set_rate(step, self.state.counters.lr_scale)
        driver.optimizer.step()
        driver.clear_gradients()

    def _batches_of(self, step: int) -> tuple[int, int]:
        """(number of a step's first batch, number of its batches)."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        first = inside * self.work.stage.passes
        return epoch * self.order.per_epoch + first, min(self.work.stage.passes, self.order.per_epoch - first)

    def _source(self) -> Iterator[dict[str, Any]]:
        work = self.work
        start, _ = self._batches_of(self.state.counters.step)
        last, size = self._batches_of(self.total_steps - 1)
        read = batches if work.feed is None else work.feed.batches
        return read(
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
        for driver in self.state.drivers:
            only_learns(driver.turn, work.computation.turns, work.parts)
            self._backward(driver, values, 1)
            unreached += check_reached(work.stage.name, named_trained(work.parts, driver.turn.training), work.parts)
            driver.clear_gradients()
            driver.sums.zero_()
        for module in self.state.modules.values():
            module.requires_grad_(True)
        for part, module in work.parts.items():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[part][name])
        return unreached

    def run(self) -> None:
        """Train to the end of the stage, then put the weights in place that it ends with.

        Raises:
            GuardError: a guard stopped the stage; the state before it is kept on disk.
        """
        self._refer()
        self._good = self._good or self.state.snapshot()
        self._clock = time.perf_counter()
        source: Iterator[dict[str, Any]] | None = None
        while self.state.counters.step < self.total_steps and not self.state.counters.stopped:
            source = source or self._source()
            self._step(source, self._batches_of(self.state.counters.step)[1])
            self.work.tick(self.state.counters.step, self.total_steps)
            if self._after_step():
                source = None
        if self.state.best:
            self.state.restore_modules(self.state.best)

    def _after_step(self) -> bool:
        """Log, judge and snapshot where a step asks for it; whether the stage went back to an earlier step."""
        stage, step = self.work.stage, self.state.counters.step
        end = step == self.total_steps
        judged = stage.validation is not None and (end or step % (self.steps_per_epoch * stage.validation.every) == 0)
        due = step % stage.snapshot_every == 0 or judged or end
        if (due or step % stage.log_every == 0) and not self.state.finite(weights=due):
            self._roll_back()
            return True
        logged = step % stage.log_every == 0 or end
        for due_now, look in ((logged, self._log), (judged, self._validate), (due, self._judge_drift)):
            trouble = look() if due_now else None
            if trouble is not None:
                self._answer(trouble)
                return True
        if due:
            self._good = self.state.snapshot()
            self.work.keep(self._good, end or self.state.counters.stopped)
        return False

    def _refer(self) -> None:
        """Measure what the loss terms of the validation set are before the first step."""
        band = self.work.stage.guards.loss_band
        if band is None or band.reference != "validation" or self.state.counters.step or self.state.band is None:
            return
        if self.work.judge is None:
            raise GuardError(
                f"stage {self.work.stage.name!r}: guards.loss_band refers to validation; say how by `validate`"
            )
        judgement = self.work.judge()
        self.state.band.judge(judgement.terms)
        self._observe("reference", losses=dict(judgement.terms), value=judgement.value)

    def _in_band(self, terms: Mapping[str, float], reference: str) -> Trouble | None:
        band = self.work.stage.guards.loss_band
        if self.state.band is None or band is None or band.reference != reference:
            return None
        epoch = -(-self.state.counters.step // self.steps_per_epoch)
        return None if band.epochs is not None and epoch > band.epochs else self.state.band.judge(terms)

    def _log(self) -> Trouble | None:
        counted = self.state.counters.counted
        terms = self.state.means()
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        samples = counted * self.work.stage.step_samples * self.work.place.world
        event = {
            "losses": terms,
            "lr": {d.turn.name: max(g["lr"] for g in d.optimizer.param_groups) for d in self.state.drivers},
            "samples_per_second": round(samples / max(seconds, 1e-9), 2),
        }
        if any(driver.turn.training.clip is not None for driver in self.state.drivers):
            event["gradient_norm"] = {d.turn.name: float(d.norms) / counted for d in self.state.drivers}
        self._observe("step", **event)
        self.state.start_interval()
        if self.state.spike is not None:
            trouble = self.state.spike.judge(self.work.stage.total(terms))
            if trouble is not None:
                return trouble
        return self._in_band(terms, "start")

    def _validate(self) -> Trouble | None:
        assert self.work.judge is not None
        assert self.work.stage.validation is not None
        judgement = self.work.judge()
        value = judgement.value
        trouble = self._in_band(judgement.terms, "validation")
        if trouble is not None:
            metric = self.work.stage.validation.metric
            self._observe("validation", metric=metric, value=value, best=False, losses=dict(judgement.terms))
            return trouble
        best = self.state.patience.judge(value, self.state.counters.step)
        if best and self.work.stage.validation.keep == "best":
            self.state.best = self.state.trained_arrays()
        terms = {"losses": dict(judgement.terms)} if judgement.terms else {}
        self._observe("validation", metric=self.work.stage.validation.metric, value=value, best=best, **terms)
        if self.state.patience.exhausted:
            self.state.counters.stopped = True
            self._observe(
                "guard",
                guard="patience",
                what=self.work.stage.validation.metric,
                value=value,
                message=f"no better {self.work.stage.validation.metric} for {self.state.patience.waited} validations; "
                f"the best was {self.state.patience.best} at step {self.state.patience.best_step}",
            )
        self._clock = time.perf_counter()
        return None

    def _judge_drift(self) -> Trouble | None:
        drift = self.state.drifts()
        self._observe("drift", parts=drift)
        return self.drift.judge(drift)

    def _answer(self, trouble: Trouble) -> None:
        """Do what the plan says about a broken promise: stop, or go back and on with half the learning rate."""
        assert self._good is not None
        rollbacks = self.state.counters.rollbacks + 1
        if self.work.stage.guards.then == "lower_lr" and rollbacks <= ROLLBACKS:
            found_at, scale = self.state.counters.step, self.state.counters.lr_scale / 2
            self.restore(self._good)
            self.state.counters.rollbacks, self.state.counters.lr_scale = rollbacks, scale
            self._observe("resumed", because=trouble.message, lr_scale=scale)
            self._observe(
                "guard", guard=trouble.guard, what=trouble.what, value=trouble.value, limit=trouble.limit,
                found_at=found_at, back_to=self._good.step, message=trouble.message,
            )  # fmt: skip
            self._good = self.state.snapshot()
            return
        self._observe(
            "guard",
            guard=trouble.guard,
            what=trouble.what,
            value=trouble.value,
            limit=trouble.limit,
            message=trouble.message,
        )
        self.work.keep(self.state.snapshot(), True)
        if self.work.stage.guards.then == "lengthen":
            raise OpenedTooEarlyError(self.work.stage.name, trouble.message)
        raise GuardError(
            f"stage {self.work.stage.name!r}, step {self.state.counters.step}: {trouble.message}. The weights before "
            f"this stage are untouched, and the state of this step is kept; lower `lr`, train fewer parts first, or "
            f"change `guards.{trouble.guard}`"
        )

    def _roll_back(self) -> None:
        """Go back to the last good state with half the learning rate, or stop."""
        assert self._good is not None
        bad = [name for name, value in self.state.means().items() if not math.isfinite(value)]
        found, step = ", ".join(bad) or "weights", self.state.counters.step
        rollbacks = self.state.counters.rollbacks + 1
        stop = rollbacks > ROLLBACKS or self.work.stage.guards.nonfinite == "stop"
        message = f"{found}: not finite in the steps up to {step}"
        trouble = {
            "guard": "nonfinite",
            "what": found,
            "found_at": step,
            "back_to": self._good.step,
            "message": message,
        }
        scale = self.state.counters.lr_scale / 2
        if stop:
            self._observe("guard", **trouble)
            self.work.keep(self._good, True)
            tried = f" after {rollbacks - 1} returns with ever lower learning rates" if rollbacks > 1 else ""
            raise GuardError(
                f"stage {self.work.stage.name!r}: {message}{tried}; "
                f"the last good state, of step {self._good.step}, is kept. Lower `lr`, set `clip`, or look at the data"
            )
        self.restore(self._good)
        self.state.counters.rollbacks, self.state.counters.lr_scale = rollbacks, scale
        self._observe("resumed", because=message, lr_scale=scale)
        self._observe("guard", **trouble)
        # A later return to this very state goes on from the rate that was reached by now.
        self._good = self.state.snapshot()

    def _observe(self, kind: str, **values: Any) -> None:
        step = self.state.counters.step
        epoch = -(-step // self.steps_per_epoch)
        self.work.observe({"event": kind, "stage": self.work.stage.name, "step": step, "epoch": epoch, **values})

    def restore(self, snapshot: Snapshot) -> None:
        """Go to the state of a snapshot of this stage."""
        self.state.restore(snapshot)
        self._good = snapshot
