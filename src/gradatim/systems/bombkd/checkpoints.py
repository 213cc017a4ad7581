"""The original's checkpoints: their arrays, the fields beside them, and the settings that both tell.

Their files hold several groups of arrays and plain fields such as the kind of converter, without which the arrays
mean little; the general reader knows one group and no fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gradatim.errors import FormatError, WeightsError
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.model import sizes_of
from gradatim.systems.bombkd.parts.kinds import kind_in_checkpoint
from gradatim.weights import Weights, translate
from gradatim.weights.formats.torch_file import _load, _tensors

_LAYOUT_OF = {"state_dict": "converters", "head": "head", "fusion": "fusion"}


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
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    content = _load(path)
    if not isinstance(content, Mapping):
        raise FormatError(f"{path}: holds a {type(content).__name__}, not a checkpoint of converters or fusion")
    groups = {str(name): found for name, value in content.items() if (found := _tensors(value))}
    fields = {str(name): value for name, value in content.items() if str(name) not in groups}
    layout = _layout_of(path, groups, fields)
    arrays = _joined(groups) if layout == "anomaly" else next(iter(groups.values()))
    weights = Weights(path=path, format="torch", arrays=arrays, notes=(f"groups of arrays: {', '.join(groups)}",))
    made = translate(LAYOUTS[layout], arrays).made
    shapes = {ours: tuple(how.make([arrays[n] for n in how.sources]).shape) for ours, how in made.items()}
    told = _told(layout, fields, shapes)
    try:
        found = sizes_of(shapes, {**told, **(given or {})})
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return Checkpoint(weights=weights, layout=layout, fields=fields, settings={**found, **told, **(given or {})})


def _layout_of(path: Path, groups: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    if "proj" in groups and "fusion" in groups:
        return "anomaly"
    if len(groups) == 1 and (group := next(iter(groups))) in _LAYOUT_OF:
        if group == "fusion" and fields.get("head_kind") == "self_residual":
            return "probe"
        if group == "fusion" and "advance_cls_head" not in fields:
            return "older_fusion"
        return _LAYOUT_OF[group]
    inside = ", ".join(map(repr, [*groups, *fields])) or "nothing"
    raise FormatError(f"{path}: not a checkpoint of converters, fusion, a probe or anomaly scores; it holds {inside}")


def _joined(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}.{name}": array for group, arrays in groups.items() for name, array in arrays.items()}


def _told(layout: str, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Settings that the fields tell and no shape does."""
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
    if names := fields.get("teacher_keys"):
        widths = [shapes[f"fusion.teacher_projections.{i}.0.weight"][1] for i in range(len(names))]
        told["teachers"] = {name: {"dim": width} for name, width in zip(names, widths, strict=True)}
    return told
