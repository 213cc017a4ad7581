"""`accumulate: auto`: a stage's batch, cut into the largest equal pieces that fit into memory.

What a step keeps is measured with two samples of the stage's data before anything is trained, and the run's plan then
says the numbers, so that going on with it anywhere does the same.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradatim.data.batches import keyed_batches
from gradatim.data.dataset import Dataset
from gradatim.engine.build import converted_options, outline_parts
from gradatim.engine.device import Place
from gradatim.engine.memory import bytes_of, kept_for_backward, materialized, weight_bytes
from gradatim.engine.module import build_computation
from gradatim.errors import PlanError
from gradatim.plan import Plan
from gradatim.plan.stage import Stage
from gradatim.system import System
from gradatim.task import store

SHARE = 0.7
"""Of free memory; the rest is for what kernels and the allocator need beside the tensors that are counted."""
_AT_ONCE = 3
"""Results of the frozen prefix that are alive at a time: input and output of an operation, and one kept beside."""
_DRAWS = 8
_SAMPLES = 2


def fitted(system: System, plan: Plan, settings: Any, data: Mapping[str, Dataset], place: Place) -> Plan:
    """The plan with numbers where stages say `accumulate: auto`.

    Args:
        system, plan, settings: what runs, and the sizes of its model.
        data: training set of each stage by name.
        place: whose memory it is.

    Raises:
        PlanError: not even one sample fits; names what it needs and what there is.
    """
    if all(stage.accumulate != "auto" for stage in plan.stages):
        return plan
    room, stages, wrong = SHARE * place.free_memory(), [], []
    for stage in plan.stages:
        if stage.accumulate != "auto":
            stages.append(stage)
            continue
        fixed, each = _needs(system, stage, settings, data[stage.name], plan.seed)
        pieces = [size for size in range(1, stage.batch_size + 1) if stage.batch_size % size == 0]
        fitting = [size for size in pieces if fixed + size * each <= room]
        if not fitting:
            wrong.append(
                f"stage {stage.name!r}: one sample needs about {(fixed + each) / 1e9:.2f} GB, {room / 1e9:.2f} GB of "
                f"{place.device} may be used; take smaller images or a smaller model, or train fewer parts"
            )
            continue
        size = max(fitting)
        stages.append(stage.model_copy(update={"batch_size": size, "accumulate": stage.batch_size // size}))
    if wrong:
        raise PlanError("\n".join(wrong))
    return plan.model_copy(update={"stages": tuple(stages)})


def _needs(system: System, stage: Stage, settings: Any, dataset: Dataset, seed: int) -> tuple[int, int]:
    """Bytes that a stage needs whatever its batch, and for each sample of it."""
    outlines = outline_parts(system, settings, [stage])
    parts = materialized({part: outlines[part] for part in system.task_of(stage).parts}, stage)
    computation = build_computation(system, stage, converted_options(system, stage), parts)
    count, draws = min(_SAMPLES, len(dataset)), _DRAWS if getattr(dataset, "draws_batches", False) else 1
    keys = [[(draw, index) for index in range(count)] for draw in range(draws)]
    batches = keyed_batches(dataset, computation.fields, keys, seed=seed, stage=stage.name)
    largest = max(batches, key=lambda batch: sum(bytes_of(one) for one in tree_leaves(batch)))
    found: dict[str, Any] = {**parts, "generator": torch.Generator(), **largest}
    watch = _Largest()
    with torch.no_grad(), watch:
        for names, step in computation.prefix:
            store(found, names, step(found))
    kept = kept_for_backward(computation, found, parts)
    each = max(kept, _AT_ONCE * watch.bytes) + sum(bytes_of(one) for one in tree_leaves(largest))
    return weight_bytes(stage, parts)["total"], math.ceil(each / count)


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the largest result of any operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.bytes = max([self.bytes, *(bytes_of(one) for one in tree_leaves(result))])
        return result
