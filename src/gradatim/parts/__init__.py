"""What a stage does with each part: its state, its freezing, its place in the optimizer."""

from gradatim.parts.freeze import frozen, hold_still, set_trainable
from gradatim.parts.groups import named_trained, parameter_groups
from gradatim.parts.states import State, part_states

__all__ = ["State", "frozen", "hold_still", "named_trained", "parameter_groups", "part_states", "set_trainable"]
