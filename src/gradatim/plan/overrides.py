"""Changes to a plan from outside: `stages.cfm.lr=1e-5`."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradatim.errors import PlanError, problems, unknown
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
    wrong = []
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            wrong.append(f"--set {change}: write PATH=VALUE, such as stages.fuse.lr=1e-5")
            continue
        try:
            _set(tree, path.strip().split("."), parse(text, f"--set {path}").tree if text else None)
        except LookupError as error:
            wrong.append(f"--set {change}: {error.args[0]}")
    if wrong:
        raise PlanError("\n".join(wrong) if len(wrong) == 1 else problems("overrides that lead nowhere:", wrong))
    return replace(document, tree=tree)


def _set(tree: Any, keys: Sequence[str], value: Any) -> None:
    if (keys[0] == "stages" and len(keys) == 2) or not all(keys):
        raise LookupError("name what to change, such as stages.NAME.lr")
    node = tree
    for depth, key in enumerate(keys[:-1]):
        if isinstance(node, list):
            node = node[_position(node, key)]
            continue
        if not isinstance(node.get(key), dict | list):
            # `train: [cfm]` becomes `train: {cfm: {}}` where a part's own setting follows.
            node[key] = {}
        elif key == "train" and isinstance(node[key], list) and depth < len(keys) - 1:
            node[key] = {name: {} for name in node[key]}
        node = node[key]
    if isinstance(node, list):
        node[_position(node, keys[-1])] = value
    else:
        _assign(node, keys[-1], value)


def _assign(node: dict[str, Any], key: str, value: Any) -> None:
    """Set a key; a new source replaces what it is an alternative to, `epochs` replaces `steps`."""
    for pair in (("epochs", "steps"), ("steps", "epochs")):
        if key == pair[0]:
            node.pop(pair[1], None)
    node[key] = value


def _position(items: list[Any], key: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    raise LookupError(unknown("stage", key, [name for name in names if name]))
