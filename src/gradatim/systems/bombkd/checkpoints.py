"""The original's checkpoints: their arrays, the fields beside them, and the settings that both tell.

Their files hold several groups of arrays and plain fields such as the kind of converter, without which the arrays
mean little.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import FormatError, WeightsError
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.model import Shapes, sizes_of
from gradatim.systems.bombkd.parts.kinds import kind_in_checkpoint
from gradatim.weights import Weights, read_weights, translate
from gradatim.weights.formats.base import FIELDS
from gradatim.weights.transfer import has_fields

_SAVED = ("converters", "fusion", "older_fusion", "head", "probe", "anomaly")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One file of the original.

    Args:
        weights: its arrays, for `gradatim.weights.transfer`.
        layout: name of the table in `LAYOUTS` that translates their names.
        fields: what the file holds beside arrays.
        settings: of the model that its weights belong to, as far as the file tells.
    """

    weights: Weights
    layout: str
    fields: Mapping[str, Any]
    settings: Mapping[str, Any]


def read_checkpoint(path: str | Path, given: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read `converters_ep*.pt`, `fusion_ep*.pt`, `head_ep*.pt`, `selfres_ep*.pt` or `vad_ep*.pt`.

    Args:
        path: the file; what it is is told by its content.
        given: settings that are known; they win.

    Raises:
        FormatError: no such file, a damaged one, or none of these.
        WeightsError: the settings cannot be told; the message names what to give.
    """
    weights = read_weights(path)
    fields = json.loads(weights.metadata.get(FIELDS, "{}"))
    layout = _nearest(weights)
    if layout is None:
        inside = ", ".join([*list(weights.arrays)[:4], *map(repr, fields)])
        raise FormatError(
            f"{path}: not a checkpoint of converters, fusion, a probe or anomaly scores; it holds {inside}"
        )
    made = translate(LAYOUTS[layout], weights.arrays).made
    shapes = {ours: tuple(how.make([weights.arrays[name] for name in how.sources]).shape) for ours, how in made.items()}
    told = settings_in_fields(layout, fields, shapes)
    try:
        found = sizes_of(shapes, {**told, **(given or {})})
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return Checkpoint(weights=weights, layout=layout, fields=fields, settings={**found, **told, **(given or {})})


def _nearest(weights: Weights) -> str | None:
    """The layout that knows most of a file's names, and at least half of them."""
    unknown = {
        name: len(translate(LAYOUTS[name], weights.arrays).unknown)
        for name in _SAVED
        if has_fields(weights, LAYOUTS[name])
    }
    best = min(unknown, key=lambda name: unknown[name])
    return best if unknown[best] <= len(weights.arrays) / 2 else None


def settings_in_fields(layout: str, fields: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Settings that the fields beside the arrays tell and no shape does.

    Args:
        layout: name of the table that translates the file.
        fields: what the file holds beside arrays.
        shapes: by our names.
    """
    told: dict[str, Any] = {}
    if layout == "converters":
        told["converter"] = kind_in_checkpoint(str(fields.get("kind", "")))
        lengths = fields.get("teacher_lens") or {}
        names = fields.get("keys") or list(dict.fromkeys(name.split(".")[1] for name in shapes))
        told["target_lens"] = {name: int(lengths[name]) for name in names if lengths.get(name)}
    if layout in ("converters", "anomaly"):
        told["batch_stats"] = "batch"
    if layout == "anomaly" and "translator_kind" in fields:
        told["converter"] = kind_in_checkpoint(str(fields["translator_kind"]))
    if layout in ("fusion", "older_fusion", "anomaly"):
        told["teacher_scale"] = "one" if layout == "older_fusion" else "sqrt"
        names = fields.get("teacher_keys") or ()
        widths = [shapes[f"fusion.teacher_projections.{i}.0.weight"][1] for i in range(len(names))]
        if names:
            told["teachers"] = {name: {"dim": width} for name, width in zip(names, widths, strict=True)}
    return told
