"""The public names, each of which can be imported and is documented."""

import inspect

import gradatim

NAMES = [
    "Account", "DataError", "DataKind", "FeatureStore", "FormatError", "GradatimError", "GuardError", "Layout",
    "Metric", "MissingExtraError", "Model", "Plan", "PlanError", "RunError", "RunResult", "Stage", "System",
    "SystemDefinitionError", "Task", "Update", "Weights", "WeightsError", "explain", "find_system", "load_model",
    "load_run", "makes", "read_weights", "run", "system_names", "transfer", "write_weights",
]  # fmt: skip


def test_the_inventory_of_public_names():
    assert sorted(gradatim.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(gradatim))


def test_every_public_name_is_there_and_has_a_docstring():
    for name in NAMES:
        value = getattr(gradatim, name)
        assert inspect.getdoc(value), name
    assert len(NAMES) == 32
