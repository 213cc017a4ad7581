"""From text to a `Plan`: every wrong value is found in one pass, and what remains can still be checked.

A value that does not fit its field is noted and taken out, and the rest is read again, so that one
message can name both a misspelt key and a source that points forward.
"""

import copy
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from gradatim.errors import unknown
from gradatim.plan.findings import Finding
from gradatim.plan.plan import Plan
from gradatim.plan.text import Document, Place, holds

_PASSES = 30


@dataclass(frozen=True, kw_only=True)
class Interpreted:
    """What could be read of a plan.

    Args:
        plan: without the values that were taken out; None where nothing could be read.
        findings: what was wrong with them.
        removed: where they stood; a later check does not complain of their absence.
    """

    plan: Plan | None
    findings: tuple[Finding, ...]
    removed: frozenset[Place]


def interpret(document: Document) -> Interpreted:
    """Read a document as a plan; never raises for what a user wrote."""
    if not isinstance(document.tree, Mapping):
        finding = Finding((), "a plan is a mapping with the keys `system` and `stages`")
        return Interpreted(plan=None, findings=(finding,), removed=frozenset())
    tree = copy.deepcopy(document.tree)
    findings: list[Finding] = []
    removed: set[Place] = set()
    for _ in range(_PASSES):
        try:
            plan = Plan.model_validate(tree)
        except ValidationError as error:
            for place, message in explained(error, tree, Plan):
                findings.append(Finding(place, message))
                removed.add(_take_out(tree, place))
        else:
            return Interpreted(plan=plan, findings=tuple(findings), removed=frozenset(removed))
    return Interpreted(plan=None, findings=tuple(findings), removed=frozenset(removed))


def explained(error: ValidationError, tree: Any, model: type[BaseModel]) -> Iterator[tuple[Place, str]]:
    """Word each error of a pydantic model: its place in the tree, what was found, what would be right."""
    for one in error.errors():
        place = _existing(tree, one["loc"])
        if one["type"] == "extra_forbidden":
            known = _known_keys(tree, place[:-1], model)
            yield place, unknown("key", str(place[-1]), known)
        elif one["type"] == "missing":
            key = str(one["loc"][-1])
            yield (*place, key), f"`{key}` is missing"
        else:
            message = one["msg"].removeprefix("Value error, ")
            found = "" if isinstance(one["input"], Mapping | list | BaseModel) else f"{one['input']!r}: "
            yield place, found + message[:1].lower() + message[1:]


def _existing(tree: Any, location: tuple[int | str, ...]) -> Place:
    """Follow a pydantic location as far as the tree has it, past the tags of unions."""
    place: list[str | int] = []
    node = tree
    for step in location:
        if holds(node, step):
            node = node[step]
            place.append(step)
    return tuple(place)


def _take_out(tree: Any, place: Place) -> Place:
    """Remove a value from the tree, or put something harmless where the place must stay; say what went."""
    if place[:1] == ("stages",) and len(place) <= 3 and (len(place) < 3 or place[2] in ("name", "task")):
        return _patch_stage(tree, place)
    parent = tree
    for step in place[:-1]:
        parent = parent[step]
    if isinstance(parent, list):
        return _take_out(tree, place[:-1])
    if place and isinstance(parent, dict) and place[-1] in parent:
        del parent[place[-1]]
        return place if parent or len(place) < 4 else _take_out(tree, place[:-1])
    if len(place) > 1 and place[0] != "system":
        return _take_out(tree, place[:-1])
    if place:
        tree[place[0]] = ""
    return place


def _patch_stage(tree: Any, place: Place) -> Place:
    """Keep a broken stage at its position, so that other stages keep theirs."""
    if len(place) == 1 or not isinstance(tree["stages"], list):
        tree["stages"] = []
        return ("stages",)
    index = int(place[1])
    blank = {"name": f"#{index}", "task": ""}
    if len(place) == 2:
        tree["stages"][index] = blank
    else:
        tree["stages"][index][place[2]] = blank[str(place[2])]
    return place


def _known_keys(tree: Any, place: Place, model: type[BaseModel]) -> set[str]:
    """Keys that the model at a place of the tree would take."""
    kind: Any = model
    node = tree
    for step in place:
        node = node[step]
        kinds = [_field(one, str(step)) if _is_model(one) else _inner(one) for one in _models(kind) or (kind,)]
        kind = next((one for one in kinds if one is not None), None)
    options = _models(kind)
    if not options:
        return set()
    keys = set(node) if isinstance(node, Mapping) else set()
    best = max(options, key=lambda one: len(keys & _names(one)))
    return _names(best)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _models(kind: Any) -> tuple[type[BaseModel], ...]:
    """The pydantic models that an annotation names directly, through unions only."""
    if _is_model(kind):
        return (kind,)
    origin = typing.get_origin(kind)
    if origin is None or (isinstance(origin, type) and issubclass(origin, Mapping | tuple | list)):
        return ()
    return tuple(model for argument in typing.get_args(kind) for model in _models(argument))


def _inner(kind: Any) -> Any:
    arguments = [one for one in typing.get_args(kind) if one is not Ellipsis]
    return arguments[-1] if arguments else None


def _field(model: type[BaseModel], name: str) -> Any:
    for key, info in model.model_fields.items():
        if name in (key, info.alias):
            return info.annotation
    return None


def _names(model: type[BaseModel]) -> set[str]:
    return {info.alias or key for key, info in model.model_fields.items()}
