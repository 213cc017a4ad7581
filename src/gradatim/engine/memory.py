"""Memory of a stage, estimated before any is allocated: the task runs on tensors that have shapes only.

Small models run on two samples of zeros instead, since torch loads its compiler to compute with shapes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.engine.build import converted_options, outline_parts
from gradatim.engine.module import Computation, build_computation
from gradatim.engine.outlook import blank_field, is_light, zeros_of
from gradatim.engine.shapes import remembered
from gradatim.errors import GradatimError
from gradatim.parts import named_trained, set_trainable
from gradatim.plan.stage import Stage
from gradatim.system import System
from gradatim.task import store

_MOMENTS = {"adamw": 2, "adam": 2, "sgd": 1}


def estimate(
    system: System,
    stage: Stage,
    options: Mapping[str, Any],
    parts: Mapping[str, nn.Module],
    shapes: Mapping[str, Any],
) -> dict[str, int | None]:
    """Bytes that a training step needs.

    Args:
        system, stage, options: what runs.
        parts: of the stage, on the meta device; their freezing is changed.
        shapes: of each field of one sample.

    Returns:
        `weights`, `gradients`, `optimizer`, `activations` (None where a step cannot run on shapes) and `total`.

    Raises:
        GradatimError: what a part says of shapes that do not fit.
    """
    set_trainable(parts, stage.trained())
    fixed = weight_bytes(stage, parts)
    activations = _activations(system, stage, options, parts, shapes)
    return {**fixed, "activations": activations, "total": fixed["total"] + (activations or 0)}


def weight_bytes(stage: Stage, parts: Mapping[str, nn.Module]) -> dict[str, int]:
    """Bytes that a training step needs whatever its batch: `weights`, `gradients`, `optimizer` and their `total`."""
    weights = sum(bytes_of(a) for part in parts.values() for a in part.state_dict().values())
    gradients = optimizer = 0
    for training in stage.trainings().values():
        own = sum(bytes_of(p) for _, _, p in named_trained(parts, training))
        gradients += own
        optimizer += own * _MOMENTS[training.optimizer.name]
    return {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "total": weights + gradients + optimizer,
    }


def shape_problems(system: System, stages: Sequence[Stage], settings: Any) -> list[str]:
    """What parts say of the shapes that each stage would give them; nothing is read or allocated."""
    outlines = outline_parts(system, settings, stages)
    wrong = []
    for stage in stages:
        data = system.data_settings(stage)
        used = {part: outlines[part] for part in system.task_of(stage).parts}
        try:
            estimate(system, stage, converted_options(system, stage), used, system.data.shapes(data, settings))
        except GradatimError as error:
            wrong.append(f"stage {stage.name!r}: {error}")
    return wrong


def bytes_of(value: Any) -> int:
    """Size of a tensor; 0 of anything else."""
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def kept_for_backward(computation: Computation, found: dict[str, Any], parts: Mapping[str, nn.Module]) -> int:
    """Bytes that the losses of a batch keep for their backward pass, parameters not counted.

    Args:
        computation: the stage's.
        found: parts, fields of the batch and values of the prefix by name; the results are added.
        parts: of the stage.
    """
    weights = {id(p) for part in parts.values() for p in part.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights and id(tensor) not in kept:
            kept[id(tensor)] = bytes_of(tensor)
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for turn in computation.turns:
            computation.module(turn.name, found)
    return sum(kept.values())


def _activations(
    system: System,
    stage: Stage,
    options: Mapping[str, Any],
    parts: Mapping[str, nn.Module],
    shapes: Mapping[str, Any],
) -> int | None:
    """Bytes that a forward pass keeps for its backward pass, parameters not counted."""
    batch, device = stage.batch_size, "meta"
    if is_light(parts, shapes):
        parts, batch, device = materialized(parts, stage), min(2, stage.batch_size), "cpu"
    computation = build_computation(system, stage, options, parts)
    found: dict[str, Any] = {**parts, "generator": torch.Generator()}
    try:
        found |= {n: blank_field(shapes[n], batch, device) for n in computation.fields if n in shapes}
        with remembered(device):
            with torch.no_grad():
                for names, step in computation.prefix:
                    store(found, names, step(found))
            kept = kept_for_backward(computation, found, parts)
    except GradatimError:
        raise
    except (RuntimeError, NotImplementedError, TypeError, ValueError, KeyError):
        return None
    return kept * stage.batch_size // batch


def materialized(parts: Mapping[str, nn.Module], stage: Stage) -> dict[str, nn.Module]:
    """Copies of outlined parts on the CPU, full of zeros, frozen as the stage asks."""
    found = zeros_of(parts)
    set_trainable(found, stage.trained())
    return found
