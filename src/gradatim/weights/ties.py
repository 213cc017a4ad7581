"""Tied parts: two of a file that a model may hold as one, which is right only where they are equal."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gradatim.errors import WeightsError
from gradatim.weights.layout import Tie, Translation


def require_equal(tie: Tie, taken: str, translation: Translation, arrays: Mapping[str, Tensor]) -> None:
    """Raise where a file holds both parts of a tie and they are not equal to the bit.

    Args:
        tie: names both parts.
        taken: the one that is asked for alone.
        translation: of the file's names.
        arrays: of the file, by the names that were translated.

    Raises:
        WeightsError: it names the first array that differs, or that one part lacks, and the remedy.
    """
    (left,) = set(tie.parts) - {taken}
    held: dict[str, dict[str, Tensor]] = {taken: {}, left: {}}
    for ours, how in translation.made.items():
        part, _, name = ours.partition(".")
        if part in held:
            held[part][name] = how.make([arrays[source] for source in how.sources])
    if not held[left]:
        return
    for name in dict.fromkeys([*held[taken], *held[left]]):
        first, second = held[taken].get(name), held[left].get(name)
        if first is None or second is None or not torch.equal(first, second):
            raise WeightsError(
                f"parts {taken!r} and {left!r} of this file differ, first in {name!r}, and only {taken!r} is asked "
                f"for: {tie.remedy}"
            )
