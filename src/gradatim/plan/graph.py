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
            wanted |= set(step.reads)
    return tuple(reversed(chosen))


def steps_without(steps: Sequence[CallNames], given: Collection[str]) -> tuple[CallNames, ...]:
    """The steps that make none of the values that are there already."""
    return tuple(step for step in steps if not set(step.makes) & set(given))


def fields_of(steps: Sequence[CallNames], want: Iterable[str], *, offered: Collection[str] = ()) -> tuple[str, ...]:
    """The sample's fields that lead to the wanted values: what no step makes.

    Args:
        steps: of a task, in order.
        want: names of values.
        offered: fields that the data have; of values that may be absent, only these are asked for.
    """
    made = {name for step in steps for name in step.makes}
    needed = needed_steps(steps, want)
    optional = {name for step in needed for name in step.optional}
    needs = [name for step in needed for name in step.reads if name not in optional or name in offered]
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
        if roots & set(step.parts) or touched & set(step.reads):
            chosen.append(step)
            touched |= set(step.makes)
    return tuple(chosen)


def reached_parts(steps: Sequence[CallNames], want: Iterable[str]) -> frozenset[str]:
    """The parts that the wanted values depend on."""
    return frozenset(part for step in needed_steps(steps, want) for part in step.parts)


def kept_values(
    steps: Sequence[CallNames], train: Collection[str], want: Iterable[str], *, coupled: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Values of the frozen prefix that are worth keeping, by the step that makes them.

    A step's values can be kept if it depends on no trained part, on nothing drawn at random and on no sample but its
    own; they are worth it if a part made them. Of those, only what the remaining steps or the losses read is kept.

    Args:
        steps: of a task, in order.
        train: trained parts; a child counts for its part.
        want: values that losses and metrics read.
        coupled: parts whose results for a sample depend on the others of its batch.
    """
    want = list(want)
    needed = needed_steps(steps, want)
    live = {step.name for step in trained_steps(steps, train)}
    fleeting: set[str] = set()
    kept = []
    for step in needed:
        if step.random or fleeting & set(step.reads) or set(coupled) & set(step.parts):
            fleeting |= set(step.makes)
        elif step.name not in live and step.parts:
            kept.append(step)
    rest = needed_steps(steps_without(needed, [name for step in kept for name in step.makes]), want)
    read = {*want, *(name for step in rest for name in step.reads)}
    found = {step.name: tuple(name for name in step.makes if name in read) for step in kept}
    return {name: values for name, values in found.items() if values}
