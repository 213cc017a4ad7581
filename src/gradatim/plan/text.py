"""YAML text with the place of every value: scalars stay text and are converted by the field's type.

PyYAML's own rules read `1e-4` as text and `no` as false; here a plain scalar is text, or None where it
is empty, `~` or `null`, and the plan's fields decide what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gradatim.errors import PlanError

Place = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed plan before it is checked.

    Args:
        name: what errors call it: a file, a recipe, or `plan`.
        tree: nested dicts, lists and text.
        lines: line of each place in the file, from 1; empty for a plan that is no file.
    """

    name: str
    tree: Any
    lines: Mapping[Place, int] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """Word a place: `plan.yaml:14, stages[1].train`."""
        line = self.line(place)
        head = f"{self.name}:{line}" if line else self.name
        return f"{head}, {dotted(place)}" if place else head

    def line(self, place: Place) -> int:
        """Line of a place, or of the nearest one above it that the file has; 0 where there is no file."""
        return next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), 0)


def holds(node: Any, step: str | int) -> bool:
    """Whether a node of a tree has this key or position."""
    if isinstance(node, Mapping):
        return step in node
    return isinstance(node, list | tuple) and isinstance(step, int) and step < len(node)


def dotted(place: Place) -> str:
    """Word a path of keys and positions: `stages[1].train`."""
    words = ""
    for step in place:
        words += f"[{step}]" if isinstance(step, int) else f".{step}" if words else step
    return words


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        PlanError: the file is missing, not text, or not YAML; a key occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read as a plan: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str = "plan") -> Document:
    """Parse YAML text; see `read_document`."""
    lines: dict[Place, int] = {}
    twice: list[str] = []
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = _value(node, (), lines, twice) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise PlanError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError:
        raise PlanError(f"{name}: nested too deeply, or a value that contains itself") from None
    document = Document(name=name, tree=tree, lines=lines)
    if twice:
        raise PlanError("\n".join(twice).replace("@", name))
    return document


def _value(node: yaml.Node, place: Place, lines: dict[Place, int], twice: list[str]) -> Any:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                twice.append(f"@:{key_node.start_mark.line + 1}, {dotted((*place, key))}: the key stands here twice")
            result[key] = _value(value_node, (*place, key), lines, twice)
            lines[(*place, key)] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, i), lines, twice) for i, item in enumerate(node.value)]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return None if plain and node.value in ("", "~", "null") else node.value


def write_yaml(tree: Any) -> str:
    """Text that `parse` reads back, keys in their order."""
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120))


def plain(value: Any) -> Any:
    """What text means where no type says what is asked for: a number, true or false, nothing, or the text itself.

    Args:
        value: a scalar of a file, or lists and mappings of such; values that are no text stay as they are.
    """
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if not isinstance(value, str):
        return value
    words = {"true": True, "false": False, "null": None, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
