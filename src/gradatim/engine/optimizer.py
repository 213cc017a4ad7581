"""Optimizers and schedules of a stage, built from its settings."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from gradatim.parts import parameter_groups
from gradatim.plan.stage import (
    CosineSchedule,
    EpochCosineSchedule,
    OneCycleSchedule,
    PolynomialSchedule,
    StepSchedule,
    Training,
)

Factor = Callable[[int, float], float]
"""Of the step, counted from 0, and of the rate that is multiplied: schedules may fall to a rate in numbers."""


def build_optimizer(parts: Mapping[str, nn.Module], training: Training) -> Optimizer:
    """The optimizer of a training; a group's `base_lr` is its rate before the schedule, `names` its parameters."""
    groups = parameter_groups(parts, training)
    for group in groups:
        group["base_lr"] = group["lr"]
    options = training.optimizer.chosen.model_dump()
    if training.optimizer.name == "sgd":
        return SGD(groups, **options)
    # One kernel for all parameters: the same mathematics with less work between steps.
    kind = AdamW if training.optimizer.name == "adamw" else Adam
    return kind(groups, fused=all(p.is_floating_point() for group in groups for p in group["params"]), **options)


def schedule_factor(training: Training, *, steps: int, per_epoch: int) -> Factor:
    """Factor on a learning rate by step and rate; see `Factor`.

    Args:
        training: its `schedule`.
        steps: of the whole stage.
        per_epoch: steps of one epoch.
    """
    chosen = training.schedule.chosen
    if isinstance(chosen, OneCycleSchedule):
        return _one_cycle(chosen, steps)
    if isinstance(chosen, EpochCosineSchedule):
        return _epoch_cosine(chosen, -(-steps // per_epoch), per_epoch)
    if isinstance(chosen, CosineSchedule):
        body = _cosine(chosen, steps, per_epoch)
    elif isinstance(chosen, PolynomialSchedule):
        body = _polynomial(chosen, steps)
    elif isinstance(chosen, StepSchedule):
        body = _steps(chosen, per_epoch)
    else:
        body = _constant
    warmup = chosen.warmup
    return lambda step, lr: body(step, lr) * min(1.0, (step + 1) / (warmup + 1))


def _constant(step: int, lr: float) -> float:
    return 1.0


def _cosine(chosen: CosineSchedule, steps: int, per_epoch: int) -> Factor:
    length = max(1, steps - chosen.warmup)

    def factor(step: int, lr: float) -> float:
        begun = step if chosen.every == "step" else step // per_epoch * per_epoch
        done = min(1.0, max(0, begun - chosen.warmup) / length)
        final = max(chosen.final, _share(chosen.least, lr))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def _epoch_cosine(chosen: EpochCosineSchedule, epochs: int, per_epoch: int) -> Factor:
    def factor(step: int, lr: float) -> float:
        epoch = min(epochs, step // per_epoch + 1)
        if epoch <= chosen.warmup:
            return chosen.start + (1 - chosen.start) * epoch / chosen.warmup
        done = (epoch - chosen.warmup) / max(1, epochs - chosen.warmup)
        least = _share(chosen.least, lr)
        return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def _polynomial(chosen: PolynomialSchedule, steps: int) -> Factor:
    length = max(1, steps - chosen.warmup)

    def factor(step: int, lr: float) -> float:
        done = min(1.0, max(0, step - chosen.warmup) / length)
        least = _share(chosen.least, lr)
        return float(least + (1 - least) * (1 - done) ** chosen.power)

    return factor


def _share(least: float, lr: float) -> float:
    """A rate in numbers as a share of another."""
    return min(1.0, least / lr) if lr else 1.0


def _steps(chosen: StepSchedule, per_epoch: int) -> Factor:
    return lambda step, lr: float(chosen.gamma ** (step // per_epoch // chosen.every))


def _one_cycle(chosen: OneCycleSchedule, steps: int) -> Factor:
    low, end = 1 / chosen.start, 1 / chosen.start / chosen.end
    peak = max(1.0, chosen.rise * steps - 1)

    def between(start: float, stop: float, done: float) -> float:
        if chosen.anneal == "linear":
            return start + (stop - start) * min(1.0, done)
        return stop + (start - stop) / 2 * (1 + math.cos(math.pi * min(1.0, done)))

    def factor(step: int, lr: float) -> float:
        if step <= peak:
            return between(low, 1.0, step / peak)
        return between(1.0, end, (step - peak) / max(1.0, steps - 1 - peak))

    return factor


def optimizer_arrays(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Copies of an optimizer's state on the CPU, by parameter name and state name."""
    return {
        f"{name}/{key}": value.detach().cpu().clone()
        for name, state in _by_name(optimizer).items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(optimizer: Optimizer, arrays: Mapping[str, torch.Tensor]) -> None:
    """Put copies of saved state back, by parameter name; changes `optimizer`."""
    optimizer.state.clear()
    parameters = {
        n: p for group in optimizer.param_groups for n, p in zip(group["names"], group["params"], strict=True)
    }
    fused = bool(optimizer.defaults.get("fused"))
    for key, value in arrays.items():
        name, _, kind = key.rpartition("/")
        parameter = parameters[name]
        on_host = kind == "step" and not fused
        optimizer.state[parameter][kind] = value.clone() if on_host else value.to(parameter.device, copy=True)


def _by_name(optimizer: Optimizer) -> dict[str, Mapping[str, Any]]:
    return {
        name: optimizer.state[parameter]
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        if parameter in optimizer.state
    }
