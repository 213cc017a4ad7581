"""The data that `evaluate` reads: those of a run's last stage, changed by `--set`, or what `--set` describes alone."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)
SPLITS = ("validate", "train", "all")


def data_of(target: Path, changes: list[str], *, split: str, example: str) -> dict[str, Any]:
    """Settings of data as a plan writes them.

    Args:
        target: a run, or a file, which knows no data.
        changes: `data.NAME=VALUE`.
        split: that will be read.
        example: what to say for a file, for the message.

    Raises:
        PlanError: a change or the split is none.
        DataError: nothing says which data.
    """
    from gradatim.errors import DataError, PlanError
    from gradatim.find import read_plan_document

    if split not in SPLITS:
        raise PlanError(f"--split {split}: choose validate, train or all")
    wrong = [change for change in changes if not change.startswith("data.") or "=" not in change]
    if wrong:
        raise PlanError(f"--set {wrong[0]}: write data.NAME=VALUE")
    data: dict[str, Any] = {}
    if (target / "plan.yaml").is_file():
        from gradatim.engine.checked import checked_plan

        plan, _, _ = checked_plan(read_plan_document(str(target)))
        data = dict(plan.stages[-1].data)
    elif not changes:
        raise DataError(f"{target}: a file knows no data; say {example}")
    if changes:
        from gradatim.plan import Document, override

        tree = {"data": {name: value for name, value in data.items() if value is not None}}
        data = dict(override(Document(name="data", tree=tree), changes).tree["data"])
    return data


def settings_read(kind: type[Settings], data: dict[str, Any]) -> Settings:
    """Settings of a kind.

    Raises:
        PlanError: all that is wrong with them.
    """
    from gradatim.errors import PlanError, problems

    try:
        return kind.model_validate(data)
    except ValidationError as error:
        lines = [f"{'.'.join(['data', *map(str, one['loc'])])}: {one['msg']}" for one in error.errors()]
        raise PlanError(problems("these data cannot be read:", lines)) from error
