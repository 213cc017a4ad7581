"""gradatim: train composite vision models in stages, with proof of where every weight came from.

Everything public is importable from here; a name is loaded with what it needs when it is first used, so that
`import gradatim` and `gradatim --help` stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradatim.version import __version__ as __version__

if TYPE_CHECKING:
    from gradatim.engine.explain import explain
    from gradatim.engine.model import Model, load_model, load_run
    from gradatim.engine.run import RunResult, run
    from gradatim.errors import (
        DataError,
        FormatError,
        GradatimError,
        GuardError,
        MissingExtraError,
        PlanError,
        RunError,
        SystemDefinitionError,
        WeightsError,
    )
    from gradatim.features import FeatureStore
    from gradatim.find import find_system, system_names
    from gradatim.plan import Plan, Stage, Update
    from gradatim.system import DataKind, Metric, System
    from gradatim.task import Task, makes
    from gradatim.weights import Account, Layout, Weights, read_weights, transfer, write_weights

_HOMES = {
    "gradatim.engine.explain": ("explain",),
    "gradatim.engine.model": ("Model", "load_model", "load_run"),
    "gradatim.engine.run": ("RunResult", "run"),
    "gradatim.errors": (
        "DataError",
        "FormatError",
        "GradatimError",
        "GuardError",
        "MissingExtraError",
        "PlanError",
        "RunError",
        "SystemDefinitionError",
        "WeightsError",
    ),
    "gradatim.features": ("FeatureStore",),
    "gradatim.find": ("find_system", "system_names"),
    "gradatim.plan": ("Plan", "Stage", "Update"),
    "gradatim.system": ("DataKind", "Metric", "System"),
    "gradatim.task": ("Task", "makes"),
    "gradatim.weights": ("Account", "Layout", "Weights", "read_weights", "transfer", "write_weights"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Account",
    "DataError",
    "DataKind",
    "FeatureStore",
    "FormatError",
    "GradatimError",
    "GuardError",
    "Layout",
    "Metric",
    "MissingExtraError",
    "Model",
    "Plan",
    "PlanError",
    "RunError",
    "RunResult",
    "Stage",
    "System",
    "SystemDefinitionError",
    "Task",
    "Update",
    "Weights",
    "WeightsError",
    "explain",
    "find_system",
    "load_model",
    "load_run",
    "makes",
    "read_weights",
    "run",
    "system_names",
    "transfer",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gradatim' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
