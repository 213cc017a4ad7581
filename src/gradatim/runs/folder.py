"""Where everything of a run lies, and the lock that keeps two processes out of one folder."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradatim.errors import RunError
from gradatim.files import is_temporary, remove_temporary, write_json


class RunFolder:
    """The paths of a run.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def plan(self) -> Path:
        """The plan that the run carries out, complete."""
        return self.path / "plan.yaml"

    @property
    def asked(self) -> Path:
        """The plan that was asked for, where `plan` says more: longer stages, and how batches were cut."""
        return self.path / "plan-as-asked.yaml"

    @property
    def record(self) -> Path:
        """Environment, command and state."""
        return self.path / "run.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def model(self) -> Path:
        """All parts after the last stage."""
        return self.path / "model.safetensors"

    def stage(self, number: int, name: str) -> Path:
        """Folder of a stage, numbered from 1."""
        return self.path / f"{number:02d}-{name}"

    def beside(self, name: str, file: str) -> list[Path]:
        """A file of stages of this name, in this run and in those that lie beside it."""
        return sorted(self.path.parent.glob(f"*/[0-9][0-9]-{name}/{file}"))

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.plan.is_file()

    def is_free(self) -> bool:
        """Whether nothing lies there but what a run leaves that was killed before it wrote its plan."""
        return not any(child.name != ".lock" and not is_temporary(child) for child in self.path.glob("*"))

    def read_record(self) -> dict[str, Any]:
        """Content of `run.json`; empty where there is none yet."""
        return read_json(self.record) if self.record.is_file() else {}

    def write_record(self, **values: Any) -> None:
        """Change some values of `run.json`."""
        write_json(self.record, {**self.read_record(), **values})

    def stage_records(self) -> dict[str, dict[str, Any]]:
        """Content of every finished stage's `stage.json`, by stage name."""
        found = {}
        for path in sorted(self.path.glob("[0-9][0-9]-*/stage.json")):
            record = read_json(path)
            found[str(record["name"])] = record
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the lock ends with the process, however it ends.

        What a killed process left half written under a temporary name is removed.

        Raises:
            RunError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f"{self.path}: another process is running this run") from error
            remove_temporary(self.path)
            yield


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a run.

    Raises:
        RunError: the file is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged: {error}") from error


def next_folder(parent: Path, name: str) -> Path:
    """The first of `name-1`, `name-2`, ... that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"
