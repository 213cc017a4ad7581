"""Why a stage would be trained again: its key beside that of a finished stage."""

from functools import partial
from pathlib import Path
from typing import Any

from gradatim.data.dataset import Dataset
from gradatim.engine.build import settings_of
from gradatim.engine.checked import checked_plan
from gradatim.engine.prepare import with_prepared
from gradatim.errors import DataError
from gradatim.find import code_digest
from gradatim.plan import Document, Stage
from gradatim.runs.folder import RunFolder
from gradatim.runs.keys import differences, stage_key
from gradatim.system import System
from gradatim.version import __version__


def staleness(document: Document, runs: Path) -> list[tuple[str, str, str]]:
    """Compare a plan's stages with those that runs have finished.

    Args:
        document: of the plan.
        runs: a run, or a folder of runs.

    Returns:
        (stage, `finished`, `stale` or `to do`, why) of each stage. Weights that a stage starts from are compared
        by what the stages before it are: a stage after a stale one is stale.
    """
    plan, system, _ = checked_plan(document)
    folders = [runs] if RunFolder(runs).exists() else sorted(path.parent for path in runs.glob("*/plan.yaml"))
    records = [
        (run.stage(int(record["number"]), name), record)
        for run in map(RunFolder, folders)
        for name, record in run.stage_records().items()
    ]
    model = settings_of(system, plan).model_dump(mode="json")
    code, rows, upset = code_digest(system), [], ""
    for stage in plan.stages:
        key = partial(stage_key, stage, seed=plan.seed, model=model, parts={}, code=code, version=__version__)
        plain, found = _data(system, stage), []
        for folder, record in records:
            if record["name"] == stage.name:
                read = with_prepared(system, stage, folder)
                found.append(differences(record, key(data=plain if read is stage else _data(system, read))))
        nearest = min(([name for name in one if name != "weights"] for one in found), key=len, default=None)
        if nearest is None:
            rows.append((stage.name, "to do", "no run has finished it"))
        elif nearest or upset:
            rows.append(
                (stage.name, "stale", f"changed: {', '.join(nearest)}" if nearest else f"stage {upset} is stale")
            )
        else:
            rows.append((stage.name, "finished", ""))
        upset = upset or (stage.name if rows[-1][1] != "finished" else "")
    return rows


def _data(system: System, stage: Stage) -> str:
    """Digest of a stage's data; a text that equals none where it cannot be opened."""
    settings: Any = system.data_settings(stage)
    try:
        train: Dataset = system.data.open(settings, "train")
        return train.digest() + (system.data.open(settings, "validate").digest() if stage.validation else "")
    except DataError:
        return "unreadable"
