"""What a plan will do, stage by stage and part by part, before anything runs."""

from typing import Any

from torch import nn

from gradatim.engine.build import converted_options, outline_parts, settings_of
from gradatim.engine.checked import checked_plan, document_of
from gradatim.engine.memory import estimate
from gradatim.engine.outlook import outlook
from gradatim.engine.prepare import maker_of
from gradatim.engine.sources import Builder, check_sources, children_of, described
from gradatim.errors import GradatimError
from gradatim.parts import State, part_states
from gradatim.plan import Document, Finding, Plan, Stage, raise_all
from gradatim.plan.sources import Source
from gradatim.system import System


def explain(plan: Plan | Document, *, system: System | None = None) -> dict[str, Any]:
    """Check a plan and tell what each stage does with each part.

    Args:
        plan: the plan or its document.
        system: where it is not one that can be found by name.

    Returns:
        JSON values: `system`, `stages` with their `parts` (state, arrays, values, origin, lr), losses and
        estimated `memory` in bytes, `features` that are kept and the file that is `prepared` before it; `warnings`,
        and `unusable`: sources that cannot be used as they are now.

    Raises:
        PlanError: with all that is wrong.
    """
    document = document_of(plan) if isinstance(plan, Plan) else plan
    resolved, system, warnings = checked_plan(document, system)
    settings = settings_of(system, resolved)
    outlines = outline_parts(system, settings, resolved.stages)
    origins: dict[str, str] = {}
    stages, wrong = [], []
    for index, stage in enumerate(resolved.stages):
        origins |= {part: described(source) for part, source in stage.init.items() if "." not in part}
        for root, children in children_of(name for name in stage.init if "." in name).items():
            told_of = [f"{child}: {described(stage.init[f'{root}.{child}'])}" for child in children]
            origins[root] = "; ".join(told_of)
        told, finding = _stage(system, stage, settings, outlines, origins)
        stages.append(told)
        wrong += [Finding(("stages", index), finding)] if finding else []
        trained = {name.partition(".")[0] for name in stage.trained()}
        origins |= dict.fromkeys(trained, f"stage {stage.name}")
    raise_all(document, wrong)
    builder = Builder(system=system, settings=settings, seed=resolved.seed, allow=resolved.allow)
    return {
        "system": system.name,
        "seed": resolved.seed,
        "model": settings.model_dump(mode="json"),
        "stages": stages,
        "warnings": [f"{document.where(finding.place)}: {finding.message}" for finding in warnings],
        "unusable": check_sources(resolved.stages, builder, download=False),
    }


def _stage(
    system: System, stage: Stage, settings: Any, outlines: dict[str, nn.Module], origins: dict[str, str]
) -> tuple[dict[str, Any], str | None]:
    steps = system.task_of(stage).names
    data = system.data_settings(stage)
    shapes = system.data.shapes(data, settings)
    features = outlook(system, stage, settings, outlines, shapes)
    states = part_states(system.parts, steps, stage.trained(), stored=features["parts"] if features else ())
    used = {part: outlines[part] for part, state in states.items() if state is not State.UNUSED}
    wrong, memory = None, None
    try:
        options = converted_options(system, stage)
        memory = estimate(system, stage, options, used, shapes)
    except GradatimError as error:
        wrong = f"stage {stage.name!r}: {error}"
    told = {
        "name": stage.name,
        "task": stage.task,
        "length": f"{stage.steps} steps" if stage.steps else f"{stage.epochs} epochs",
        "batch_size": stage.batch_size,
        "accumulate": stage.accumulate,
        "losses": {name: dict(training.losses) for name, training in stage.trainings().items()},
        "memory": memory,
        "features": features,
        "prepared": _prepared(system, stage),
        "parts": {part: _part(part, state, stage, outlines.get(part), origins) for part, state in states.items()},
    }
    return told, wrong


def _prepared(system: System, stage: Stage) -> dict[str, str] | None:
    """The file that is made for a stage's data, and by whose model."""
    maker = maker_of(system, stage)
    if system.data.prepared is None or maker is None:
        return None
    by = f"stage {maker.stage}" + (f" of {maker.run}" if maker.run else "")
    return {"file": system.data.prepared.file, "by": by}


def _part(part: str, state: State, stage: Stage, outline: nn.Module | None, origins: dict[str, str]) -> dict[str, Any]:
    arrays = outline.state_dict() if outline is not None else {}
    source: Source | None = stage.init.get(part)
    return {
        "state": str(state),
        "arrays": len(arrays),
        "values": sum(array.numel() for array in arrays.values()),
        "origin": None if state is State.UNUSED else described(source) if source is not None else origins.get(part),
        "lr": _rate(part, stage) if state is State.TRAINED else None,
    }


def _rate(part: str, stage: Stage) -> float | dict[str, float]:
    """Learning rate of a trained part, or of each of its trained children."""
    rates = {
        path: how.lr if how.lr is not None else training.lr
        for training in stage.trainings().values()
        for path, how in training.train.items()
        if path.partition(".")[0] == part
    }
    return rates[part] if list(rates) == [part] else rates
