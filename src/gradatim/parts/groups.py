"""Optimizer groups: each parameter that learns in exactly one, with its part's rates."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from gradatim.plan.stage import Training

_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers|layer)\.(\d+)\.")


def named_trained(parts: Mapping[str, nn.Module], training: Training) -> Iterator[tuple[str, str, nn.Parameter]]:
    """(name in `train`, full parameter name, parameter) of everything that a training changes, each once."""
    seen: set[int] = set()
    for path in training.train:
        root, _, child = path.partition(".")
        learner = parts[root].get_submodule(child) if child else parts[root]
        for name, parameter in learner.named_parameters():
            if id(parameter) not in seen and parameter.requires_grad:
                seen.add(id(parameter))
                yield path, f"{path}.{name}", parameter


def parameter_groups(parts: Mapping[str, nn.Module], training: Training) -> list[dict[str, Any]]:
    """Groups for a torch optimizer.

    A group's `lr` is its base rate; `names` lists its parameters. Arrays of fewer than two dimensions are not
    decayed. With `layer_decay` d, block i of n has the rate lr * d ** (n - i); what is registered before the
    first block counts as block -1, what comes after the last block has the full rate.

    Args:
        parts: modules by name.
        training: the stage or update.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    depths = _depths(parts, training)
    for path, name, parameter in named_trained(parts, training):
        how = training.train[path]
        lr = how.lr if how.lr is not None else training.lr
        decay = how.weight_decay if how.weight_decay is not None else training.weight_decay
        if how.layer_decay is not None:
            lr *= how.layer_decay ** depths[name]
        decay = decay if parameter.ndim >= 2 else 0.0
        group = groups.setdefault((lr, decay), {"params": [], "names": [], "lr": lr, "weight_decay": decay})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _depths(parts: Mapping[str, nn.Module], training: Training) -> dict[str, int]:
    """Distance of each parameter from the part's last layer, in blocks, by order of registration."""
    by_path: dict[str, list[str]] = {}
    for path, name, _ in named_trained(parts, training):
        by_path.setdefault(path, []).append(name)
    depths = {}
    for names in by_path.values():
        blocks = [int(match[1]) if (match := _BLOCK.search(name)) else None for name in names]
        count = max((block for block in blocks if block is not None), default=-1) + 1
        first = next((i for i, block in enumerate(blocks) if block is not None), 0)
        for i, (name, block) in enumerate(zip(names, blocks, strict=True)):
            depths[name] = count - block if block is not None else count + 1 if i < first and count else 0
    return depths
