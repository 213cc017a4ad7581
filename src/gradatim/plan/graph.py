"""The value graph of a task: which steps a value needs, which steps depend on trained parts."""

from collections.abc import Collection, Iterable, Sequence

from gradatim.plan.vocabulary import CallNames


def needed_steps(steps: Sequence[CallNames], want: Iterable[str]) -> tuple[CallNames, ...]:
    """The steps, in order, that lead to the wanted values."""
    wanted = set(want)
    chosen = []
    for step in reversed(steps):
        if wanted & set(step.makes):
            chosen.append(step)
            wanted |= set(step.needs)
    return tuple(reversed(chosen))


def fields_of(steps: Sequence[CallNames], want: Iterable[str]) -> tuple[str, ...]:
    """The sample's fields that lead to the wanted values: what no step makes."""
    made = {name for step in steps for name in step.makes}
    needs = [name for step in needed_steps(steps, want) for name in step.needs]
    return tuple(dict.fromkeys(name for name in (*needs, *want) if name not in made))


def trained_steps(steps: Sequence[CallNames], train: Collection[str]) -> tuple[CallNames, ...]:
    """The steps that depend on a trained part, by their own parts or by what they read.

    Args:
        steps: of a task, in order.
        train: trained parts; a child such as `converters.videomae` counts for its part.
    """
    roots = {name.partition(".")[0] for name in train}
    touched: set[str] = set()
    chosen = []
    for step in steps:
        if roots & set(step.parts) or touched & set(step.needs):
            chosen.append(step)
            touched |= set(step.makes)
    return tuple(chosen)


def reached_parts(steps: Sequence[CallNames], want: Iterable[str]) -> frozenset[str]:
    """The parts that the wanted values depend on."""
    return frozenset(part for step in needed_steps(steps, want) for part in step.parts)
