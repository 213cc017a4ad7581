"""What a plan must satisfy before anything runs; needs no tensors, no data and no device.

Each check returns findings; `check` runs all of them, so that one message tells everything.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from gradatim.errors import nearest, unknown
from gradatim.plan.findings import Finding
from gradatim.plan.graph import fields_of, reached_parts, steps_without
from gradatim.plan.interpret import Interpreted, misfits
from gradatim.plan.plan import Plan
from gradatim.plan.sources import FileSource, NamedSource, RunSource, Source, StageSource
from gradatim.plan.stage import Stage, Training
from gradatim.plan.text import Document, Place, holds
from gradatim.plan.vocabulary import CallNames, History, Vocabulary, unknown_history


def check(
    document: Document, read: Interpreted, names: Vocabulary, history: History = unknown_history
) -> tuple[Finding, ...]:
    """All findings about a plan, those of reading it first.

    Args:
        document, read: the plan as written and as understood.
        names: of its system.
        history: tells what the weights of a source have been through, for rules that ask.
    """
    if read.plan is None:
        return read.findings
    plan = read.plan
    findings = [*_top(plan, names)]
    nameless = list(_named_sources(plan))
    findings += nameless
    if not nameless:
        resolved = plan.resolved()
        findings += _settings_fit(("model",), plan.model, names.settings)
        for index, stage in enumerate(resolved.stages):
            findings += _stage(index, stage, resolved, names)
        findings += _origins(resolved, names)
        if not any(finding.error for finding in (*findings, *read.findings)):
            findings += _rules(resolved, names, history)
    findings = [_written_at(document, finding) for finding in findings]
    kept = [finding for finding in findings if not _follows(finding.place, read.removed)]
    return (*read.findings, *kept)


def _follows(place: Place, removed: frozenset[Place]) -> bool:
    """Whether a finding only follows from a value that was taken out for another finding."""
    return any(place[: len(gone)] == gone for gone in removed)


def _written_at(document: Document, finding: Finding) -> Finding:
    """Point at `defaults` or `sources` where the stage itself does not say what is wrong."""
    place = finding.place
    if place[2:3] == ("init",) and _has(document.tree, (*place[:4], "source")):
        named = ("sources", _at(document.tree, (*place[:4], "source")))
        return Finding(named, finding.message, finding.error) if _has(document.tree, named) else finding
    if place[:1] != ("stages",) or len(place) < 3 or _has(document.tree, place):
        return finding
    shared = ("defaults", *place[2:])
    return Finding(shared, finding.message, finding.error) if _has(document.tree, shared) else finding


def _at(tree: Any, place: Place) -> Any:
    for step in place:
        tree = tree[step]
    return tree


def _has(tree: Any, place: Place) -> bool:
    for step in place:
        if not holds(tree, step):
            return False
        tree = tree[step]
    return True


def _top(plan: Plan, names: Vocabulary) -> Iterator[Finding]:
    if not plan.stages:
        yield Finding(("stages",), "a plan needs at least one stage")
    seen: set[str] = set()
    for index, stage in enumerate(plan.stages):
        if stage.name in seen:
            yield Finding(("stages", index, "name"), f"a stage named {stage.name!r} stands above")
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", stage.name) and not stage.name.startswith("#"):
            yield Finding(("stages", index, "name"), f"{stage.name!r}: use letters, digits, '.', '_', '+', '-'")
        seen.add(stage.name)
    for rule in plan.allow:
        if rule not in names.rules and rule not in names.fixed:
            yield Finding(("allow",), unknown("rule", rule, [*names.rules, *names.fixed]))


def _named_sources(plan: Plan) -> Iterator[Finding]:
    for name, source in plan.sources.items():
        if isinstance(source, NamedSource):
            yield Finding(("sources", name), "a named source cannot refer to another one")
    for index, stage in enumerate(plan.stages):
        for part, source in stage.init.items():
            if isinstance(source, NamedSource) and source.source not in plan.sources:
                yield Finding(("stages", index, "init", part), unknown("source", source.source, plan.sources))


def _settings_fit(place: Place, values: Mapping[str, Any], model: type[BaseModel]) -> Iterator[Finding]:
    for inner, message in misfits(values, model):
        yield Finding((*place, *inner), message)


def _stage(index: int, stage: Stage, plan: Plan, names: Vocabulary) -> Iterator[Finding]:
    place: Place = ("stages", index)
    if stage.task not in names.tasks:
        yield Finding((*place, "task"), unknown("task", stage.task, names.tasks))
    yield from _length(place, stage)
    yield from _init(place, stage, plan, names)
    yield from _trains_something(place, stage)
    for where, training in _trainings(place, stage):
        yield from _training(where, stage, training, names)
    yield from _options(place, stage, names)
    yield from _values(place, stage, names)
    yield from _guards(place, stage, first=index == 0)
    yield from _prepared(place, stage, [one.name for one in plan.stages[:index]], names)


def _prepared(place: Place, stage: Stage, earlier: Sequence[str], names: Vocabulary) -> Iterator[Finding]:
    if names.prepared is None:
        return
    try:
        maker = names.prepared.maker(names.data.model_validate(dict(stage.data)))
    except ValidationError:
        return
    if maker is not None and maker.run is None and maker.stage not in earlier:
        message = unknown("earlier stage", maker.stage, earlier)
        yield Finding((*place, "data", names.prepared.setting, "stage"), message)


def _length(place: Place, stage: Stage) -> Iterator[Finding]:
    if (stage.epochs is None) == (stage.steps is None):
        found = "both" if stage.epochs else "neither"
        yield Finding((*place, "epochs"), f"stage {stage.name!r}: give `epochs` or `steps`; found {found}")


def _trainings(place: Place, stage: Stage) -> Iterator[tuple[Place, Training]]:
    if not stage.updates:
        yield place, stage
    for name, update in stage.updates.items():
        yield (*place, "updates", name), update


def _trains_something(place: Place, stage: Stage) -> Iterator[Finding]:
    if stage.updates and (stage.train or stage.losses):
        yield Finding((*place, "updates"), "a stage with `updates` has no `train` and `losses` of its own")
    seen: set[str] = set()
    for where, training in _trainings(place, stage):
        if not training.train:
            yield Finding((*where, "train"), f"stage {stage.name!r}: `train` is empty: nothing would learn")
        if not training.losses:
            yield Finding((*where, "losses"), f"stage {stage.name!r}: `losses` is empty: nothing to learn from")
        for name in training.train:
            if any(name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.") for other in seen):
                yield Finding((*where, "train"), f"part {name!r} is trained twice")
            seen.add(name)


def _training(place: Place, stage: Stage, training: Training, names: Vocabulary) -> Iterator[Finding]:
    steps = _steps_of(stage, names)
    wrong = [loss for loss in training.losses if loss not in names.losses]
    yield from (Finding((*place, "losses"), unknown("loss", loss, names.losses)) for loss in wrong)
    # What a wrong loss would have reached cannot be known.
    known_losses = [] if wrong else list(training.losses)
    for name in training.train:
        root = name.partition(".")[0]
        if root not in names.parts:
            yield Finding((*place, "train"), unknown("part", root, names.parts))
        elif steps is not None and not any(root in step.parts for step in steps):
            yield Finding((*place, "train"), f"part {root!r} is used by no step of task {stage.task!r}")
        elif steps is not None and known_losses:
            want = [value for loss in known_losses for value in names.losses[loss].needs]
            if _all_made(want, steps, names) and root not in reached_parts(steps, want):
                yield Finding(
                    (*place, "train"),
                    f"part {root!r} is reached by no loss: {', '.join(known_losses)} "
                    f"need{'s' if len(known_losses) == 1 else ''} {', '.join(dict.fromkeys(want))}",
                )


def _all_made(want: Sequence[str], steps: Sequence[CallNames], names: Vocabulary) -> bool:
    """Whether each value is made by a step of the task, or by no step at all: then it is a field of the sample."""
    here = {value for step in steps for value in step.makes}
    anywhere = {value for task in names.tasks.values() for step in task for value in step.makes}
    return all(value in here or value not in anywhere for value in want)


def _init(place: Place, stage: Stage, plan: Plan, names: Vocabulary) -> Iterator[Finding]:
    order = [other.name for other in plan.stages]
    before = order[: order.index(stage.name)]
    for part, source in stage.init.items():
        where = (*place, "init", part)
        root, _, child = part.partition(".")
        if root not in names.parts:
            yield Finding(where, unknown("part", root, names.parts))
        if child and isinstance(source, StageSource):
            yield Finding(where, "a child of a part starts from a file, the hub, a run or fresh; name the whole part")
        if isinstance(source, StageSource) and source.stage not in before:
            if source.stage in order:
                yield Finding(where, f"stage {source.stage!r} does not come before {stage.name!r}")
            else:
                yield Finding(where, unknown("stage", source.stage, before))
        if isinstance(source, StageSource | RunSource) and source.part and source.part not in names.parts:
            yield Finding(where, unknown("part", source.part, names.parts))
        yield from _layout(where, source, names)


def _layout(place: Place, source: Source, names: Vocabulary) -> Iterator[Finding]:
    if isinstance(source, FileSource) and source.layout and source.layout not in names.layouts:
        yield Finding(place, unknown("layout", source.layout, names.layouts))


def _origins(plan: Plan, names: Vocabulary) -> Iterator[Finding]:
    """Every part has an origin by the first stage that uses it."""
    told: set[str] = set()
    for index, stage in enumerate(plan.stages):
        # A misspelt part is told as well: the misspelling is a finding of its own.
        roots = {part.partition(".")[0] for part in stage.init}
        told |= roots | {nearest(part, names.parts) or "" for part in roots}
        used = {part for step in _steps_of(stage, names) or () for part in step.parts}
        untold = [part for part in names.parts if part in used - told]
        for part in untold:
            yield Finding(
                ("stages", index, "init", part),
                f"part {part!r} has no origin: stage {stage.name!r} is the first to use it; "
                "say `fresh`, or give a checkpoint, hub repository, stage or run",
            )
        told |= set(untold)


def _options(place: Place, stage: Stage, names: Vocabulary) -> Iterator[Finding]:
    calls: dict[str, CallNames] = {step.name: step for step in names.tasks.get(stage.task, ())}
    calls |= {name: names.losses[name] for name in stage.loss_names() if name in names.losses}
    if stage.validation and stage.validation.metric in names.metrics:
        calls[stage.validation.metric] = names.metrics[stage.validation.metric]
    known = {f"{name}.{option}": kind for name, call in calls.items() for option, kind in call.options.items()}
    for option, value in stage.options.items():
        where = (*place, "options", option)
        if option not in known:
            yield Finding(where, unknown("option", option, known))
            continue
        try:
            TypeAdapter(known[option]).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            yield Finding(where, f"{value!r}: {message[:1].lower()}{message[1:]}")


def _steps_of(stage: Stage, names: Vocabulary) -> Sequence[CallNames] | None:
    """Steps of the stage's task without those whose values its data hold; None where the task is unknown."""
    steps = names.tasks.get(stage.task)
    if steps is None or any(True for _ in misfits(stage.data, names.data)):
        return steps
    return steps_without(steps, names.fields(names.data.model_validate(dict(stage.data))))


def _values(place: Place, stage: Stage, names: Vocabulary) -> Iterator[Finding]:
    """Every value that a loss or metric needs is made by a step or lies in the sample."""
    problems = [*_settings_fit((*place, "data"), stage.data, names.data)]
    yield from problems
    known = {**names.metrics, **names.losses}
    if stage.validation and stage.validation.metric not in known:
        yield Finding((*place, "validate", "metric"), unknown("metric", stage.validation.metric, known))
    steps = _steps_of(stage, names)
    if steps is None or problems:
        return
    fields = names.fields(names.data.model_validate(dict(stage.data)))
    for where, training in _trainings(place, stage):
        for loss in training.losses:
            if loss in names.losses:
                yield from _makable((*where, "losses"), f"loss {loss!r}", names.losses[loss], steps, fields)
    if stage.validation and stage.validation.metric in known:
        metric = stage.validation.metric
        yield from _makable((*place, "validate", "metric"), f"metric {metric!r}", known[metric], steps, fields)


def _makable(
    place: Place, what: str, call: CallNames, steps: Sequence[CallNames], fields: Sequence[str]
) -> Iterator[Finding]:
    for name in fields_of(steps, call.needs):
        if name not in fields:
            made = {value for step in steps for value in step.makes}
            via = "" if name in call.needs else f" (through value {name!r})"
            yield Finding(
                place,
                f"{what} needs value {name!r}, which nobody makes{via}: " + unknown("value", name, {*made, *fields}),
            )


def _guards(place: Place, stage: Stage, *, first: bool) -> Iterator[Finding]:
    if first and stage.guards.then == "lengthen":
        yield Finding((*place, "guards", "then"), "no stage stands before this one that could be made longer")
    for part in stage.guards.drift:
        if part not in stage.trained():
            yield Finding((*place, "guards", "drift", part), unknown("trained part", part, stage.trained()))
    if stage.guards.patience and not stage.validation:
        yield Finding((*place, "guards", "patience"), "patience needs `validate` with a metric")


def _rules(plan: Plan, names: Vocabulary, history: History) -> Iterator[Finding]:
    for name, rule in names.rules.items():
        if name in plan.allow:
            continue
        for index, key, found in rule.check(plan, history) if rule.traces else rule.check(plan):
            advice = f" (rule {name!r}; `--allow {name}` silences it)"
            yield Finding(("stages", index, key), f"{found}: {rule.why}{advice}", rule.error)
