"""The five states of a part in a stage, derived from what trains and from the value graph."""

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum

from gradatim.plan.graph import trained_steps
from gradatim.plan.vocabulary import CallNames


class State(StrEnum):
    """What a stage does with a part."""

    TRAINED = "trained"
    PASSES_GRADIENT = "passes gradient"
    NO_GRADIENT = "no gradient"
    CACHED = "cached"
    UNUSED = "unused"


def part_states(
    parts: Iterable[str], steps: Sequence[CallNames], train: Collection[str], *, stored: Collection[str] = ()
) -> dict[str, State]:
    """State of each part.

    Args:
        parts: all parts of the system.
        steps: of the stage's task, in order.
        train: names in the stage's `train`; a child counts for its part.
        stored: frozen parts whose results are read from a feature store.

    Returns:
        One state for each of `parts`, in their order.
    """
    roots = {name.partition(".")[0] for name in train}
    used = {part for step in steps for part in step.parts}
    with_graph = {part for step in trained_steps(steps, train) for part in step.parts}

    def state(part: str) -> State:
        if part in roots:
            return State.TRAINED
        if part not in used:
            return State.UNUSED
        if part in with_graph:
            return State.PASSES_GRADIENT
        return State.CACHED if part in stored else State.NO_GRADIENT

    return {part: state(part) for part in parts}
