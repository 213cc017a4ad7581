"""During a stage: loss terms in their band and without spikes, drift within its limits, patience with a metric.

Each guard is fed figures at fixed steps and keeps its state in JSON values, so that a resumed stage judges as
an uninterrupted one would.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A broken promise.

    Args:
        guard: its name.
        what: the part or loss term.
        value, limit: what was found, and what would be right.
        message: one sentence for people.
    """

    guard: str
    what: str
    value: float
    limit: float
    message: str


@dataclass
class LossBand:
    """Every loss term stays within a relative band around its first value, either way.

    Args:
        band: largest relative change.
        terms: names that are judged; empty: all.
        first: state, the first value of each.
    """

    band: float
    terms: Sequence[str] = ()
    first: dict[str, float] = field(default_factory=dict)

    def judge(self, terms: Mapping[str, float]) -> Trouble | None:
        """Judge the mean of each term over one interval; the first interval sets the values."""
        for name, value in terms.items():
            if "/" in name or (self.terms and name not in self.terms):
                continue  # What a term is the sum of may be a handful of samples.
            start = self.first.setdefault(name, value)
            if abs(value - start) > self.band * abs(start):
                return Trouble(
                    guard="loss_band",
                    what=name,
                    value=value,
                    limit=self.band,
                    message=f"loss {name!r} is {value:.5g}, more than {self.band:.0%} from {start:.5g} at the start",
                )
        return None


@dataclass
class Spike:
    """The total loss never exceeds the lowest that was seen by a factor.

    Args:
        factor: above 1.
        lowest: state.
    """

    factor: float
    lowest: float | None = None

    def judge(self, total: float) -> Trouble | None:
        """Judge the mean total of one interval."""
        if self.lowest is not None and total > self.factor * self.lowest:
            return Trouble(
                guard="spike",
                what="total loss",
                value=total,
                limit=self.factor,
                message=f"the total loss is {total:.5g}, more than {self.factor:g} times the lowest, {self.lowest:.5g}",
            )
        self.lowest = total if self.lowest is None else min(self.lowest, total)
        return None


@dataclass
class Drift:
    """No part moves further from where the stage began than its limit, in relative L2."""

    limits: Mapping[str, float]

    def judge(self, drift: Mapping[str, float]) -> Trouble | None:
        """Judge the drift of each part."""
        for part, limit in self.limits.items():
            if drift[part] > limit:
                return Trouble(
                    guard="drift",
                    what=part,
                    value=drift[part],
                    limit=limit,
                    message=f"part {part!r} has drifted {drift[part]:.4g} (relative L2), limit {limit:g}",
                )
        return None


@dataclass
class Patience:
    """A metric gets better again within a number of validations.

    Args:
        higher_is_better: which way is up.
        limit: validations without a better value; None waits for ever.
        best, best_step, waited: state.
    """

    higher_is_better: bool
    limit: int | None = None
    best: float | None = None
    best_step: int = 0
    waited: int = 0

    def judge(self, value: float, step: int) -> bool:
        """Take note of a validation; whether it is the best so far."""
        better = self.best is None or (value > self.best if self.higher_is_better else value < self.best)
        if better and math.isfinite(value):
            self.best, self.best_step, self.waited = value, step, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether the stage should end."""
        return self.limit is not None and self.waited >= self.limit

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a snapshot."""
        self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]
