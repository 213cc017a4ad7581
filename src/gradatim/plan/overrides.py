"""Changes to a plan from outside: `stages.cfm.lr=1e-5`."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradatim.errors import PlanError, problems, unknown
from gradatim.plan.sources import SOURCE_KINDS
from gradatim.plan.text import Document, parse


def override(document: Document, changes: Sequence[str]) -> Document:
    """Set values in a plan by dotted path; a stage is addressed by its name or position.

    Args:
        document: stays as it is.
        changes: `path=value`, the value in YAML's notation.

    Raises:
        PlanError: a change has no `=`, or its path leads nowhere; all wrong ones are named.
    """
    tree = copy.deepcopy(document.tree)
    if not isinstance(tree, dict):
        return document  # No plan at all, which the checks will say.
    wrong = []
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            wrong.append(f"--set {change}: write PATH=VALUE, such as stages.fuse.lr=1e-5")
            continue
        try:
            _set(tree, path.strip().split("."), parse(text, f"--set {path}").tree if text else None)
        except PlanError as error:
            wrong.append(str(error))
        except LookupError as error:
            wrong.append(f"--set {change}: {error.args[0]}")
    if wrong:
        raise PlanError("\n".join(wrong) if len(wrong) == 1 else problems("overrides that lead nowhere:", wrong))
    return replace(document, tree=tree)


def _set(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    if (keys[0] == "stages" and len(keys) == 2) or not all(keys):
        raise LookupError("name what to change, such as stages.NAME.lr")
    node: Any = tree
    for depth, key in enumerate(keys[:-1]):
        if isinstance(node, list):
            node = node[_position(node, key)]
        elif isinstance(node, dict):
            node[key] = _opened(key, node.get(key), keys[depth + 1])
            node = node[key]
        if not isinstance(node, dict | list):
            raise LookupError(f"{'.'.join(keys[: depth + 1])} is {node!r}, which holds no settings")
    if isinstance(node, list):
        node[_position(node, keys[-1])] = value
    else:
        _assign(node, keys, value)


def _opened(key: str, value: Any, inner: str) -> Any:
    """What stands under a key, so that `inner` can be set in it: names become mappings, another choice gives way."""
    if key == "train":
        value = [value] if isinstance(value, str) else value
        return {name: {} for name in value} if isinstance(value, list) else value or {}
    if not isinstance(value, dict | list):
        return {}
    return {} if key in ("schedule", "optimizer") and inner not in value else value


def _assign(node: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a key; a new kind of source replaces the old one, `epochs` replaces `steps`."""
    key = keys[-1]
    others = {"epochs": ["steps"], "steps": ["epochs"]}.get(key, [])
    if key in SOURCE_KINDS and (keys[-3:-2] == ["init"] or keys[0] == "sources"):
        # A run's source may name a stage of that run.
        others = [kind for kind in SOURCE_KINDS if kind != key and {kind, key} != {"run", "stage"}]
    for other in others:
        node.pop(other, None)
    node[key] = value


def _position(items: list[Any], key: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    raise LookupError(unknown("stage", key, [name for name in names if name]))
