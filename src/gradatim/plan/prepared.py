"""Files that a stage's data need and that a trained model makes: alignments, pseudo labels, whatever is made once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

Tell = Callable[[int, int], object]
"""Receives (how much is done, how much there is)."""


class MadeBy(BaseModel):
    """Whose model makes a file.

    Args:
        stage: that ended with the model.
        run: folder of the run that the stage is of; None: it is an earlier stage of the same plan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    run: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A file that a stage's data need and that a trained model makes, before the stage begins.

    Args:
        setting: of a stage's `data`, a `MadeBy`, or whatever else it takes where nothing is to be made; data whose
            setting is a `MadeBy` can be opened, for a look, before the file is there.
        file: its name in the stage's folder; `data` names it in the setting's place from then on.
        make: (data settings, model, path, device, tell) -> nothing; writes the file, and goes on where it was stopped.
    """

    setting: str
    file: str
    make: Callable[[Any, Any, Path, Any, Tell], None]

    def maker(self, settings: Any) -> MadeBy | None:
        """Whose model makes the file; None where nothing is to be made."""
        value = getattr(settings, self.setting)
        return value if isinstance(value, MadeBy) else None

    def given(self, data: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """A stage's `data` that read the file."""
        return {**data, self.setting: str(path)}
