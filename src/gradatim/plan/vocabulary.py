"""The names that a system offers to its plans: what a plan can be checked against without tensors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from gradatim.plan.prepared import Prepared
from gradatim.plan.sources import Source


@dataclass(frozen=True, kw_only=True)
class CallNames:
    """What the signature of a step, loss or metric says.

    Args:
        name: the function's name.
        parts: arguments that receive a part.
        needs: arguments that receive a value.
        optional: those with the default None, for values that may be absent.
        makes: values that a step returns; empty for losses and metrics.
        options: annotation of each keyword-only argument.
        random: whether it has an argument `generator`.
    """

    name: str
    parts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """All arguments that receive a value."""
        return (*self.needs, *self.optional)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Names of one system.

    Args:
        system: its name.
        parts: in the order in which the system lists them.
        tasks: steps of each task, in order.
        losses: by name.
        metrics: by name.
        layouts: tables of foreign names.
        settings: model of a plan's `model`.
        data: model of a stage's `data`.
        fields: names that a sample holds under given data settings.
        rules: the system's own checks, by name.
        fixed: settings that weights are refused under another value of, unless the plan allows it.
        prepared: the file that an earlier stage's model may make for a stage's data.
    """

    system: str
    parts: tuple[str, ...]
    tasks: Mapping[str, tuple[CallNames, ...]]
    losses: Mapping[str, CallNames]
    metrics: Mapping[str, CallNames]
    layouts: tuple[str, ...]
    settings: type[BaseModel]
    data: type[BaseModel]
    fields: Callable[[Any], tuple[str, ...]]
    rules: Mapping[str, "Rule"] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    prepared: Prepared | None = None


@dataclass(frozen=True)
class Descent:
    """What is known of weights.

    Args:
        tasks: that trained them; None where nobody can tell.
        told: where they come from, in words.
    """

    tasks: frozenset[str] | None
    told: str


History = Callable[[Source, str], Descent]
"""(source that is no stage of the plan, part) -> what its weights have been through."""


def unknown_history(source: Source, part: str) -> Descent:
    """The history that nobody knows."""
    return Descent(None, "weights of an unknown history")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A system's own check of a plan.

    Args:
        why: the reason, shown with the finding.
        check: resolved plan -> (stage index, key, what was found) for each violation; with `traces`, plan and history.
        error: whether it stops the plan; a warning is printed and recorded.
        traces: whether it asks what weights have been through.
    """

    why: str
    check: Callable[..., Iterable[tuple[int, str, str]]]
    error: bool = True
    traces: bool = False
