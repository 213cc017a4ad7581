"""What a stored value was made by: a digest of source code, weights, settings and data.

A digest of code follows what the code refers to: a function's own text, the functions that it calls, and the whole
files, with their imports, of the classes that it uses. Comments and layout do not count. Code of other packages
counts by their version.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import nn

from gradatim.weights.digest import text_digest

_PLAIN = (int, float, str, bool, bytes, type(None))
# Messages and file handling make no numbers.
_WITHOUT_EFFECT = frozenset({"gradatim.errors", "gradatim.files", "gradatim.version"})
# Their own tests keep what they compute; a new build of them recomputes nothing.
_TRUSTED = frozenset({"torch", "numpy"})


def code_digest(*objects: Any) -> str:
    """Digest of the code of functions, classes and modules, and of what they refer to."""
    found: dict[str, str] = {}
    for one in objects:
        _follow(one, found)
    return text_digest(*(f"{name}={found[name]}" for name in sorted(found)))


def part_code_digest(part: nn.Module) -> str:
    """Digest of the code of a part and of all modules in it."""
    return code_digest(*dict.fromkeys(type(module) for module in part.modules()))


def _follow(one: Any, found: dict[str, str]) -> None:
    one = inspect.unwrap(one) if callable(one) else one
    if isinstance(one, types.FunctionType):
        _follow_function(one, found)
    elif isinstance(one, types.ModuleType):
        _follow_module(one.__name__, found)
    elif isinstance(one, type) or hasattr(one, "__module__"):
        _follow_module(getattr(one, "__module__", None) or type(one).__module__, found)


def _follow_function(function: types.FunctionType, found: dict[str, str]) -> None:
    name = f"{function.__module__}.{function.__qualname__}"
    if name in found:
        return
    if not _is_ours(function.__module__):
        _follow_module(function.__module__, found)
        return
    try:
        found[name] = _shape_of(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        # A function typed at a prompt has no file; its code object says what it does.
        found[name] = text_digest(function.__code__.co_code.hex(), repr(function.__code__.co_consts))
    for used in _names_in(function.__code__):
        if used in function.__globals__:
            _follow_value(f"{name}:{used}", function.__globals__[used], found)
    for used, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        _follow_value(f"{name}:{used}", cell.cell_contents, found)


def _follow_value(name: str, value: Any, found: dict[str, str]) -> None:
    if isinstance(value, _PLAIN) or (isinstance(value, tuple | list) and all(isinstance(v, _PLAIN) for v in value)):
        found[name] = text_digest(repr(value))
    elif isinstance(value, types.FunctionType | types.ModuleType | type):
        _follow(value, found)
    elif isinstance(value, Mapping) and all(isinstance(v, _PLAIN) for v in value.values()):
        found[name] = text_digest(repr(sorted(value.items(), key=repr)))


def _names_in(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _follow_module(name: str, found: dict[str, str]) -> None:
    """A module's file and those that it imports, or the version of the package that it belongs to."""
    if name in found or name in _WITHOUT_EFFECT:
        return
    if not _is_ours(name):
        root = name.partition(".")[0]
        version = None if root in _TRUSTED or root in sys.stdlib_module_names else _version(root)
        if version is not None:
            found[root] = version
        return
    path = _file_of(name)
    if path is None:
        return
    found[name], imports = _read(path)
    for other in imports:
        if _is_ours(other) and _file_of(other) is not None:
            _follow_module(other, found)


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of a file's code, and the names of what it imports."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return _shape_of(source), tuple(dict.fromkeys(names))


def _shape_of(source: str) -> str:
    """Digest of what code does: its tree without comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(body) > 1:
                del body[0]
    return text_digest(ast.dump(tree))


@cache
def _file_of(name: str) -> Path | None:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) if module is not None else None
    if file is None and module is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        file = spec.origin if spec is not None else None
    return Path(file) if file is not None and file.endswith(".py") else None


@cache
def _is_ours(module: str | None) -> bool:
    """Whether a module's code is followed: it belongs to gradatim, or to a system's own files."""
    root = (module or "").partition(".")[0]
    if root == "gradatim":
        return True
    if root in sys.stdlib_module_names or root in _TRUSTED:
        return False
    file = _file_of(root) if module else None
    inside = file is not None and any(part in ("site-packages", "dist-packages") for part in file.parts)
    registered = {point.value.partition(".")[0].partition(":")[0] for point in _entry_points()}
    return not inside or root in registered


@cache
def _entry_points() -> tuple[Any, ...]:
    return tuple(importlib.metadata.entry_points(group="gradatim.systems"))


@cache
def _version(root: str) -> str | None:
    names = importlib.metadata.packages_distributions().get(root, ())
    return ",".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names))) or None


def settings_read(settings: BaseModel, build: Callable[[Any], object]) -> dict[str, Any]:
    """The settings that building a part reads, JSON values by name.

    Args:
        settings: complete.
        build: builder of the part; what it returns is thrown away.

    Returns:
        All settings where the built part keeps the settings themselves, and could read more later.
    """
    read: set[str] = set()
    kind = type(settings)

    def watch(self: Any, name: str) -> Any:
        if name in kind.model_fields:
            read.add(name)
        return kind.__getattribute__(self, name)

    watching: Any = type(kind.__name__, (kind,), {"__getattribute__": watch, "__module__": kind.__module__})
    built = build(watching.model_construct(**{name: getattr(settings, name) for name in kind.model_fields}))
    kept = isinstance(built, nn.Module) and any(
        isinstance(value, BaseModel) for module in built.modules() for value in vars(module).values()
    )
    whole = settings.model_dump(mode="json")
    return whole if kept else {name: whole[name] for name in sorted(read)}
