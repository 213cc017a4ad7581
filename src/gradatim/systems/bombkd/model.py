"""BombKD's settings, and a builder for each of its parts."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator, model_validator
from torch import nn

from gradatim.errors import PlanError, WeightsError
from gradatim.plan.text import plain
from gradatim.systems.bombkd.backbones import build_backbone
from gradatim.systems.bombkd.names import FAMILIES, IDENTITY, find_backbone
from gradatim.systems.bombkd.parts.classifier import LinearHead
from gradatim.systems.bombkd.parts.converters import BatchStats
from gradatim.systems.bombkd.parts.fusion import Head, LinearProbe, ResidualGatedFusion, SelfResidualProbe
from gradatim.systems.bombkd.parts.kinds import build_converter, check_options, kind_of
from gradatim.systems.bombkd.parts.projection import ProjectionHead
from gradatim.systems.bombkd.preprocess import Profile


def _as_value_error(check: Callable[[], Any]) -> Any:
    """A check whose error gets its place in the plan from pydantic."""
    try:
        return check()
    except PlanError as error:
        raise ValueError(str(error)) from error


class BackboneSettings(BaseModel):
    """A video backbone, or stored features of one.

    Args:
        name: of a public backbone, or `identity`; None: its features are stored, and it cannot be built.
        config: fields of its configuration that differ from the published ones, such as `hidden_size`.
        dim: width of its tokens; told by the backbone where one is named.
        frames: of a clip; None: what the backbone was trained with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    config: Mapping[str, Any] = {}
    dim: PositiveInt | None = None
    frames: PositiveInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @field_validator("config", mode="before")
    @classmethod
    def _typed(cls, value: Any) -> Any:
        """Fields of a configuration have no types here, and a file's numbers are text."""
        return plain(value) if isinstance(value, Mapping) else value

    @field_validator("name")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value.lower() != IDENTITY:
            _as_value_error(lambda: find_backbone(value))
        return value

    @model_validator(mode="after")
    def _some_width(self) -> "BackboneSettings":
        if self.name is None and self.dim is None:
            raise ValueError("give the `name` of a backbone, or the width `dim` of stored features.")
        if self.name is not None and self.dim not in (None, self.width):
            raise ValueError(f"`dim` is {self.dim}, but tokens of {self.name!r} have {self.width}; leave `dim` out.")
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the configuration, published ones included; {} for stored features."""
        if self.name is None or self.name.lower() == IDENTITY:
            return dict(self.config)
        return {**find_backbone(self.name).config, **self.config}

    @property
    def width(self) -> int:
        """Width of a token."""
        if self.name is None:
            assert self.dim is not None
            return self.dim
        return int(self.fields.get("hidden_size", 768))

    @property
    def clip_frames(self) -> int | None:
        """Frames of a clip; None for stored features of which nothing is known."""
        if self.frames or self.name is None:
            return self.frames
        if self.name.lower() == IDENTITY:
            return 16
        return int(self.fields.get("num_frames") or self.fields["frames_per_clip"])

    @property
    def image_size(self) -> int | None:
        """Side of the pixels; None for stored features."""
        if self.name is None:
            return None
        name = "image_size" if self.name.lower() == IDENTITY else FAMILIES[find_backbone(self.name).family].size
        return int(self.fields.get(name, 224))


class BombKDSettings(BaseModel):
    """What the model is made of.

    Args:
        student: its backbone, by name or in full.
        teachers: a list of names, or backbones by names of one's own; the order is that of the fusion.
        converter: kind of the converters: `a`, `b`, `c`, or one of their longer names.
        converter_options: keyword arguments of the kind, such as `k` or `n_lat`.
        target_lens: tokens of a teacher's converter; those not named keep the student's number.
        batch_stats: of kind b: `clip` for new training; `batch` for the authors' weights, used as they do;
            `running` for statistics that stay as training left them.
        classes: number of classes; told by `class_names` where they are given.
        class_names: names of the classes, in the order of the labels.
        head: of the fusion: `linear`, `advanced` or `none`.
        low_rank: highest rank of the fusion's projections.
        teacher_scale: factor of the teachers' sum: `sqrt` divides by the root of their number, `one` does not, for
            checkpoints of before the authors did.
        projection_width: width in which anomaly scores compare tokens.
        probe: classifier of the student alone: `self_residual` or `linear`.
        profile: how frames are resized: `original` as for the published features, `checkpoint` as the backbones'
            authors do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: BackboneSettings = BackboneSettings(name="vjepa2")
    teachers: Mapping[str, BackboneSettings] = {
        name: BackboneSettings(name=name) for name in ("videomae", "timesformer", "vivit")
    }
    converter: str = "b"
    converter_options: Mapping[str, Any] = {}
    target_lens: Mapping[str, PositiveInt] = {}
    batch_stats: BatchStats = "clip"
    classes: PositiveInt | None = None
    class_names: tuple[str, ...] = ()
    head: Head = "linear"
    low_rank: PositiveInt = 256
    teacher_scale: Literal["sqrt", "one"] = "sqrt"
    projection_width: PositiveInt = 128
    probe: Literal["self_residual", "linear"] = "self_residual"
    profile: Profile = "original"

    @field_validator("converter_options", mode="before")
    @classmethod
    def _typed(cls, value: Any) -> Any:
        """Options of a kind have no types here, and a file's numbers are text."""
        return plain(value) if isinstance(value, Mapping) else value

    @field_validator("teachers", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A list of names means backbones under their own names; an empty entry means the backbone of its name."""
        if isinstance(value, str):
            value = value.replace(",", " ").split()
        if isinstance(value, list | tuple):
            return {str(name): {"name": str(name)} for name in value}
        if isinstance(value, Mapping):
            return {name: {"name": name} if own is None or own == {} else own for name, own in value.items()}
        return value

    @field_validator("teachers")
    @classmethod
    def _usable_names(cls, value: Mapping[str, BackboneSettings]) -> Mapping[str, BackboneSettings]:
        for name in value:
            if not name or "." in name or hasattr(nn.ModuleDict, name) or name in ("training", "forward"):
                raise ValueError(
                    f"{name!r} cannot be the name of a teacher: choose one without '.', such as 'teacher'."
                )
        return value

    @field_validator("converter")
    @classmethod
    def _kind(cls, value: str) -> str:
        kind: str = _as_value_error(lambda: kind_of(value))
        return kind

    @model_validator(mode="after")
    def _fits(self) -> "BombKDSettings":
        strange = sorted(set(self.target_lens) - set(self.teachers))
        if strange:
            raise ValueError(f"`target_lens` names {strange[0]!r}, which is no teacher: {', '.join(self.teachers)}.")
        if self.classes and self.class_names and self.classes != len(self.class_names):
            raise ValueError(f"`classes` is {self.classes}, but there are {len(self.class_names)} `class_names`.")
        if "batch_stats" in self.converter_options:
            raise ValueError("`batch_stats` is a setting of its own, beside `converter_options`.")
        for name, teacher in self.teachers.items():
            _as_value_error(
                lambda name=name, teacher=teacher: check_options(  # type: ignore[misc]
                    self.converter, teacher.width, self.target_lens.get(name), self.converter_options
                )
            )
        return self

    @property
    def translated_widths(self) -> dict[str, int]:
        """Width of what each teacher's converter makes; with the option `same_io` that is the student's."""
        same = bool(self.converter_options.get("same_io"))
        return {name: self.student.width if same else own.width for name, own in self.teachers.items()}

    @property
    def couples_clips(self) -> bool:
        """Whether a clip's translation depends on the other clips of its batch."""
        return self.converter == "b" and self.batch_stats == "batch"

    @property
    def class_count(self) -> int:
        """Number of classes; 0 if it is not said."""
        return self.classes or len(self.class_names)


def build_student(settings: BombKDSettings) -> nn.Module:
    """The student's backbone, fresh weights."""
    return _backbone("student", settings.student, settings.profile)


def build_teachers(settings: BombKDSettings) -> nn.ModuleDict:
    """The teachers' backbones by name, fresh weights."""
    return nn.ModuleDict(
        {name: _backbone(f"teachers.{name}", own, settings.profile) for name, own in settings.teachers.items()}
    )


def _backbone(place: str, settings: BackboneSettings, profile: Profile) -> nn.Module:
    if settings.name is None:
        raise PlanError(
            f"model.{place}: only the width of its stored features is given; to compute features, set its `name`."
        )
    return build_backbone(settings.name, settings.config, profile=profile)


def build_converters(settings: BombKDSettings) -> nn.ModuleDict:
    """A converter for each teacher, fresh weights."""
    options = dict(settings.converter_options)
    if settings.converter == "b":
        options["batch_stats"] = settings.batch_stats
    return nn.ModuleDict(
        {
            name: build_converter(
                settings.converter,
                settings.student.width,
                teacher.width,
                target_len=settings.target_lens.get(name),
                options=options,
            )
            for name, teacher in settings.teachers.items()
        }
    )


def build_fusion(settings: BombKDSettings) -> ResidualGatedFusion:
    """Residual gated fusion with its class head, fresh weights."""
    return ResidualGatedFusion(
        settings.student.width,
        list(settings.translated_widths.values()),
        low_rank=settings.low_rank,
        classes=settings.class_count,
        head=settings.head,
        teacher_scale=1.0 if settings.teacher_scale == "one" else None,
    )


def build_projection(settings: BombKDSettings) -> ProjectionHead:
    """Projection in which anomaly scores compare tokens, fresh weights."""
    return ProjectionHead(settings.student.width, settings.projection_width)


def build_probe(settings: BombKDSettings) -> LinearProbe | SelfResidualProbe:
    """Classifier of the student alone, fresh weights."""
    if not settings.class_count:
        raise PlanError("model.classes: the probe needs the number of classes.")
    if settings.probe == "linear":
        return LinearProbe(settings.student.width, settings.class_count)
    return SelfResidualProbe(settings.student.width, settings.class_count, low_rank=settings.low_rank)


def build_teacher_heads(settings: BombKDSettings) -> nn.ModuleDict:
    """A classifier for each teacher alone, fresh weights."""
    if not settings.class_count:
        raise PlanError("model.classes: the teachers' heads need the number of classes.")
    return nn.ModuleDict({name: LinearHead(own.width, settings.class_count) for name, own in settings.teachers.items()})


PARTS: Mapping[str, Callable[[BombKDSettings], nn.Module]] = {
    "student": build_student,
    "teachers": build_teachers,
    "converters": build_converters,
    "fusion": build_fusion,
    "projection": build_projection,
    "probe": build_probe,
    "teacher_heads": build_teacher_heads,
}


Shapes = Mapping[str, tuple[int, ...]]


def sizes_of(shapes: Shapes, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model that arrays of these shapes belong to.

    Args:
        shapes: by our names; parts may be absent.
        given: settings that are known; they win. Teachers whose names no array holds are numbered.

    Raises:
        WeightsError: something that no shape tells is neither given nor that of the published code.
    """
    found: dict[str, Any] = {}
    if any(name.startswith("converters.") for name in shapes):
        found |= _converter_sizes(shapes, given)
    for part in ("fusion", "probe.fusion"):
        if f"{part}.teacher_projections.0.0.weight" in shapes:
            found |= _fusion_sizes(shapes, part, found)
    if "probe.head.weight" in shapes:
        classes, width = shapes["probe.head.weight"]
        found |= {"probe": "linear", "classes": classes, "student": {"dim": width}}
    if "projection.proj.2.weight" in shapes:
        found["projection_width"], width = shapes["projection.proj.2.weight"]
        found["student"] = {"dim": width}
    return found


def _converter_sizes(shapes: Shapes, given: Mapping[str, Any]) -> dict[str, Any]:
    by_teacher: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if name.startswith("converters."):
            _, teacher, array = name.split(".", 2)
            by_teacher.setdefault(teacher, {})[array] = shape
    first = next(iter(by_teacher.values()))
    kind = "a" if "latents" in first else "b" if "dw1.weight" in first else "c"
    options: dict[str, Any] = {}
    if kind == "b" and first["dw1.weight"][2] != 7:
        options["k"] = first["dw1.weight"][2]
    if kind == "a":
        options = _latent_sizes(first, given)
    entry = "in_proj.weight" if kind == "a" else "proj.weight"
    absent = sorted(teacher for teacher, arrays in by_teacher.items() if entry not in arrays)
    if absent:
        raise WeightsError(f"converter {absent[0]!r} has no {entry}, so its widths cannot be told; name its settings")
    return {
        "student": {"dim": first[entry][1]},
        "teachers": {teacher: {"dim": arrays[entry][0]} for teacher, arrays in by_teacher.items()},
        "converter": kind,
        "converter_options": options,
        "target_lens": {t: arrays["query_embed"][0] for t, arrays in by_teacher.items() if "query_embed" in arrays},
    }


def _latent_sizes(arrays: Shapes, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of kind a that differ from the published ones; its heads stand in no shape."""
    n_lat, d_lat = arrays["latents"]
    layers = len({name.split(".")[1] for name in arrays if name.startswith("lat_blocks.")})
    options = dict(given.get("converter_options", {}))
    if d_lat != 384 and "n_heads_enc" not in options:
        raise WeightsError(
            "the file's shapes do not tell the converters' heads; give `converter_options: {n_heads_enc: ...}`"
        )
    sizes = {"n_lat": n_lat, "d_lat": d_lat, "n_layers": layers, "same_io": "out_proj.weight" in arrays}
    published = {"n_lat": 256, "d_lat": 384, "n_layers": 1, "same_io": False}
    return {**{name: value for name, value in sizes.items() if value != published[name]}, **options}


def _fusion_sizes(shapes: Shapes, part: str, found: Mapping[str, Any]) -> dict[str, Any]:
    down: dict[int, tuple[int, ...]] = {}
    while (name := f"{part}.teacher_projections.{len(down)}.0.weight") in shapes:
        down[len(down)] = shapes[name]
    width = shapes[f"{part}.teacher_projections.0.1.weight"][0]
    ranks = [rank for rank, _ in down.values()]
    usual = all(rank == min(256, own, width) for rank, own in down.values())
    sizes: dict[str, Any] = {"student": {"dim": width}, "low_rank": 256 if usual else max(ranks)}
    if f"{part}.head.weight" in shapes:
        sizes["classes"] = shapes[f"{part}.head.weight"][0]
    if part != "fusion":
        return {**sizes, "probe": "self_residual"}
    if f"{part}.head.fc2.weight" in shapes:
        sizes |= {"classes": shapes[f"{part}.head.fc2.weight"][0], "head": "advanced"}
    else:
        sizes["head"] = "linear" if "classes" in sizes else "none"
    if "teachers" not in found:
        sizes["teachers"] = {str(index): {"dim": own} for index, (_, own) in down.items()}
    return sizes
