"""From text to a `Plan`: every wrong value is found in one pass, and what remains can still be checked.

A value that does not fit its field is noted and replaced by something harmless, a misspelt key is noted and read as
the one that was meant, and the rest is read again: so one message names both a misspelt key and a source that points
forward, and no error is invented that only follows from another one.
"""

import copy
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from gradatim.errors import nearest, unknown
from gradatim.plan.findings import Finding
from gradatim.plan.plan import Plan
from gradatim.plan.sources import SOURCE_KINDS
from gradatim.plan.text import Document, Place, holds

_PASSES = 100
_MAPPING, _LIST = "a mapping belongs here", "a list belongs here"
_WORDS = {"model_type": _MAPPING, "dict_type": _MAPPING, "mapping_type": _MAPPING, "model_attributes_type": _MAPPING}
_WORDS |= {"tuple_type": _LIST, "list_type": _LIST, "path_type": "a path belongs here"}
_WORDS |= {"string_type": "text belongs here"}


@dataclass(frozen=True, kw_only=True)
class Interpreted:
    """What could be read of a plan.

    Args:
        plan: with stand-ins for the values that were wrong; None where nothing could be read.
        findings: what was wrong with them.
        removed: where they stood; a later check does not complain of what stands there now.
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
            told = list(_misspelt(error, tree, Plan))
            if not told:
                told = list(_explained(error, tree, Plan))
                removed.update(_replace(tree, place) for place, _ in told)
            findings += (Finding(place, message) for place, message in told)
        else:
            return Interpreted(plan=plan, findings=tuple(findings), removed=frozenset(removed))
    return Interpreted(plan=None, findings=tuple(findings), removed=frozenset(removed))


def misfits(values: Mapping[str, Any], model: type[BaseModel]) -> list[tuple[Place, str]]:
    """Everything that keeps values from being a model's: the place and a sentence for each."""
    tree = copy.deepcopy(dict(values))
    told: list[tuple[Place, str]] = []
    for _ in range(_PASSES):
        try:
            model.model_validate(tree)
        except ValidationError as error:
            spelling = list(_misspelt(error, tree, model))
            told += spelling or _explained(error, tree, model)
            if spelling:
                continue
        break
    return told


def _misspelt(error: ValidationError, tree: Any, model: type[BaseModel]) -> Iterator[tuple[Place, str]]:
    """Name each unknown key of a tree, and read it as the nearest one; changes the tree."""
    for one in error.errors():
        if one["type"] != "extra_forbidden":
            continue
        place = _existing(tree, one["loc"])
        known = _known_keys(tree, place[:-1], model)
        if place[-1] in known:
            continue  # A choice written as its name alone, `schedule: cosin`; `_explained` words it.
        yield place, unknown("key", str(place[-1]), known)
        parent = _at(tree, place[:-1])
        value = parent.pop(place[-1])
        if (meant := nearest(str(place[-1]), known - parent.keys())) is not None:
            parent[meant] = value


def _explained(error: ValidationError, tree: Any, model: type[BaseModel]) -> Iterator[tuple[Place, str]]:
    """Word each error but misspelt keys: its place in the tree, what was found, what would be right."""
    for one in error.errors():
        place, found = _existing(tree, one["loc"]), one["input"]
        if one["type"] == "missing":
            key = str(one["loc"][-1])
            yield (*place, key), f"`{key}` is missing"
        elif one["type"] == "extra_forbidden":
            yield place, unknown("choice", str(one["loc"][-1]), _known_keys(tree, place, model))
        elif one["type"] == "no_source":
            yield place, _no_source(found, one["msg"])
        else:
            message = _WORDS.get(one["type"]) or one["msg"].removeprefix("Value error, ")
            shown = "" if isinstance(found, Mapping | list | tuple | BaseModel) else f"{found!r}: "
            yield place, shown + message[:1].lower() + message[1:]


def _no_source(found: Any, right: str) -> str:
    """Word what stands where a source should, with the nearest right word."""
    words = [str(key) for key in found] if isinstance(found, Mapping) else [found] if isinstance(found, str) else []
    near = next((near for word in words if (near := nearest(word, [*SOURCE_KINDS, "fresh"])) is not None), None)
    return f"{found!r} is no source.{f' Did you mean {near!r}?' if near else ''} {right}"


def _existing(tree: Any, location: tuple[int | str, ...]) -> Place:
    """Follow a pydantic location as far as the tree has it, past the tags of unions."""
    place: list[str | int] = []
    node = tree
    for step in location:
        if holds(node, step):
            node = node[step]
            place.append(step)
    return tuple(place)


def _at(tree: Any, place: Place) -> Any:
    for step in place:
        tree = tree[step]
    return tree


def _replace(tree: Any, place: Place) -> Place:
    """Put something harmless where a value is wrong or missing; say where."""
    place, value = _stand_in(place)
    parent = _at(tree, place[:-1])
    if value is not None:
        parent[place[-1]] = value
    elif isinstance(parent, list):
        return _replace(tree, place[:-1])
    else:
        parent.pop(place[-1], None)
    return place


def _stand_in(place: Place) -> tuple[Place, Any]:
    """(place to change, a value there that no later check complains of); None takes the key away."""
    match place:
        case ("system",):
            return place, ""
        case ("stages",):
            return place, []
        case ("stages", index):
            return place, {"name": f"#{index}", "task": ""}
        case ("stages", index, "name" | "task"):
            return place, f"#{index}" if place[2] == "name" else ""
        case ("sources", _, *_):
            return place[:2], "fresh"
        case ("stages", _, "init", _, *_):
            return place[:4], "fresh"
    return _stand_in_of_training(place, 2 if place[0] == "stages" else 1)


def _stand_in_of_training(place: Place, start: int) -> tuple[Place, Any]:
    """`_stand_in` for what stages, their updates and `defaults` have in common, `start` keys into the place."""
    match place[start:]:
        case ("updates", _, _, *_):
            return _stand_in_of_training(place, start + 2)
        case ("schedule" | "optimizer", *_):
            return place[: start + 1], None
        case ("validate",):
            return place, {"metric": ""}
        case ("validate", "metric"):
            return place, ""
        case ("epochs" | "steps",) | ("losses", _):
            return place, 1
        case ("train" | "updates", _):
            return place, {}
    return place, None


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
