"""Clips of motions that do not exist on disk: for demos, tests and first trials.

Clip i of a seed and a split is always the same, whatever was drawn before it. Training and validation
look at different pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gradatim.data.image import IMAGE_SUFFIXES, read_image, resize
from gradatim.data.random import keyed_generator
from gradatim.data.video import Clip, write_video
from gradatim.errors import DataError, unknown
from gradatim.systems.bombkd.motion import CLASSES, draw_path, draw_picture, render
from gradatim.weights.digest import file_digest

MOTION = "motion"
PICTURES = 48
_KEPT_BYTES = 1 << 30
"""Clips are drawn once and kept as long as all of a split fit into this."""

_SPLITS = {"train": "train", "validate": "validation", "all": "train"}


def _square(value: Any) -> Any:
    """Read one number as the side of a square."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _known(classes: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [unknown("motion", name, CLASSES) for name in classes if name not in CLASSES]
    if len(set(classes)) < len(classes):
        wrong.append("a motion is named twice.")
    if wrong:
        raise ValueError(" ".join(wrong))
    return classes


Side = Annotated[int, Field(ge=8)]


class MotionSettings(BaseModel):
    """Which motions, how many and how large.

    Args:
        count: clips of training.
        validate_count: clips of validation.
        size: (height, width); one number is a square.
        frames: of each clip.
        seed: of everything that is drawn.
        classes: some of `CLASSES`; clip i shows class i modulo their number.
        pictures: folder of pictures to look at instead of those that are drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: PositiveInt = 1024
    validate_count: PositiveInt = 256
    size: Annotated[tuple[Side, Side], BeforeValidator(_square)] = (32, 32)
    frames: PositiveInt = 16
    seed: NonNegativeInt = 0
    classes: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known)] = CLASSES
    pictures: Path | None = None

    @property
    def side(self) -> int:
        """Side of the pictures that are looked at."""
        return max(4 * max(self.size), 128)


@dataclass(frozen=True)
class MotionClips:
    """Clips that are drawn when they are read; a `gradatim.systems.bombkd.sources.ClipSource`.

    Args:
        settings: which clips.
        split: "train" or "validation".
        files: the user's pictures; empty where pictures are drawn.
    """

    settings: MotionSettings
    split: str
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    _drawn: dict[int, Clip] = field(default_factory=dict, repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return self.settings.classes

    def __len__(self) -> int:
        return self.settings.count if self.split == "train" else self.settings.validate_count

    def name(self, index: int) -> str:
        """Unique name, with the class in it."""
        return f"{self.split}/{self.classes[self.label(index)]}/clip_{index:05d}"

    def label(self, index: int) -> int:
        """Number of the class."""
        return index % len(self.classes)

    def span(self, index: int) -> tuple[int, int]:
        """Number of the first frame, and how many there are."""
        return 0, self.settings.frames

    def read(self, index: int, frames: NDArray[np.int64]) -> Clip:
        """Frames by their numbers: (len(frames), H, W, 3) uint8."""
        clip = self._drawn.get(index)
        if clip is None:
            clip = self._render(index)
            if len(self) * clip.nbytes <= _KEPT_BYTES:
                self._drawn[index] = clip
        return clip[frames]

    def _render(self, index: int) -> Clip:
        random = keyed_generator(self.settings.seed, "motion", self.split, index)
        path = draw_path(self.classes[self.label(index)], self.settings.frames, random)
        scene, pattern = (self._picture(int(number)) for number in self._choice(random))
        return render(path, self.settings.size, scene=scene, pattern=pattern, random=random)

    def abnormal(self, index: int) -> NDArray[np.bool_] | None:
        """Nothing is abnormal."""
        return None

    def digest(self) -> str:
        """Digest of the settings and of the user's pictures."""
        state = xxhash.xxh3_128(f"motion 1 {self.split} {self.settings.model_dump_json(exclude={'pictures'})}".encode())
        for file in self.files:
            state.update(file_digest(file).encode())
        return state.hexdigest()

    def _choice(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Numbers of two pictures, different ones where there are two."""
        count = len(self.files) or PICTURES
        return random.choice(count, 2, replace=count < 2)

    def _picture(self, number: int) -> Tensor:
        side = self.settings.side
        return _read(self.files[number], side) if self.files else _draw(self.settings.seed, self.split, number, side)


def open_motion(settings: MotionSettings, split: Literal["train", "validate", "all"]) -> MotionClips:
    """Clips of a split; "all" is all of training.

    Raises:
        DataError: the folder of pictures is missing, or has not one picture for each split.
    """
    ours = _SPLITS[split]
    if settings.pictures is None:
        return MotionClips(settings, ours)
    if not settings.pictures.is_dir():
        raise DataError(f"{settings.pictures}: no such folder.")
    files = sorted(path for path in settings.pictures.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(files) < 2:
        raise DataError(
            f"{settings.pictures}: holds {len(files)} pictures; needs one for training, one for validation."
        )
    for file in files:
        read_image(file)
    held = tuple(files[::5])
    return MotionClips(settings, ours, held if ours == "validation" else tuple(f for f in files if f not in held))


def write_clips(root: Path, settings: MotionSettings, *, fps: float = 8, suffix: str = ".mp4") -> Mapping[str, int]:
    """Write the clips of both splits as `{split}/{class}/clip_00000.mp4`, to be read as data set `folders`.

    Args:
        root: where; made if it does not exist.
        settings: which clips.
        fps: frames per second.
        suffix: kind of the files.

    Returns:
        Number of files of each split.
    """
    written = {}
    for split in ("train", "validate"):
        clips = open_motion(settings, split)
        for index in range(len(clips)):
            write_video(root / f"{clips.name(index)}{suffix}", clips.read(index, np.arange(settings.frames)), fps)
        written[clips.split] = len(clips)
    return written


@lru_cache(maxsize=4 * PICTURES)
def _draw(seed: int, split: str, number: int, side: int) -> Tensor:
    return draw_picture(side, keyed_generator(seed, "motion picture", split, number))


@lru_cache(maxsize=4 * PICTURES)
def _read(file: Path, side: int) -> Tensor:
    """A user's picture (3, 2 side, 2 side), mirrored so that it repeats without seams."""
    picture = read_image(file)
    short = min(picture.shape[:2])
    top, left = (picture.shape[0] - short) // 2, (picture.shape[1] - short) // 2
    middle = resize(np.ascontiguousarray(picture[top : top + short, left : left + short]), (side, side))
    half = torch.from_numpy(middle).permute(2, 0, 1).float()
    rows = torch.cat([half, half.flip(1)], dim=1)
    return torch.cat([rows, rows.flip(2)], dim=2)
