"""Freezing that holds: a frozen part stays in evaluation mode through every `.train()` call."""

import types
from collections.abc import Collection, Mapping

from torch import nn


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for `nn.Module.train` on a frozen module."""
    return module


def hold_still(part: nn.Module) -> None:
    """Freeze a part: no gradient, evaluation mode, and no `.train()` call changes that; changes `part`.

    Gradients still flow through it. Normalization statistics do not drift, dropout does not draw.
    """
    part.requires_grad_(False)
    for parameter in part.parameters():
        parameter.grad = None
    release(part)
    part.eval()
    for module in part.modules():
        # On every submodule: `part.blocks.train()` would otherwise reach around the part itself.
        module.train = types.MethodType(_stay_in_eval, module)  # type: ignore[method-assign]


def release(part: nn.Module) -> None:
    """Undo what `hold_still` put on a part's modules; gradients and mode stay as they are."""
    for module in part.modules():
        module.__dict__.pop("train", None)


def frozen(part: nn.Module) -> bool:
    """Whether a part is held still."""
    return "train" in part.__dict__


def set_trainable(parts: Mapping[str, nn.Module], train: Collection[str]) -> None:
    """Let the named parts or children of parts learn, in train mode, and hold everything else still.

    Args:
        parts: modules by name; changed.
        train: names such as `cfm` or `converters.videomae`.
    """
    for name, part in parts.items():
        hold_still(part)
        for path in train:
            root, _, child = path.partition(".")
            if root == name:
                learner = part.get_submodule(child) if child else part
                release(learner)
                learner.requires_grad_(True).train()
