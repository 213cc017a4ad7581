"""The data of a stage: clips, or stored features of the authors' format; and what a model's backbones ask of clips."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from pydantic import model_validator

from gradatim.data.dataset import Dataset
from gradatim.errors import unknown
from gradatim.systems.bombkd.data import ClipSettings, Split, open_clips
from gradatim.systems.bombkd.data import sample_shapes as clip_shapes
from gradatim.systems.bombkd.feature_data import FeatureDataset, FeatureSettings, open_features
from gradatim.systems.bombkd.feature_shards import STUDENT
from gradatim.systems.bombkd.model import BackboneSettings, BombKDSettings
from gradatim.systems.bombkd.names import IDENTITY, find_backbone
from gradatim.systems.bombkd.preprocess import Profile, default_preprocessing


class SampleSettings(ClipSettings):
    """Clips, see `ClipSettings`; or stored features instead of them.

    Frames and sizes for `student` and `teachers` follow from the plan's `model` where they are not given.

    Args:
        features: files that the authors' program wrote; then nothing else is given.
    """

    dataset: str = ""
    features: FeatureSettings | None = None

    @model_validator(mode="after")
    def _agree(self) -> "SampleSettings":
        if self.features is None:
            if not self.dataset:
                raise ValueError("give `dataset` (and its `root`), or `features` that are stored.")
            return super()._agree()  # type: ignore[operator, no-any-return]
        others = self.model_fields_set - {"features", "student", "teachers"}
        if others:
            raise ValueError(f"`features` are stored, so {', '.join(sorted(others))} of clips say nothing; leave out.")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        if self.features is None:
            return super().fields
        return ("student_tokens", "teacher_tokens", *(("label",) if self.features.labels else ()))


def open_samples(settings: SampleSettings, split: Split) -> Dataset:
    """The samples of a split.

    Raises:
        DataError: with all that is wrong with the files.
    """
    if settings.features is not None:
        return open_features(settings.features, split)
    return open_clips(settings, split)


def misfits(model: BombKDSettings, dataset: Dataset, fields: Collection[str]) -> list[str]:
    """What a model cannot do with these samples: features of other widths, or labels that it has no class for.

    Without this, clips of these classes would teach nothing in silence.
    """
    wrong = _other_widths(model, dataset, fields) if isinstance(dataset, FeatureDataset) else []
    classes = dataset.highest_label + 1 if isinstance(dataset, FeatureDataset) else len(getattr(dataset, "classes", ()))
    if "label" in fields and 0 < model.class_count < classes:
        advice = f"set `model: {{classes: {classes}}}`"
        wrong.append(f"the data have {classes} classes, the model {model.class_count}; {advice}")
    return wrong


def _other_widths(model: BombKDSettings, dataset: FeatureDataset, fields: Collection[str]) -> list[str]:
    wanted = {STUDENT: model.student.width}
    wanted |= {name: own.width for name, own in model.teachers.items()} if "teacher_tokens" in fields else {}
    wrong = []
    for name, width in wanted.items():
        found = dataset.widths.get(name)
        where = f"model.{name}" if name == STUDENT else f"model.teachers.{name}"
        if found is None:
            wrong.append(f"{where}: its tokens are not in the features; {unknown('teacher', name, dataset.teachers)}")
        elif found != width:
            wrong.append(f"{where}: its tokens have width {width}, those of the features {found}")
    return wrong


def sample_shapes(settings: SampleSettings, model: BombKDSettings) -> dict[str, Any]:
    """Shape and type of each field without reading anything; stored features are told by the model's widths."""
    if settings.features is not None:
        tokens = {name: _meta((16, own.width), torch.float32) for name, own in model.teachers.items()}
        student = _meta((16, model.student.width), torch.float32)
        return {"student_tokens": student, "teacher_tokens": tokens, "label": _meta((), torch.int64)}
    whole = {"label", "frame_labels"}
    return {
        name: _meta_tree(shape, torch.int64 if name in whole else torch.uint8)
        for name, shape in clip_shapes(settings).items()
    }


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _meta_tree(shape: Any, dtype: torch.dtype) -> Any:
    if isinstance(shape, Mapping):
        return {name: _meta(one, dtype) for name, one in shape.items()}
    return _meta(tuple(shape), dtype)


def with_views(model: BombKDSettings, data: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's data with the frames and sizes that the model's backbones take; what is given wins."""
    if data.get("features"):
        return dict(data)
    views: dict[str, Any] = {}
    if model.student.name is not None:
        views["student"] = {**_view(model.student, model.profile), **data.get("student", {})}
    given = data.get("teachers", {})
    teachers = {
        name: {**_view(own, model.profile), **given.get(name, {})}
        for name, own in model.teachers.items()
        if own.name is not None
    }
    if teachers:
        views["teachers"] = teachers
    return {**data, **views}


def _view(backbone: BackboneSettings, profile: Profile) -> dict[str, int]:
    """Frames, and sides of the pixels before and after cutting, of a backbone."""
    size = backbone.image_size or 224
    assert backbone.name is not None
    resize = size
    if backbone.name.lower() != IDENTITY:
        resize = default_preprocessing(find_backbone(backbone.name).family, size, profile).resize
    return {"frames": backbone.clip_frames or 16, "resize": resize, "crop": size}
