"""The root module of a stage: the parts from the first trained step on, those steps, and the losses."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.plan.graph import fields_of, trained_steps
from gradatim.plan.stage import Stage, Training
from gradatim.system import System
from gradatim.task import Call, store

Bound = tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Any]]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One update of a stage, ready to run.

    Args:
        name: of the update.
        training: its settings.
        steps: bound steps from the first trained one on, that lead to its losses.
        losses: (name, weight, bound loss).
        logged: names of all terms, in order: of each loss, and of what it is the sum of.
    """

    name: str
    training: Training
    steps: tuple[Bound, ...]
    losses: tuple[tuple[str, float, Callable[[Mapping[str, Any]], Tensor]], ...]
    logged: tuple[str, ...]


def bound_steps(calls: Sequence[Call], options: Mapping[str, Any]) -> tuple[Bound, ...]:
    """Steps with their options put in, and the names of what they make."""
    return tuple((call.names.makes, call.bound(options)) for call in calls)


class StageModule(nn.Module):
    """Runs the trained part of a task, and its losses.

    Args:
        parts: of the steps in `turns`.
        turns: by name.
    """

    def __init__(self, parts: Mapping[str, nn.Module], turns: Mapping[str, Turn]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self._modules_by_name = dict(parts)
        self._turns = dict(turns)

    def forward(self, turn: str, values: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """(weighted total, detached terms (L,), or () where there is one) of one update.

        Args:
            turn: name of the update.
            values: what the frozen prefix made, the sample's fields, the generator.
        """
        chosen = self._turns[turn]
        found = {**self._modules_by_name, **values}
        for names, step in chosen.steps:
            store(found, names, step(found))
        total: Tensor | None = None
        terms = []
        for _, weight, loss in chosen.losses:
            term = loss(found)
            if term.dim():
                items, term = term.detach(), term.sum()
                terms += [term.detach(), *items]
            else:
                terms.append(term.detach())
            weighted = term if weight == 1 else term * weight
            total = weighted if total is None else total + weighted
        assert total is not None
        return total, terms[0] if len(terms) == 1 else torch.stack(terms)


@dataclass(frozen=True, kw_only=True)
class Computation:
    """What a stage computes for each batch.

    Args:
        fields: of the sample that are read.
        prefix: bound steps that depend on no trained part.
        prefix_parts: parts that they use.
        turns: updates, in order.
        module: the rest.
        random: whether a step draws from the counted generator.
    """

    fields: tuple[str, ...]
    prefix: tuple[Bound, ...]
    prefix_parts: tuple[str, ...]
    turns: tuple[Turn, ...]
    module: StageModule
    random: bool


def build_computation(
    system: System,
    stage: Stage,
    options: Mapping[str, Any],
    parts: Mapping[str, nn.Module],
    given: Collection[str] = (),
) -> Computation:
    """Cut a stage's task into the frozen prefix and the rest, and keep only what its losses need.

    Args:
        system, stage, options: what runs.
        parts: by name.
        given: values that come from a feature store instead of a step.
    """
    task = system.task_of(stage).given(given)
    live = {names.name for names in trained_steps(task.names, stage.trained())}
    wants = {name: system.wants(training.losses) for name, training in stage.trainings().items()}
    needed = task.chosen([value for want in wants.values() for value in want])
    turns = {}
    for name, training in stage.trainings().items():
        steps = [call for call in task.chosen(wants[name]) if call.names.name in live]
        losses = tuple(
            (loss, weight, system.read_losses[loss].bound(options)) for loss, weight in training.losses.items()
        )
        logged = tuple(term for loss in training.losses for term in system.read_losses[loss].logged)
        turns[name] = Turn(
            name=name, training=training, steps=bound_steps(steps, options), losses=losses, logged=logged
        )  # fmt: skip
    prefix = [call for call in needed if call.names.name not in live]
    rest = [call for call in needed if call.names.name in live]
    return Computation(
        fields=read_fields(system, stage, stage.loss_names(), given),
        prefix=bound_steps(prefix, options),
        prefix_parts=parts_of(prefix),
        turns=tuple(turns.values()),
        module=StageModule({part: parts[part] for part in parts_of(rest)}, turns),
        random=any(call.names.random for call in needed),
    )


def read_fields(system: System, stage: Stage, names: Iterable[str], given: Collection[str] = ()) -> tuple[str, ...]:
    """Fields of the sample that losses and metrics of these names lead to, where some values are given."""
    task, offered = system.task_of(stage).given(given), system.offered(stage)
    calls = [{**system.read_losses, **system.read_metrics}[name].names for name in names]
    needed = {value for call in calls for value in call.needs}
    made = {value for step in task.names for value in step.makes}
    want = [value for value in system.wants(names) if value in needed or value in made or value in offered]
    return tuple(name for name in fields_of(task.names, want, offered=offered) if name not in given)


def parts_of(calls: Iterable[Call]) -> tuple[str, ...]:
    """Parts that steps use, each once."""
    return tuple(dict.fromkeys(part for call in calls for part in call.names.parts))


def only_learns(turn: Turn, turns: Sequence[Turn], parts: Mapping[str, nn.Module]) -> None:
    """Let gradients reach the parameters of one update only; changes the others' `requires_grad`."""
    for other in turns:
        for path in other.training.train:
            root, _, child = path.partition(".")
            learner = parts[root].get_submodule(child) if child else parts[root]
            learner.requires_grad_(other is turn)
