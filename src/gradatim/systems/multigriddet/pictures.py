"""Where pictures and their boxes come from: files with annotations, or shapes that are drawn."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import xxhash

from gradatim.data.image import Picture, read_image, write_image
from gradatim.errors import DataError
from gradatim.files import write_text
from gradatim.systems.multigriddet.annotations import AnnotatedImage, Annotations
from gradatim.systems.multigriddet.shapes import Scene, ShapesSettings, draw_scene
from gradatim.weights.digest import file_digest


class PictureSource(Protocol):
    """Annotated pictures by index; picklable."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by number."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Unique in the source."""
        ...

    def record(self, index: int) -> AnnotatedImage:
        """The annotations of a picture."""
        ...

    def picture(self, index: int) -> Picture:
        """(H, W, 3) uint8, as it is stored."""
        ...

    def digest(self, chosen: Sequence[int]) -> str:
        """Hexadecimal xxh3 of the contents, names and annotations of some pictures."""
        ...


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files.

    Args:
        annotations: checked.
    """

    annotations: Annotations
    _base: Path = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parents = [str(one.image.parent) for one in self.annotations.images]
        # Relative and absolute names side by side have no folder in common.
        mixed = len({Path(parent).is_absolute() for parent in parents}) > 1
        object.__setattr__(self, "_base", Path() if mixed else Path(os.path.commonpath(parents)))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by number."""
        return self.annotations.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        return self.annotations.notes

    def __len__(self) -> int:
        return len(self.annotations.images)

    def name(self, index: int) -> str:
        """Path of the picture below the folder that all share."""
        image = self.annotations.images[index].image
        return image.relative_to(self._base).as_posix() if image.is_relative_to(self._base) else image.as_posix()

    def record(self, index: int) -> AnnotatedImage:
        """The annotations of a picture."""
        return self.annotations.images[index]

    def picture(self, index: int) -> Picture:
        """(H, W, 3) uint8.

        Raises:
            DataError: the file has become unreadable, or has another size than when it was checked.
        """
        record = self.annotations.images[index]
        picture = read_image(record.image)
        if picture.shape[:2] != record.size:
            raise DataError(f"{record.image}: was {record.size} when it was checked, is {picture.shape[:2]} now.")
        return picture

    def digest(self, chosen: Sequence[int]) -> str:
        """Hexadecimal xxh3 of the contents, names and annotations of some pictures."""
        state = xxhash.xxh3_128("\n".join(self.classes).encode())
        for index in chosen:
            record = self.annotations.images[index]
            state.update(f"\n{self.name(index)} {file_digest(record.image)} ".encode())
            for values in (record.boxes, record.classes, record.crowd, record.difficult):
                state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class ShapePictures:
    """Pictures of shapes, drawn when they are asked for.

    Args:
        settings: which ones.
        split: "train" or "validate", which have no picture in common.
    """

    settings: ShapesSettings
    split: Literal["train", "validate"]
    _records: dict[int, AnnotatedImage] = field(default_factory=dict, repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by number."""
        return self.settings.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def __len__(self) -> int:
        return self.settings.count if self.split == "train" else self.settings.validate_count

    def name(self, index: int) -> str:
        """Split and number."""
        return f"{self.split}/shapes_{index:05d}"

    def record(self, index: int) -> AnnotatedImage:
        """The annotations of a picture, which is drawn for them once."""
        if index not in self._records:
            self._scene(index)
        return self._records[index]

    def picture(self, index: int) -> Picture:
        """(H, W, 3) uint8."""
        return self._scene(index).picture

    def digest(self, chosen: Sequence[int]) -> str:
        """Digest of the settings, which say everything."""
        return xxhash.xxh3_128_hexdigest(f"shapes 1 {self.split} {chosen} {self.settings.model_dump_json()}".encode())

    def _scene(self, index: int) -> Scene:
        scene = draw_scene(self.settings, self.split, index)
        none = np.zeros(len(scene.classes), np.bool_)
        image = Path(f"{self.name(index)}.png")
        self._records[index] = AnnotatedImage(image, self.settings.size, scene.boxes, scene.classes, none, none)
        return scene


def write_shapes(folder: Path, settings: ShapesSettings) -> dict[str, int]:
    """Write shapes as a YOLO folder with the splits `train` and `val`.

    Args:
        folder: where; made if it does not exist.
        settings: which pictures.

    Returns:
        Number of pictures of each split.
    """
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(settings.classes))
    write_text(folder / "data.yaml", f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}")
    written = {}
    splits: dict[str, Literal["train", "validate"]] = {"train": "train", "val": "validate"}
    for ours, split in splits.items():
        source = ShapePictures(settings, split)
        (folder / "labels" / ours).mkdir(parents=True, exist_ok=True)
        for index in range(len(source)):
            stem = f"shapes_{index:05d}"
            write_image(folder / "images" / ours / f"{stem}.png", source.picture(index))
            lines = _yolo_lines(source.record(index))
            if lines:
                write_text(folder / "labels" / ours / f"{stem}.txt", lines)
        written[ours] = len(source)
    return written


def _yolo_lines(record: AnnotatedImage) -> str:
    height, width = record.size
    shares = record.boxes / np.array([width, height, width, height])
    lines = ""
    for (left, top, right, bottom), label in zip(shares.tolist(), record.classes.tolist(), strict=True):
        values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        lines += f"{label} {' '.join(f'{value:.9f}' for value in values)}\n"
    return lines
