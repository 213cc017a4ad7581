"""Samples for BombKD: one decoding of a clip, cut to the frames and sizes of the student and of each teacher.

Which frames and sizes a backbone wants is stated here, in the data's settings, so that data can be prepared
and checked without any model. All files are looked at before the first is used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator, model_validator
from torch import Tensor

from gradatim.data.video import frame_indices
from gradatim.errors import DataError, problems, unknown
from gradatim.plan.text import plain
from gradatim.systems.bombkd.datasets import Labels, Listing, check_options, dataset_name, list_clips
from gradatim.systems.bombkd.datasets.listing import read_lines
from gradatim.systems.bombkd.preprocess import center_crop, resize_shortest
from gradatim.systems.bombkd.sources import (
    FRAME_LABELS,
    Check,
    ClipSource,
    FileClips,
    check_clips,
    part_by_class,
    thinned,
)
from gradatim.systems.bombkd.synthetic import MOTION, MotionSettings, open_motion

Split = Literal["train", "validate", "all"]


class View(BaseModel):
    """What one backbone sees of a clip.

    Args:
        frames: how many, spread evenly over the clip; a shorter clip repeats some.
        resize: length that the shorter side of a frame is brought to, in pixels.
        crop: side of the square that is cut out of the middle after that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: PositiveInt = 16
    resize: PositiveInt = 224
    crop: PositiveInt = 224

    @model_validator(mode="after")
    def _crop_fits(self) -> "View":
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} does not fit into frames whose shorter side is resize {self.resize}")
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, 3, H, W)."""
        return (self.frames, 3, self.crop, self.crop)


class ClipSettings(BaseModel):
    """Which clips, how they are parted, and what each backbone sees of them.

    Args:
        dataset: ucf101, hmdb51, ssv2, diving48, breakfast, uav, shanghaitech, ucf-crime, folders; or motion, clips
            that are drawn on the spot.
        root: the data set's folder; none for motion.
        split: what training reads, by the data set's own name.
        validate_split: what validation reads; instead of `holdout`.
        options: of the data set's reader; for motion the fields of `MotionSettings`.
        labels: "corrected", or "original" to make the mistakes of the published program.
        student: frames and sizes for the student.
        teachers: the same for each teacher, by its name.
        holdout: share of training that is kept out of it for validation: of every class alike, clips of one scene
            together.
        subset: share of training that is used after that: of every class alike.
        seed: of both choices.
        skip_corrupt: clips to leave out, by their paths below `root`; or a text file with one in each line.
        check: before anything starts, open each file ("headers") or decode it to its end ("full").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    root: Path | None = None
    split: str = "train"
    validate_split: str | None = None
    options: Mapping[str, Any] = {}
    labels: Labels = "corrected"
    student: View = View()
    teachers: Mapping[str, View] = {}
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    subset: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: NonNegativeInt = 0
    skip_corrupt: tuple[str, ...] | Path = ()
    check: Check = "headers"

    @field_validator("options", mode="before")
    @classmethod
    def _typed(cls, value: Any) -> Any:
        """Options of a reader have no types here, and a file's numbers are text."""
        return plain(value) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _agree(self) -> "ClipSettings":
        if self.holdout and self.validate_split is not None:
            raise ValueError("validation reads either validate_split or holdout; set one of them")
        if (self.root is None) != (self.dataset == MOTION):
            raise ValueError(
                "root: motion draws its clips" if self.root else f"root: {self.dataset!r} needs its folder"
            )
        try:
            self.motion if self.dataset == MOTION else check_options(dataset_name(self.dataset), self.options)
        except DataError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def motion(self) -> MotionSettings:
        """The options of the data set `motion`."""
        return MotionSettings.model_validate(dict(self.options))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        teachers = ("teacher_clips",) if self.teachers else ()
        framewise = self.dataset != MOTION and dataset_name(self.dataset) in FRAME_LABELS
        return ("student_clip", *teachers, "label", *(("frame_labels",) if framewise else ()))


class ClipDataset:
    """Clips for the student and the teachers; a `gradatim.data.dataset.Dataset`.

    A sample has the fields

    - `student_clip`: (T, 3, H, W) uint8, RGB;
    - `teacher_clips`: teacher -> (T_i, 3, H_i, W_i) uint8;
    - `label`: int64 scalar, -1 where the data set tells none;
    - `frame_labels`: (T,) int64, 1 where a frame of `student_clip` is abnormal.

    Args:
        source: the clips.
        settings: what is done to them.
    """

    random = False

    def __init__(self, source: ClipSource, settings: ClipSettings) -> None:
        self.source = source
        self.settings = settings

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return self.settings.fields

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return self.source.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about these clips, one sentence each."""
        return self.source.notes

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """Path of the clip below its data set."""
        return self.source.name(index)

    def label(self, index: int) -> int:
        """Class of a clip without opening it."""
        return self.source.label(index)

    def digest(self) -> str:
        """Hexadecimal xxh3 of all files' contents, the names, the labels and the settings that change a sample."""
        chosen = self.settings.model_dump_json(include={"student", "teachers", "dataset"})
        return xxhash.xxh3_128_hexdigest(f"bombkd clips 1\n{chosen}\n{self.source.digest()}".encode())

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Any]:
        """Read the fields asked for; the clip is decoded once, and not at all for its labels alone.

        Args:
            index: 0 to length - 1.
            fields: which of `fields` to read.
            random: not used; nothing is random.

        Raises:
            DataError: a field is not offered, or a file has become unreadable since the check.
        """
        wrong = [unknown("field", field, self.fields) for field in fields if field not in self.fields]
        if wrong:
            raise DataError(problems(f"sample {self.name(index)!r}:", wrong))
        views = self._views(fields)
        clips = self._clips(index, list(views.values())) if views else []
        named = dict(zip(views, clips, strict=True))
        sample: dict[str, Any] = {}
        for field in fields:
            if field == "student_clip":
                sample[field] = named[""]
            elif field == "teacher_clips":
                sample[field] = {teacher: named[teacher] for teacher in self.settings.teachers}
            elif field == "label":
                sample[field] = torch.tensor(self.source.label(index), dtype=torch.int64)
            else:
                sample[field] = self._frame_labels(index)
        return sample

    def frame_numbers(self, index: int, view: View) -> NDArray[np.int64]:
        """Numbers of the frames that a backbone sees of a clip, counted from the start of its file."""
        start, count = self.source.span(index)
        return frame_indices(count, view.frames, start)

    def _views(self, fields: tuple[str, ...]) -> dict[str, View]:
        """What to cut out of the clip; the student stands under the empty name."""
        student = {"": self.settings.student} if "student_clip" in fields else {}
        return student | (dict(self.settings.teachers) if "teacher_clips" in fields else {})

    def _clips(self, index: int, views: Sequence[View]) -> list[Tensor]:
        """One decoding of all frames that any view needs, then each view's share of them."""
        numbers = [self.frame_numbers(index, view) for view in views]
        together = np.unique(np.concatenate(numbers))
        frames = torch.from_numpy(self.source.read(index, together))
        ready: dict[tuple[bytes, int, int], Tensor] = {}
        clips = []
        for view, wanted in zip(views, numbers, strict=True):
            key = (wanted.tobytes(), view.resize, view.crop)
            if key not in ready:
                chosen = torch.from_numpy(np.searchsorted(together, wanted))
                ready[key] = prepare(frames[chosen], view.resize, view.crop)
            clips.append(ready[key])
        return clips

    def _frame_labels(self, index: int) -> Tensor:
        abnormal = self.source.abnormal(index)
        if abnormal is None:
            raise DataError(f"{self.name(index)}: nothing tells which of its frames are abnormal.")
        start, _ = self.source.span(index)
        numbers = self.frame_numbers(index, self.settings.student) - start
        return torch.from_numpy(abnormal[numbers]).long()


def prepare(clip: Tensor, resize: int, crop: int) -> Tensor:
    """Bring frames to a size: the shorter side to `resize`, then the middle square.

    Args:
        clip: (T, H, W, 3) uint8.
        resize: length of the shorter side; the longer one is cut down to a whole number.
        crop: side of the square, at most `resize`.

    Returns:
        (T, 3, crop, crop) uint8, bilinear with averaging where it shrinks.
    """
    frames = resize_shortest(clip.permute(0, 3, 1, 2), resize)
    return center_crop(frames, (crop, crop)).contiguous()


def open_clips(settings: ClipSettings, split: Split) -> ClipDataset:
    """List the clips of a split and look at their files.

    Args:
        settings: which clips.
        split: "train"; "validate" is the other split or what is held out; "all" is all of training, nothing held out.

    Raises:
        DataError: everything that is wrong with the files; or nothing is left for validation.
    """
    if settings.dataset == MOTION:
        return ClipDataset(open_motion(settings.motion, split), settings)
    return ClipDataset(_file_clips(settings, split), settings)


def sample_shapes(settings: ClipSettings) -> dict[str, Any]:
    """Shape of each field without reading anything; of `teacher_clips` by teacher."""
    shapes: dict[str, Any] = {
        "student_clip": settings.student.shape,
        "teacher_clips": {name: view.shape for name, view in settings.teachers.items()},
        "label": (),
        "frame_labels": (settings.student.frames,),
    }
    return {field: shapes[field] for field in settings.fields}


def _file_clips(settings: ClipSettings, split: Split) -> FileClips:
    named = settings.skip_corrupt
    skipped = read_lines(named) if isinstance(named, Path) else list(named)
    if split == "validate" and settings.validate_split is not None:
        return check_clips(_listed(settings, settings.validate_split), skipped, check=settings.check)
    listing = _listed(settings, settings.split)
    if split != "all":
        listing = _parted(listing, settings, split)
    return check_clips(listing, skipped, check=settings.check)


def _listed(settings: ClipSettings, split: str) -> Listing:
    assert settings.root is not None
    return list_clips(settings.dataset, settings.root, split, labels=settings.labels, **settings.options)


def _parted(listing: Listing, settings: ClipSettings, split: Split) -> Listing:
    """The part of training that trains, or that is held out."""
    held = [False] * len(listing.samples)
    if settings.holdout:
        held = part_by_class(listing.samples, settings.holdout, settings.seed, "holdout", spare=1)
    if split == "validate":
        if not any(held):
            raise DataError(
                f"{listing.root}: nothing is left for validation: holdout is {settings.holdout!r} of "
                f"{len(held)} clips; set `holdout` or `validate_split`."
            )
        return thinned(listing, held)
    listing = thinned(listing, [not out for out in held])
    return thinned(listing, part_by_class(listing.samples, settings.subset, settings.seed, "subset"))
