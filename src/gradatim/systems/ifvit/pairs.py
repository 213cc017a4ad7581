"""Which prints are compared: of one finger, or of two."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pair(NamedTuple):
    """Numbers of two prints, and whether one finger made both."""

    first: int
    second: int
    genuine: bool


def genuine_pairs(fingers: Sequence[int] | NDArray[np.int64]) -> list[Pair]:
    """All pairs of prints of one finger, each once, in order.

    Args:
        fingers: number of each print's finger.
    """
    groups = by_finger(fingers)
    return [
        Pair(first, second, True)
        for group in groups.values()
        for at, first in enumerate(group)
        for second in group[at + 1 :]
    ]


def protocol_pairs(fingers: Sequence[int] | NDArray[np.int64]) -> list[Pair]:
    """The pairs of the FVC competitions: all of one finger, and the first prints of every two fingers.

    100 fingers with 8 prints each give 2800 and 4950 pairs.

    Args:
        fingers: number of each print's finger; the first print of a finger is the one that stands first.
    """
    first = [group[0] for group in by_finger(fingers).values()]
    imposters = [Pair(one, other, False) for at, one in enumerate(first) for other in first[at + 1 :]]
    return genuine_pairs(fingers) + imposters


def spread(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many pairs, evenly spread."""
    count = min(len(pairs), most)
    return [pairs[number * len(pairs) // count] for number in range(count)]


def by_finger(fingers: Sequence[int] | NDArray[np.int64]) -> dict[int, list[int]]:
    """Numbers of the prints of each finger, in order of appearance."""
    groups: dict[int, list[int]] = {}
    for index, finger in enumerate(fingers):
        groups.setdefault(int(finger), []).append(index)
    return groups


def imposter_count(genuine: int, share: float) -> int:
    """How many imposter pairs make a share of all pairs, beside a number of genuine ones."""
    return round(genuine * share / (1 - share))


def draw_imposter(fingers: NDArray[np.int64], random: np.random.Generator) -> Pair:
    """Two prints of two fingers.

    Args:
        fingers: number of each print's finger; at least two differ.
        random: source of the choice.
    """
    first = int(random.integers(len(fingers)))
    others = np.flatnonzero(fingers != fingers[first])
    return Pair(first, int(others[random.integers(len(others))]), False)
