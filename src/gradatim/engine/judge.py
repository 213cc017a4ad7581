"""Validation: a metric or loss over the whole validation set, in the set's order."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gradatim.data.batches import plain_batches
from gradatim.data.dataset import Dataset
from gradatim.data.random import keyed_seed
from gradatim.engine.device import Place
from gradatim.errors import DataError
from gradatim.plan.graph import fields_of
from gradatim.plan.stage import Stage
from gradatim.system import System


def build_judge(
    system: System,
    stage: Stage,
    options: Mapping[str, Any],
    parts: Mapping[str, nn.Module],
    dataset: Dataset,
    place: Place,
    seed: int,
) -> tuple[Callable[[], float], bool]:
    """A function that computes the stage's metric, and whether higher is better.

    Raises:
        DataError: the validation set is empty.
    """
    assert stage.validation is not None
    metric = stage.validation.metric
    task = system.read_tasks[stage.task]
    known = {**system.read_losses, **system.read_metrics}
    call = known[metric]
    higher = metric in system.metrics and system.metrics[metric].higher_is_better
    fields = fields_of(task.names, call.names.needs)
    size = stage.validation.batch_size or stage.batch_size
    measure = call.bound(options)
    if not len(dataset):
        raise DataError(
            f"stage {stage.name!r}: the validation set is empty; hold samples out, or leave `validate` away"
        )

    @torch.no_grad()
    def judge() -> float:
        # Trained parts are in train mode between validations; what is held still ignores both calls.
        learning = [module for part in parts.values() for module in part.modules() if module.training]
        for part in parts.values():
            part.eval()
        total, count = 0.0, 0
        generator, reseed = torch.Generator(place.device), place.seeder()
        for indices, batch in plain_batches(dataset, fields, size):
            generator.manual_seed(keyed_seed(seed, stage.name, "validate", indices[0]))
            reseed(generator.initial_seed())
            values = task.compute(parts, place.send(batch), want=call.names.needs, options=options, generator=generator)
            result = measure(values).double()
            total += float(result.sum()) if result.ndim else float(result) * len(indices)
            count += len(indices)
        for module in learning:
            module.training = True
        return total / count

    return judge, higher
