"""Build parts, with fresh weights that depend on the seed and the part's name alone; give settings their types."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradatim.data.random import keyed_seed
from gradatim.errors import PlanError, unknown
from gradatim.plan.findings import Finding
from gradatim.plan.plan import Plan
from gradatim.plan.stage import Stage
from gradatim.system import System

_DRAWING = {Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.exponential_, Tensor.random_}


def settings_of(system: System, plan: Plan) -> Any:
    """The system's settings of a plan's `model`, complete."""
    return system.settings.model_validate(dict(plan.model))


def settled(system: System, plan: Plan) -> Plan:
    """A resolved plan whose `model`, `data` and `options` hold what the system's fields ask for.

    A file says 16 in text, a recipe in a number; both are one plan, with the same stage keys and the same `plan.yaml`.
    """
    stages = tuple(
        stage.model_copy(
            update={
                "data": _typed(system.data.settings, stage.data),
                "options": {
                    name: kind.dump_python(kind.validate_python(stage.options[name]), mode="json")
                    for name, kind in _option_kinds(system, stage).items()
                    if name in stage.options
                },
            }
        )
        for stage in plan.stages
    )
    return plan.model_copy(update={"model": _typed(system.settings, plan.model), "stages": stages})


def _typed(settings: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values of the fields that are given, no others."""
    whole = settings.model_validate(dict(values)).model_dump(mode="json")
    return {name: whole[name] for name in values}


def _option_kinds(system: System, stage: Stage) -> dict[str, TypeAdapter[Any]]:
    calls = [call.names for call in system.read_tasks[stage.task].steps]
    calls += [call.names for call in (*system.read_losses.values(), *system.read_metrics.values())]
    return {f"{call.name}.{name}": TypeAdapter(kind) for call in calls for name, kind in call.options.items()}


def converted_options(system: System, stage: Stage) -> dict[str, Any]:
    """A stage's options with text turned into what the signatures ask for."""
    kinds = _option_kinds(system, stage)
    return {name: kinds[name].validate_python(value) for name, value in stage.options.items()}


def build_part(system: System, settings: Any, part: str, seed: int) -> nn.Module:
    """A part with fresh weights, on the CPU, whatever else is built before it."""
    if part not in system.parts:
        raise PlanError(f"system {system.name!r} has no part {part!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(keyed_seed(seed, "init", part))
        return system.parts[part](settings)


class WithoutDrawing(TorchFunctionMode):
    """Leaves initial values out: tensors without memory have none, and drawing for some would load a compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWING or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def outline_part(system: System, settings: Any, part: str) -> nn.Module:
    """A part without memory: names, shapes and types, on the meta device."""
    with torch.device("meta"), WithoutDrawing():
        return system.parts[part](settings)


def outline_parts(system: System, settings: Any, stages: Iterable[Stage]) -> dict[str, nn.Module]:
    """All parts without memory; those that no stage uses and these settings cannot make are left out.

    Raises:
        PlanError: a part that a stage uses cannot be made.
    """
    used = {part for stage in stages for part in system.task_of(stage).parts}
    found = {}
    for part in system.parts:
        try:
            found[part] = outline_part(system, settings, part)
        except PlanError:
            if part in used:
                raise
    return found


def unknown_children(system: System, plan: Plan) -> Iterator[Finding]:
    """Names in `train` of children that a part does not have, or that hold nothing to learn; parts are outlined."""
    settings = settings_of(system, plan)
    outlines: dict[str, nn.Module] = {}
    for index, stage in enumerate(plan.stages):
        for path in stage.trained():
            part, _, child = path.partition(".")
            if part not in outlines:
                outlines[part] = outline_part(system, settings, part)
            modules = dict(outlines[part].named_modules())
            if child not in modules:
                known = [name for name in modules if name]
                yield Finding(("stages", index, "train"), unknown(f"child of part {part!r}", child, known))
            elif next(modules[child].parameters(), None) is None:
                yield Finding(("stages", index, "train"), f"{path!r} has no parameters: nothing in it can learn")
