"""Where a part's weights come from: one small model for each kind of source.

In a plan a source is the word `fresh` or a mapping whose first key tells its kind:
`{checkpoint: FILE}`, `{hub: REPO}`, `{stage: NAME}`, `{run: DIR}`, `{source: NAME}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag


class Settings(BaseModel):
    """Base of everything a plan says: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class ArrayChoice(Settings):
    """How the arrays of a foreign file become those of a part.

    Args:
        layout: name of the system's table of names; None proposes the one that matches the file.
        part: the part in the file that feeds this one, where its name differs.
        rename: further prefixes of array names, foreign -> ours, applied before the layout.
        allow_missing: patterns of our arrays that may be absent; they keep their fresh values.
        reinitialise: patterns of our arrays that keep their fresh values where the file has them in another shape, as
            the layers have that follow the number of classes.
        resize: adapter for arrays whose shapes differ, `position` for tables of positions.
    """

    layout: str | None = None
    part: str | None = None
    rename: Mapping[str, str] = {}
    allow_missing: tuple[str, ...] = ()
    reinitialise: tuple[str, ...] = ()
    resize: Literal["position"] | None = None


class CheckpointSource(ArrayChoice):
    """A file on disk, foreign or ours."""

    checkpoint: Path


class HubSource(ArrayChoice):
    """A file of a repository on the Hugging Face hub, at a pinned revision."""

    hub: str
    revision: str
    file: str = "model.safetensors"


class StageSource(Settings):
    """The weights that an earlier stage of the same plan ended with."""

    stage: str
    part: str | None = None


class RunSource(Settings):
    """The weights that a stage of another run ended with; its last stage unless named."""

    run: Path
    stage: str | None = None
    part: str | None = None


class NamedSource(Settings):
    """A source that the plan defines once, under `sources`."""

    source: str
    part: str | None = None


SOURCE_KINDS = ("checkpoint", "hub", "run", "source", "stage")


def _kind(value: Any) -> str | None:
    """Tell the kind of a source by its keys; "run" before "stage", since a run may name its stage.

    A mapping without a kind has none. Kinds stand in angle brackets so that no error's location mistakes one for a key.
    """
    if value == "fresh":
        return "<fresh>"
    keys = value if isinstance(value, Mapping) else type(value).model_fields if isinstance(value, Settings) else ()
    return next((f"<{kind}>" for kind in SOURCE_KINDS if kind in keys), None)


Source = Annotated[
    Annotated[Literal["fresh"], Tag("<fresh>")]
    | Annotated[CheckpointSource, Tag("<checkpoint>")]
    | Annotated[HubSource, Tag("<hub>")]
    | Annotated[StageSource, Tag("<stage>")]
    | Annotated[RunSource, Tag("<run>")]
    | Annotated[NamedSource, Tag("<source>")],
    Discriminator(
        _kind,
        custom_error_type="no_source",
        custom_error_message=f"Write `fresh`, or a mapping with one of the keys {', '.join(SOURCE_KINDS)}.",
    ),
]
FileSource = CheckpointSource | HubSource
