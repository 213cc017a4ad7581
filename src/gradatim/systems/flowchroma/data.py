"""Samples for FlowChroma: a few neighboring frames of a video, and pictures that their colors may be taken from.

Frames go through the whole-number path to LAB, and what is matched with a reference through the other one, see
`gradatim.systems.flowchroma.color`. All files are looked at before the first is used. Frames are kept in memory as far
as a budget goes, at the size that they are brought to, in 8 bits.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xxhash
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from gradatim.data.image import Picture, resize
from gradatim.errors import DataError, problems, unknown
from gradatim.systems.flowchroma.color import lab_of_levels, lab_of_values
from gradatim.systems.flowchroma.joint import draw_joint_change
from gradatim.systems.flowchroma.model import FlowChromaSettings
from gradatim.systems.flowchroma.references import Change, Probability, ReferenceAugmentation, draw_change
from gradatim.systems.flowchroma.sequences import Check, find_videos, looked_at
from gradatim.systems.flowchroma.synthetic import DrawnSettings, drawn_videos
from gradatim.systems.flowchroma.videos import Found, Source, Window, windows

Split = Literal["train", "validate", "all"]


def _square(value: Any) -> Any:
    """Read one number as the side of a square."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _several(value: Any) -> Any:
    """Read one path as a list of one."""
    return (value,) if isinstance(value, str | Path) else value


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_square)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_several)]


class SequenceSettings(BaseModel):
    """Which videos, and what is done to them before the model sees them.

    Args:
        root: a folder with a list (*.csv) and the videos that it names, or a list itself, or a folder of folders of
            frames; or several of these.
        drawn: videos that are drawn on the spot, instead of a root.
        references: folders of the pictures that lists name as references; or, without a list, whose pictures all videos
            take their colors from. By default they are looked for beside the videos, and videos without a list have
            their first frame.
        samples: "fusion", with references; or "flow", frames alone, for training MemFlow on color.
        length: frames of a sample.
        size: (height, width) that all pictures are resized to, whatever their aspect; one number is a square.
        match_size: the same of what the matching network sees, which is resized from the former.
        holdout: videos that are kept out of training for validation: a share of them, spread evenly over the sorted
            names (at least one if it is above 0), or a list of names.
        real_reference_probability: how often the reference is one of the pictures that belong to the frame, and not
            the video's first frame. Validation takes the likelier of the two.
        one_reference: one reference for a sample, one of those of its first frame; or one for each frame.
        augmentation: of references in training.
        joint_augmentation: whether windows of flow training are mirrored, and their lightness and colors changed.
        memory: MiB of pictures that are kept.
        check: before anything starts, decode every file to its end ("full") or read its first bytes only.
        limit: most samples of a split, spread evenly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Paths = ()
    drawn: DrawnSettings | None = None
    references: Paths = ()
    samples: Literal["fusion", "flow"] = "fusion"
    length: Annotated[int, Field(ge=2)] = 4
    size: Size = (224, 224)
    match_size: Size = (224, 224)
    holdout: Annotated[float, Field(ge=0, lt=1)] | tuple[str, ...] = 0.1
    real_reference_probability: Probability = 1.0
    one_reference: bool = True
    augmentation: ReferenceAugmentation = ReferenceAugmentation()
    joint_augmentation: bool = True
    memory: NonNegativeInt = 1024
    check: Check = "headers"
    limit: PositiveInt | None = None

    @model_validator(mode="after")
    def _agree(self) -> "SequenceSettings":
        if bool(self.root) == (self.drawn is not None):
            raise ValueError("set one of root and drawn" if self.root else "root: no videos; set root or drawn")
        if self.drawn is not None and self.drawn.frames < self.length:
            raise ValueError(f"drawn: {self.drawn.frames} frames are fewer than length {self.length}")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return ("frames", "lightness", "references") if self.samples == "fusion" else ("frames",)

    @property
    def varies(self) -> bool:
        """Whether a training sample may differ between epochs, as far as can be told without the videos."""
        if self.samples == "flow":
            return self.joint_augmentation
        choice = 0 < self.real_reference_probability < 1
        return self.augmentation.varies or choice or (self.real_reference_probability > 0 and self.drawn is None)


class SequenceDataset:
    """Frames and their references; a `gradatim.data.dataset.Dataset`.

    A sample has the fields

    - `frames`: (T, 3, H, W) float32, normalized LAB, by whole numbers;
    - `lightness`: (T, 1, h, w) float32, normalized L of the frames as the matching network sees them;
    - `references`: (R, 3, h, w) float32, normalized LAB by the formula; R is 1, or T with one for each frame.

    Args:
        chosen: the samples, their files looked at.
        settings: what is done to them.
        training: whether anything is drawn.
        notes: what a user should know of the data, one sentence each.
    """

    def __init__(
        self, chosen: Sequence[Window], settings: SequenceSettings, *, training: bool, notes: Sequence[str] = ()
    ) -> None:
        self.windows = tuple(chosen)
        self.settings = settings
        self.training = training
        self.notes = tuple(notes)
        self._forget()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return self.settings.fields

    @property
    def random(self) -> bool:
        """Whether a sample differs between epochs."""
        if not self.training:
            return False
        if self.settings.samples == "flow":
            return self.settings.joint_augmentation
        return self.settings.augmentation.varies or any(self._has_choice(window) for window in self.windows)

    def __len__(self) -> int:
        return len(self.windows)

    def __getstate__(self) -> dict[str, Any]:
        # A worker process decodes for itself: pictures would be slow to send.
        return {**self.__dict__, "_kept": {}, "_room": self.settings.memory * 2**20}

    def name(self, index: int) -> str:
        """Name of a sample: its video and its first frame."""
        return self.windows[index].name

    def digest(self) -> str:
        """Hexadecimal xxh3 of all pictures, the names and the settings that change a sample."""
        kept = {"root", "drawn", "references", "holdout", "memory", "check", "limit"}
        chosen = self.settings.model_dump_json(exclude=kept)
        state = xxhash.xxh3_128(f"flowchroma sequences 1\n{chosen}\n{self.training}\n".encode())
        digests: dict[Source, str] = {}
        for window in self.windows:
            state.update(f"{window.name}\n".encode())
            for several in (window.frames, window.video.frames[:1], *self._asked(window)):
                for source in several:
                    if source not in digests:
                        digests[source] = source.digest()
                    state.update(digests[source].encode())
                state.update(b"\n")
        return state.hexdigest()

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        """Read the fields asked for; only references are read for references alone.

        Args:
            index: 0 to length - 1.
            fields: which of `fields` to read.
            random: source of the choice of references and of all augmentation. None, or any in validation, takes a
                reference by the index.

        Raises:
            DataError: a field is not offered, or a file has become unreadable since the check.
            MissingExtraError: OpenCV is not installed.
        """
        wrong = [unknown("field", field, self.fields) for field in fields if field not in self.fields]
        if wrong:
            raise DataError(problems(f"sample {self.name(index)!r}:", wrong))
        window, random = self.windows[index], random if self.training else None
        pictures = [self._frame(frame) for frame in window.frames] if {"frames", "lightness"} & set(fields) else []
        made = {}
        for field in fields:
            if field == "frames":
                made[field] = self._colors(pictures, random)
            elif field == "lightness":
                made[field] = torch.stack([self._matched(picture)[:1] for picture in pictures])
            else:
                made[field] = torch.stack(self._references(window, index, random))
        return made

    def _forget(self) -> None:
        self._kept: dict[tuple[Source, bool], Picture] = {}
        self._room = self.settings.memory * 2**20

    def _colors(self, pictures: Sequence[Picture], random: np.random.Generator | None) -> Tensor:
        frames = torch.stack([lab_of_levels(picture) for picture in pictures])
        if random is None or self.settings.samples == "fusion" or not self.settings.joint_augmentation:
            return frames
        return draw_joint_change(random).of(frames)

    def _matched(self, picture: Picture) -> Tensor:
        """Normalized LAB as the matching network sees it, of a picture at the size of frames."""
        return lab_of_values(resize(picture, self.settings.match_size))

    def _asked(self, window: Window) -> tuple[tuple[Source, ...], ...]:
        """Of each reference that a sample has, what it may be."""
        return window.references[:1] if self.settings.one_reference else window.references

    def _has_choice(self, window: Window) -> bool:
        """Whether any reference of a window is drawn from more than one."""
        share = self.settings.real_reference_probability
        first = (window.video.frames[0],) if share < 1 else ()
        return share > 0 and any(len({*several, *first}) > 1 for several in self._asked(window) if several)

    def _references(self, window: Window, index: int, random: np.random.Generator | None) -> list[Tensor]:
        augmentation, made = self.settings.augmentation, []
        for several in self._asked(window):
            source = self._reference(several, window, index, random)
            change = draw_change(augmentation, random) if random is not None and augmentation.varies else None
            made.append(self._matched(self._changed(source, change)))
        return made

    def _reference(
        self, several: Sequence[Source], window: Window, index: int, random: np.random.Generator | None
    ) -> Source:
        share = self.settings.real_reference_probability
        real = share >= 0.5 if random is None else random.random() < share
        if not real or not several:
            return window.video.frames[0]
        return several[index % len(several) if random is None else int(random.integers(len(several)))]

    def _changed(self, source: Source, change: Change | None) -> Picture:
        """A reference at the size of frames; it is changed before it is resized."""
        if change is None:
            return self._frame(source)
        return resize(change.of(self._picture(source, resized=False)), self.settings.size, kind="lanczos")

    def _frame(self, source: Source) -> Picture:
        return self._picture(source, resized=True)

    def _picture(self, source: Source, *, resized: bool) -> Picture:
        """A picture at the size of frames, or at its own, from memory if it is there."""
        picture = self._kept.get((source, resized))
        if picture is None:
            picture = source.read()
            if resized:
                picture = resize(picture, self.settings.size, kind="lanczos")
            if picture.nbytes <= self._room:
                self._room -= picture.nbytes
                self._kept[source, resized] = picture
        return picture


def open_sequences(settings: SequenceSettings, split: Split) -> SequenceDataset:
    """Find and look at all videos, and take the samples of a split.

    Args:
        settings: which videos.
        split: "train" is augmented; "validate" is what was held out; "all" is every sample, not augmented.

    Raises:
        DataError: everything that is wrong with the files, one line each; or the split is empty.
    """
    found = _found(settings)
    if found.wrong:
        raise DataError(problems(f"{_place(settings)}: the videos cannot be used:", found.wrong))
    held = held_out([video.name for video in found.videos], settings.holdout)
    videos = [video for video in found.videos if split == "all" or (video.name in held) == (split == "validate")]
    if not videos:
        what = "everything is held out" if split == "train" else "nothing is held out for validation"
        count = len(found.videos)
        raise DataError(f"{_place(settings)}: {what}: holdout is {settings.holdout!r} of {count} video(s).")
    chosen = spread(windows(videos, settings.length), settings.limit)
    return SequenceDataset(chosen, settings, training=split == "train", notes=found.notes)


def sample_shapes(settings: SequenceSettings) -> dict[str, tuple[int, ...]]:
    """Shape of each field without reading anything."""
    shapes = {
        "frames": (settings.length, 3, *settings.size),
        "lightness": (settings.length, 1, *settings.match_size),
        "references": (1 if settings.one_reference else settings.length, 3, *settings.match_size),
    }
    return {field: shapes[field] for field in settings.fields}


def held_out(names: Sequence[str], holdout: float | tuple[str, ...]) -> frozenset[str]:
    """The videos to keep out of training.

    Args:
        names: sorted and unique.
        holdout: a share, spread evenly over the names; or names. One that stands in several roots means all of them,
            unless its root stands before it.

    Raises:
        DataError: a name does not exist.
    """
    if isinstance(holdout, tuple):
        wrong = [unknown("video", name, names) for name in holdout if not any(_is(known, name) for known in names)]
        if wrong:
            raise DataError(problems("holdout:", wrong))
        return frozenset(known for known in names if any(_is(known, name) for name in holdout))
    count = min(max(round(holdout * len(names)), 1 if holdout > 0 else 0), len(names) - 1)
    return frozenset(names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count))


def spread(items: Sequence[Window], most: int | None) -> list[Window]:
    """At most so many of the items, evenly spread; None for all."""
    count = len(items) if most is None else min(most, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _is(known: str, name: str) -> bool:
    return known == name or known.endswith(f"/{name}")


def _found(settings: SequenceSettings) -> Found:
    if settings.drawn is not None:
        return Found(tuple(drawn_videos(settings.drawn, settings.size)))
    needed = settings.samples == "fusion" and settings.real_reference_probability > 0
    found = find_videos(settings.root, settings.references if needed else None, length=settings.length)
    return looked_at(found, check=settings.check)


def _place(settings: SequenceSettings) -> str:
    return ", ".join(str(root) for root in settings.root) or "drawn"


def with_sizes(model: FlowChromaSettings, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Data with the model's sizes, where they say none of their own."""
    return {"size": model.size, "match_size": model.match_size, **data}
