"""After a stage: frozen is frozen to the bit, trained has moved, and everything is finite."""

from collections.abc import Mapping

import torch
from torch import nn

from gradatim.errors import GuardError, problems
from gradatim.weights.digest import array_digest


def digests(parts: Mapping[str, nn.Module]) -> dict[str, str]:
    """Digest of every parameter and buffer, persistent or not, by full name."""
    return {
        f"{part}.{name}": array_digest(array)
        for part, module in parts.items()
        for name, array in [*module.named_parameters(), *module.named_buffers()]
    }


def check_frozen(stage: str, before: Mapping[str, str], after: Mapping[str, str]) -> int:
    """Compare the digests of frozen arrays.

    Returns:
        Number of arrays that are equal to the bit.

    Raises:
        GuardError: one has changed.
    """
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    if changed:
        lines = [f"{name} is frozen, but its values have changed" for name in changed[:10]]
        lines += [f"... and {len(changed) - 10} more"] if len(changed) > 10 else []
        raise GuardError(problems(f"stage {stage!r}, after its last step; its weights were not kept:", lines))
    return len(before)


def check_moved(stage: str, before: Mapping[str, str], parts: Mapping[str, nn.Module]) -> int:
    """Check that every trained module has moved and is finite.

    Args:
        stage: its name.
        before: digests of its arrays at the start, by `path.name`.
        parts: trained modules by their name in `train`.

    Returns:
        Number of arrays that have moved.

    Raises:
        GuardError: none of a module's arrays has, or a value is not finite.
    """
    wrong, total = [], 0
    for path, module in parts.items():
        moved = sum(before[f"{path}.{n}"] != array_digest(p) for n, p in module.named_parameters())
        total += moved
        if not moved:
            wrong.append(f"part {path!r} is trained, but none of its arrays has moved")
        wrong += [
            f"{path}.{name} holds values that are not finite"
            for name, array in module.state_dict().items()
            if array.is_floating_point() and not torch.isfinite(array).all()
        ]
    if wrong:
        raise GuardError(problems(f"stage {stage!r}, after its last step; its weights were not kept:", wrong[:10]))
    return total
