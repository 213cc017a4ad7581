"""Find a system by name: a folder of `gradatim.systems`, or an installed package that registers one.

Looking a system up imports nothing but that system; listing them imports none.
"""

import importlib
import importlib.metadata
import inspect
import pkgutil
from functools import cache
from pathlib import Path

from gradatim.errors import PlanError, SystemDefinitionError, unknown
from gradatim.plan.text import Document, read_document
from gradatim.system import System
from gradatim.weights.digest import file_digest, text_digest

ENTRY_POINTS = "gradatim.systems"
_SYSTEMS = Path(__file__).with_name("systems")


def system_names() -> dict[str, str]:
    """Name of every system -> module that holds it."""
    ours = {info.name: f"gradatim.systems.{info.name}" for info in pkgutil.iter_modules([str(_SYSTEMS)])}
    found = {point.name: point.value.partition(":")[0] for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    return {**found, **ours}


@cache
def find_system(name: str) -> System:
    """The system of that name.

    Raises:
        PlanError: there is none.
        SystemDefinitionError: its module has no `SYSTEM`, or its steps do not fit together.
    """
    names = system_names()
    if name not in names:
        raise PlanError(unknown("system", name, names))
    system = getattr(importlib.import_module(names[name]), "SYSTEM", None)
    if not isinstance(system, System):
        raise SystemDefinitionError(f"module {names[name]!r} has no SYSTEM of class gradatim.System")
    return system


def code_digest(system: System) -> str:
    """Digest of a system's source files; another one makes its finished stages stale.

    The files are those of the package that its first step stands in, or the step's own file where that stands alone.
    """
    step = next(iter(system.tasks.values()))[0]
    file = Path(inspect.getsourcefile(step) or __file__)
    alone = not file.with_name("__init__.py").is_file()
    files = [file] if alone else sorted(file.parent.rglob("*.py"))
    return text_digest(*(f"{path.relative_to(file.parent)}={file_digest(path)}" for path in files))


def read_plan_document(name: str) -> Document:
    """A plan from a YAML file, a run's folder or `system/recipe`.

    Raises:
        PlanError: neither is there.
    """
    path = Path(name)
    if path.is_dir() and (path / "plan.yaml").is_file():
        return read_document(path / "plan.yaml")
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return read_document(path)
    system_name, slash, recipe = name.partition("/")
    if not slash:
        raise PlanError(f"{name!r} is no file, no run's folder and no SYSTEM/RECIPE")
    if system_name not in system_names():
        raise PlanError(f"{name!r} is no file; as SYSTEM/RECIPE: {unknown('system', system_name, system_names())}")
    recipes = find_system(system_name).recipes
    if recipe not in recipes:
        raise PlanError(unknown("recipe", recipe, recipes))
    tree = recipes[recipe]().model_dump(mode="json", exclude_unset=True, by_alias=True)
    return Document(name=name, tree=tree)
