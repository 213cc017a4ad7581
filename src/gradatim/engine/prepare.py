"""Carries out `gradatim.plan.prepared`: makes the file that a stage's data need, or finds that it was made before."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gradatim.engine.model import Model, load_run
from gradatim.errors import RunError, unknown
from gradatim.files import replace_file, write_json
from gradatim.plan import Stage
from gradatim.plan.prepared import MadeBy, Prepared
from gradatim.runs.folder import RunFolder, read_json
from gradatim.system import System
from gradatim.weights.digest import text_digest

NOTE = "prepared.json"
_SECONDS = 0.5
"""Between two words about how far it is."""


def maker_of(system: System, stage: Stage) -> MadeBy | None:
    """Whose model makes what a stage's data need; None where nothing is to be made."""
    if system.data.prepared is None:
        return None
    return system.data.prepared.maker(system.data_settings(stage))


def with_prepared(system: System, stage: Stage, folder: Path) -> Stage:
    """A stage whose data read the file in its folder; as it is where nothing is to be made, or nothing was yet."""
    kind = system.data.prepared
    if kind is None or maker_of(system, stage) is None or not (folder / kind.file).is_file():
        return stage
    return stage.model_copy(update={"data": kind.given(stage.data, folder / kind.file)})


def maker_problem(system: System, stage: Stage) -> str | None:
    """Why nobody can make what a stage's data need: a run of another plan that has no such stage."""
    maker = maker_of(system, stage)
    if maker is None or maker.run is None:
        return None
    run = RunFolder(maker.run)
    if not run.exists():
        return f"{maker.run}: no run there"
    records = run.stage_records()
    return None if maker.stage in records else f"{maker.run}: {unknown('finished stage', maker.stage, records)}"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a file is made of.

    Args:
        kind: which file, and how it is made.
        maker: whose model makes it.
        system, stage: whose data need it.
        run: folder of the run that is carried out.
        folder: of the stage.
        digests: of the data as they are without the file.
        code: digest of the system's source.
        device: to compute on.
        observe: receives events.
    """

    kind: Prepared
    maker: MadeBy
    system: System
    stage: Stage
    run: Path
    folder: Path
    digests: tuple[str, str]
    code: str
    device: torch.device
    observe: Callable[[dict[str, Any]], object]

    def __call__(self) -> None:
        """Make the file, or take it over from a neighboring run that made an equal one."""
        model = load_run(self.maker.run or self.run, system=self.system, stage=self.maker.stage)
        key = self._key(model)
        path = self.folder / self.kind.file
        if not path.is_file() or _key_of(self.folder) != key:
            twin = self._twin(key)
            self.folder.mkdir(parents=True, exist_ok=True)
            if twin is not None:
                replace_file(path, partial(shutil.copyfile, twin / self.kind.file))
            else:
                self._make(model, path)
            note = {"key": key, "file": self.kind.file, "made_by": self.maker.model_dump(mode="json")}
            write_json(self.folder / NOTE, note)

    def _make(self, model: Model, path: Path) -> None:
        settings = self.system.data_settings(self.stage)
        began, told = time.monotonic(), 0.0
        first: int | None = None

        def tell(done: int, of: int) -> None:
            nonlocal first, told
            now = time.monotonic()
            first = done if first is None else first
            if done == of or now - told > _SECONDS:
                told = now
                left = (of - done) * (now - began) / (done - first) if done > first else None
                self._observe("progress", done=done, total=of, left=left)

        self._observe("begun")
        path.unlink(missing_ok=True)
        self.kind.make(settings, model.to(self.device), path, self.device, tell)
        self._observe("made")

    def _observe(self, state: str, **more: Any) -> None:
        about = {"stage": self.stage.name, "step": 0, "file": self.kind.file, "by": self.maker.stage}
        self.observe({"event": "prepared", **about, "state": state, **more})

    def _key(self, model: Model) -> str:
        weights = {name: lineage.digest for name, lineage in model.lineage.items()}
        sizes = model.settings.model_dump(mode="json")
        return text_digest(json.dumps([self.digests, weights, sizes, self.code], sort_keys=True))

    def _twin(self, key: str) -> Path | None:
        """Folder of an equal stage in a run beside this one that has an equal file."""
        for path in RunFolder(self.run).beside(self.stage.name, NOTE):
            if path.parent != self.folder and _key_of(path.parent) == key:
                return path.parent
        return None


def _key_of(folder: Path) -> str | None:
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        note = read_json(path)
    except RunError:
        return None
    return str(note.get("key")) if (folder / str(note.get("file"))).is_file() else None
