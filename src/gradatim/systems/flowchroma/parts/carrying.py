"""How colors are carried from frame to frame, which a fusion network learns to rely on."""

from dataclasses import dataclass
from typing import Literal, get_args

from gradatim.errors import PlanError, unknown

TargetColors = Literal["previous", "ground_truth", "zero"]
"""Colors that the flow network sees in the frame that is to be colored."""


@dataclass(frozen=True, kw_only=True)
class Carrying:
    """How colors are carried from frame to frame.

    Args:
        flow_scale: what flows are multiplied by. Published fusion networks have learned with 8, which carries colors
            eight times too far.
        max_history: pairs of frames that are remembered, at least 1; None for all.
        target_ab: colors of the next frame as the flow network sees them: those of the frame before, 0, or the true
            ones, which published fusion networks have learned with and which no gray video has.

    Raises:
        PlanError: no such colors, or no history.
    """

    flow_scale: float = 1.0
    max_history: int | None = 1
    target_ab: TargetColors = "previous"

    def __post_init__(self) -> None:
        if self.target_ab not in get_args(TargetColors):
            raise PlanError(f"target_ab: {unknown('colors', self.target_ab, get_args(TargetColors))}")
        if self.max_history is not None and self.max_history < 1:
            raise PlanError(f"max_history is {self.max_history}, it must be at least 1, or None for all pairs.")
