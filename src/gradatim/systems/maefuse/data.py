"""Samples for MaeFuse: pairs of pictures, or pictures one by one for training the decoder.

All files are checked before the first is used, and all that is wrong is said at once. Pictures are kept
decoded in memory as far as a budget goes; they are stored as they are before cropping, in 8 bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xxhash
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor

from gradatim.data.color import pillow_ycbcr
from gradatim.data.image import Deep, Picture, read_gray, read_image, resize
from gradatim.errors import DataError, problems, unknown
from gradatim.systems.maefuse.augment import covering_size, draw_view
from gradatim.systems.maefuse.pairs import (
    Check,
    Single,
    Source,
    check_pairs,
    check_pictures,
    find_pairs,
    find_singles,
    name_key,
)

Split = Literal["train", "validate", "all"]

ORIGINAL_SIZE = (640, 640)


def _square(value: Any) -> Any:
    """Read one number as the side of a square."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _several(value: Any) -> Any:
    """Read one path as a list of one."""
    return (value,) if isinstance(value, str | Path) else value


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_square)]


class PairSettings(BaseModel):
    """Which pictures, and what is done to them before the model sees them.

    Args:
        root: a folder with `vi/` and `ir/` (or `visible/` and `infrared/`), a folder of such folders, or a list.
        holdout: what is kept out of training for validation: a share of the pairs, spread evenly over
            the sorted names (at least one pair if it is above 0), or a list of names.
        size: every picture is resized to this (height, width), whatever its aspect; one number is a square.
        crop: part that is cut out after that: at random in training, the middle otherwise; a picture that
            is smaller is enlarged until it holds the part.
        crops_per_image: how often each picture is in an epoch of training.
        flip: mirror every second training sample, both pictures alike.
        preprocess: "default" turns both pictures into luminance (rounded BT.601). "original" does as the
            published training did: Pillow's luminance of the visible picture, which is cut down to whole
            numbers; an infrared picture in color stays in color; size 640 unless given.
        samples: "pairs" of fields `visible` and `infrared`; or "images", each picture of either folder (or
            of `images/`, or of a folder without subfolders) as a sample of its own with the field `image`.
        deep: how pictures with more than 8 bits become 8-bit; see `gradatim.data.image.read_image`.
        memory: MiB of decoded pictures that are kept.
        check: before anything starts, decode every file to its end ("full") or read its first bytes only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Annotated[tuple[Path, ...], BeforeValidator(_several), Field(min_length=1)]
    holdout: Annotated[float, Field(ge=0, lt=1)] | tuple[str, ...] = 0.1
    size: Size | None = None
    crop: Size | None = None
    crops_per_image: PositiveInt = 1
    flip: bool = False
    preprocess: Literal["default", "original"] = "default"
    samples: Literal["pairs", "images"] = "pairs"
    deep: Deep = "divide"
    memory: NonNegativeInt = 1024
    check: Check = "full"

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return ("visible", "infrared") if self.samples == "pairs" else ("image",)

    @property
    def varies(self) -> bool:
        """Whether a training sample differs between epochs."""
        return self.flip or (self.crop is not None and self.crop != self.resized)

    @property
    def resized(self) -> tuple[int, int] | None:
        """(height, width) that every picture is brought to, None if it keeps its own."""
        return ORIGINAL_SIZE if self.size is None and self.preprocess == "original" else self.size


@dataclass(frozen=True)
class Item:
    """One sample's files.

    Args:
        name: unique in the data set.
        group: name of the pair; what shares it is held out together.
        files: field -> file.
        sources: field -> what the file shows.
    """

    name: str
    group: str
    files: Mapping[str, Path]
    sources: Mapping[str, Source]


class PairDataset:
    """Pictures as (3, H, W) float32 in [0, 1], the luminance three times; a `gradatim.data.dataset.Dataset`.

    Args:
        items: the samples' files, checked.
        settings: what is done to them.
        training: whether pictures are cropped at random, mirrored and repeated as the settings say.
    """

    def __init__(self, items: Sequence[Item], settings: PairSettings, *, training: bool) -> None:
        self.items = tuple(items)
        self.settings = settings
        self.training = training
        self._repeats = settings.crops_per_image if training else 1
        self._kept: dict[Path, Picture] = {}
        self._room = settings.memory * 2**20

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return self.settings.fields

    @property
    def random(self) -> bool:
        """Whether a sample differs between epochs."""
        return self.training and self.settings.varies

    def __len__(self) -> int:
        return len(self.items) * self._repeats

    def __getstate__(self) -> dict[str, Any]:
        # A worker process decodes for itself: pictures would be slow to send.
        return {**self.__dict__, "_kept": {}, "_room": self.settings.memory * 2**20}

    def name(self, index: int) -> str:
        """Name of a sample: its pair, and which of its crops."""
        item, repeat = divmod(index, self._repeats)
        return self.items[item].name + (f"#{repeat}" if self._repeats > 1 else "")

    def digest(self) -> str:
        """Hexadecimal xxh3 of all files' contents, the names and the settings that change a sample."""
        chosen = self.settings.model_dump_json(exclude={"root", "holdout", "memory", "check"})
        state = xxhash.xxh3_128(f"maefuse pairs 1\n{chosen}\n{self.training}\n".encode())
        for item in self.items:
            state.update(f"{item.name}\n".encode())
            for field in self.fields:
                state.update(f"{field} {item.sources[field]} ".encode())
                state.update(xxhash.xxh3_128_digest(item.files[field].read_bytes()))
        return state.hexdigest()

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        """Read the fields asked for; both pictures of a pair are cropped and mirrored alike.

        Args:
            index: 0 to length - 1.
            fields: which of `fields` to read.
            random: source of crop and flip; None takes the middle and does not mirror.

        Raises:
            DataError: a field is not offered, or a file has become unreadable since the check.
        """
        wrong = [unknown("field", field, self.fields) for field in fields if field not in self.fields]
        if wrong:
            raise DataError(problems(f"sample {self.name(index)!r}:", wrong))
        item = self.items[index // self._repeats]
        pictures = {field: self._picture(item, field) for field in fields}
        if not pictures:
            return {}
        size = next(iter(pictures.values())).shape
        random = random if self.training else None
        view = draw_view((size[0], size[1]), self.settings.crop, flip=self.settings.flip, random=random)
        return {field: to_tensor(view.of(picture)) for field, picture in pictures.items()}

    def _picture(self, item: Item, field: str) -> Picture:
        """The decoded and resized picture, from memory if it is there."""
        path = item.files[field]
        picture = self._kept.get(path)
        if picture is None:
            picture = prepare(path, item.sources[field], self.settings)
            if picture.nbytes <= self._room:
                self._room -= picture.nbytes
                self._kept[path] = picture
        return picture


def open_pairs(settings: PairSettings, split: Split) -> PairDataset:
    """Find and check all pictures, and take those of a split.

    Args:
        settings: which pictures.
        split: "train" is augmented; "validate" is what was held out; "all" is every sample, not augmented.

    Raises:
        DataError: everything that is wrong with the files, one line each; or the split is empty.
    """
    items = _checked_items(settings, one_size=split != "all")
    if split == "all":
        return PairDataset(items, settings, training=False)
    held = held_out(sorted({item.group for item in items}), settings.holdout)
    chosen = [item for item in items if (item.group in held) == (split == "validate")]
    if not chosen:
        what = "everything is held out" if split == "train" else "nothing is held out for validation"
        raise DataError(f"{_roots(settings)}: {what}: holdout is {settings.holdout!r} of {len(items)} samples.")
    return PairDataset(chosen, settings, training=split == "train")


def held_out(names: Sequence[str], holdout: float | tuple[str, ...]) -> frozenset[str]:
    """The names to keep out of training.

    Args:
        names: sorted and unique.
        holdout: a share, spread evenly over the names; or names, with or without the part before `/`.

    Raises:
        DataError: a name does not exist.
    """
    if isinstance(holdout, tuple):
        keys = {name_key(name) for name in holdout}
        ends = {name_key(part) for name in names for part in (name, name.rpartition("/")[2])}
        wrong = [unknown("name", name, names) for name in holdout if name_key(name) not in ends]
        if wrong:
            raise DataError(problems("holdout:", wrong))
        return frozenset(name for name in names if {name_key(name), name_key(name.rpartition("/")[2])} & keys)
    count = min(max(round(holdout * len(names)), 1 if holdout > 0 else 0), len(names) - 1)
    return frozenset(names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count))


def prepare(path: Path, source: Source, settings: PairSettings) -> Picture:
    """Decode a picture as the model will see it, but for crop and flip: (H, W) or (H, W, 3) uint8."""
    if settings.preprocess == "default":
        picture = read_gray(path, deep=settings.deep)
    else:
        picture = read_image(path, deep=settings.deep)
        if source == "visible":
            picture = pillow_ycbcr(picture)[:, :, 0]
    if settings.resized is not None:
        picture = resize(np.ascontiguousarray(picture), settings.resized)
    if settings.crop is not None:
        picture = resize(picture, covering_size((picture.shape[0], picture.shape[1]), settings.crop))
    return picture


def to_tensor(picture: Picture) -> Tensor:
    """(H, W) or (H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    values = torch.from_numpy(np.ascontiguousarray(picture)).float().div_(255)
    return values.expand(3, -1, -1).contiguous() if values.dim() == 2 else values.permute(2, 0, 1).contiguous()


def sample_shapes(settings: PairSettings, model_size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shape of each field without reading anything.

    Args:
        settings: of the data.
        model_size: (height, width) assumed where pictures keep the size of their files.
    """
    height, width = settings.crop or settings.resized or model_size
    return dict.fromkeys(settings.fields, (3, height, width))


def _checked_items(settings: PairSettings, *, one_size: bool) -> list[Item]:
    """All samples, their files checked; `one_size` asks that they fit into one batch."""
    if settings.samples == "pairs":
        pairs, wrong = find_pairs(settings.root)
        sizes, more = check_pairs(pairs, check=settings.check, deep=settings.deep)
        items = [
            Item(
                pair.name,
                pair.name,
                {"visible": pair.visible, "infrared": pair.infrared},
                {"visible": "visible", "infrared": "infrared"},
            )
            for pair in pairs
        ]
    else:
        singles, wrong = find_singles(settings.root)
        sizes, more = check_pictures((one.file for one in singles), check=settings.check, deep=settings.deep)
        items = [_single_item(one) for one in singles]
    wrong = wrong + more
    mixed = settings.crop is None and settings.resized is None and len(set(sizes.values())) > 1
    if one_size and mixed and not wrong:
        some = ", ".join(f"{height} x {width}" for height, width in sorted(set(sizes.values()))[:3])
        wrong.append(f"pictures have {len(set(sizes.values()))} sizes ({some}, ...): set `size` or `crop`.")
    if wrong:
        raise DataError(problems(f"{_roots(settings)}: {len(wrong)} problem(s) with the pictures:", wrong))
    return items


def _single_item(one: Single) -> Item:
    return Item(one.name, one.group, {"image": one.file}, {"image": one.source})


def _roots(settings: PairSettings) -> str:
    return ", ".join(str(root) for root in settings.root)
