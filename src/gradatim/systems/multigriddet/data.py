"""Samples for MultiGridDet: pictures in the network's input with the boxes and classes of their objects.

All files are checked before the first is used. Pictures are kept in memory as far as a budget goes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from PIL import Image
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor
from torch.nn import functional

from gradatim.data.image import Picture
from gradatim.errors import DataError, problems, unknown
from gradatim.systems.multigriddet.anchors import Weighting, class_counts, class_weights
from gradatim.systems.multigriddet.annotations import (
    AnnotatedImage,
    Check,
    OnBadBox,
    read_annotations,
)
from gradatim.systems.multigriddet.augment import Augmentation, Augmenter, Stored
from gradatim.systems.multigriddet.example import Boxes
from gradatim.systems.multigriddet.formats.entry import Role, Wanted
from gradatim.systems.multigriddet.formats.text import read_classes
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.memory import PictureMemory
from gradatim.systems.multigriddet.pictures import FilePictures, PictureSource, ShapePictures
from gradatim.systems.multigriddet.shapes import ShapesSettings, square

Split = Literal["train", "validate", "all"]

Kind = Literal["auto", "lines", "yolo", "coco", "voc", "shapes"]

SHAPES = "shapes"
DEFAULT_HOLDOUT = 0.1
STEP = 32
"""Sides of the network's input are multiples of this."""

Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(square)]


class DetectionSettings(BaseModel):
    """Which pictures, and what is done to them before the model sees them.

    Args:
        root: annotations: a file or a folder; or `shapes`, pictures that are drawn on the spot.
        kind: format of the annotations; "auto" tells it by what is there.
        images: folder that names of pictures start from, where that is not the annotations' own.
        split: name of the data set's split that training reads; by default the one whose name says so.
        validate_split: the same for validation.
        validate_root: annotations for validation, if they stand elsewhere.
        holdout: share of training that is kept out of it for validation, spread evenly over the list. By default 0
            where there is a split or a file for validation, and 0.1 where there is none.
        classes: names in order, or a file with one a line; by default what the data set says.
        size: (height, width) of the network's input; one number is a square. Follows from the plan's `model`.
        augment: what is done to training pictures; `none`, `original` or the fields of `Augmentation`.
        sizes: shortest and longest side, multiples of 32: each training batch is resized as a whole, so that its
            longer side has a length drawn from these; None keeps `size`.
        on_bad_box: "drop" leaves boxes out that are wrong and counts them in the notes.
        class_weights: how much each class counts in the class loss: a number for each, or what follows from how often
            they occur in training, see `anchors.class_weights`; `auto` is `balanced`. None: all count alike.
        learn_difficult: whether objects that are marked as difficult are among the boxes; groups that are marked as a
            crowd never are.
        memory: MiB of decoded pictures that each process keeps.
        check: before anything starts, decode every picture to its end ("full") or look at its header.
        limit: use no more pictures than this of each split, spread evenly over it.
        shapes: of the pictures that are drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Path(SHAPES)
    kind: Kind = "auto"
    images: Path | None = None
    split: str | None = None
    validate_split: str | None = None
    validate_root: Path | None = None
    holdout: Annotated[float, Field(ge=0, lt=1)] | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | Path | None = None
    size: Size = (608, 608)
    augment: Augmentation = Augmentation()
    sizes: tuple[PositiveInt, PositiveInt] | None = None
    on_bad_box: OnBadBox = "error"
    class_weights: Weighting | Literal["auto"] | Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    learn_difficult: bool = False
    memory: NonNegativeInt = 1024
    check: Check = "headers"
    limit: PositiveInt | None = None
    shapes: ShapesSettings = ShapesSettings()

    @model_validator(mode="after")
    def _agree(self) -> "DetectionSettings":
        ways = {"validate_split": self.validate_split, "validate_root": self.validate_root, "holdout": self.holdout}
        given = [name for name, value in ways.items() if value]
        if "holdout" in given and len(given) > 1:
            raise ValueError(f"validation reads one of {', '.join(given)}; set one of them")
        if self.sizes is not None and (self.sizes[0] > self.sizes[1] or any(side % STEP for side in self.sizes)):
            raise ValueError(f"sizes {list(self.sizes)}: must be multiples of {STEP}, the least first")
        if self.drawn and (len(given) or self.classes is not None):
            raise ValueError("shapes are drawn: their classes and counts stand in `shapes`")
        return self

    @property
    def drawn(self) -> bool:
        """Whether pictures are drawn instead of read."""
        return self.kind == SHAPES or (self.kind == "auto" and self.root == Path(SHAPES))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return ("image", "boxes") if self.class_weights is None else ("image", "boxes", "class_weights")

    @property
    def varies(self) -> bool:
        """Whether what the model sees of a training sample differs between epochs."""
        return self.augment.varies or self.sizes is not None


class DetectionDataset:
    """Letterboxed pictures and boxes; a `gradatim.data.dataset.Dataset`.

    A sample has the fields

    - `image`: (3, H, W) float32 in [0, 1], RGB;
    - `boxes`: (N, 5) float32; left, top, right, bottom in pixels of the image, and the class;
    - `class_weights`: (classes,) float32, the same in all samples, where the settings ask for them.

    Args:
        source: the pictures.
        chosen: their numbers in the source, in order.
        settings: what is done to them.
        training: whether they are augmented.
        counts: training objects of each class, where `class_weights` follow from them.
    """

    ragged = ("boxes",)

    def __init__(
        self,
        source: PictureSource,
        chosen: tuple[int, ...],
        settings: DetectionSettings,
        *,
        training: bool,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        self.source = source
        self.chosen = chosen
        self.settings = settings
        self.training = training
        self.class_weights = _weights(settings, counts)
        self._memory = PictureMemory(settings.memory)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return self.settings.fields

    @property
    def random(self) -> bool:
        """Whether a sample differs between epochs."""
        return self.training and self.settings.varies

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return self.source.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about these pictures, one sentence each."""
        return (*self.source.notes, *self._left_out())

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, index: int) -> str:
        """Name of a picture, unique in the data set."""
        return self.source.name(self.chosen[index])

    def record(self, index: int) -> AnnotatedImage:
        """All annotations of a picture in its own pixels, crowds and difficult objects too."""
        return self.source.record(self.chosen[index])

    def source_image(self, index: int) -> Picture:
        """The picture as it is stored, (h, w, 3) uint8."""
        return self.source.picture(self.chosen[index])

    def letterbox(self, index: int) -> Letterbox:
        """Where a picture lies in the network's input when it is not augmented."""
        return Letterbox(self.record(index).size, self.settings.size)

    def digest(self) -> str:
        """Hexadecimal xxh3 of all files' contents, names, annotations and the settings that change a sample."""
        chosen = self.settings.model_dump_json(include={"size", "learn_difficult", "augment", "sizes"})
        weights = self.class_weights.tolist() if self.class_weights is not None else ""
        head = f"multigriddet pictures 1\n{chosen}\n{self.training}\n{weights}\n"
        return xxhash.xxh3_128_hexdigest((head + self.source.digest(self.chosen)).encode())

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        """Read the fields asked for; nothing is decoded for boxes alone, unless they are augmented.

        Args:
            index: 0 to length - 1.
            fields: which of `fields` to read.
            random: source of all augmentation; None letterboxes and does nothing else.

        Raises:
            DataError: a field is not offered, or a file has become unreadable since the check.
        """
        wrong = [unknown("field", field, self.fields) for field in fields if field not in self.fields]
        if wrong:
            raise DataError(problems(f"sample {self.name(index)!r}:", wrong))
        settings = self.settings
        if self.training and settings.augment.varies and random is not None:
            example = Augmenter(self._stored, len(self), settings.size, settings.augment).example(index, random)
            both = {"image": to_tensor(example.picture), "boxes": joined(example.boxes, example.classes)}
            return {field: both[field] for field in fields if field in both} | self._weights_of(fields)
        sample = self._weights_of(fields)
        if "image" in fields:
            sample["image"] = to_tensor(self._letterboxed(index))
        if "boxes" in fields:
            boxes, classes = learned(self.record(index), self.settings)
            sample["boxes"] = joined(self.letterbox(index).boxes(boxes), classes)
        return sample

    def _weights_of(self, fields: tuple[str, ...]) -> dict[str, Tensor]:
        """The weights of the classes, where they are asked for."""
        weights = self.class_weights if "class_weights" in fields else None
        return {} if weights is None else {"class_weights": weights}

    def _left_out(self) -> list[str]:
        """What is annotated and not learned."""
        if self.settings.drawn:
            return []
        records = [self.source.record(number) for number in self.chosen]
        crowds = sum(int(one.crowd.sum()) for one in records)
        difficult = sum(int((one.difficult & ~one.crowd).sum()) for one in records)
        notes = []
        if crowds:
            notes.append(f"Not learned: {_objects(crowds)} marked as a crowd.")
        if difficult and not self.settings.learn_difficult:
            notes.append(f"Not learned: {_objects(difficult)} marked as difficult (learn_difficult: false).")
        return notes

    @property
    def draws_batches(self) -> bool:
        """Whether `together` changes batches."""
        return self.training and self.settings.sizes is not None

    def together(self, batch: dict[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Resize a whole training batch to a size that is drawn, its boxes too; `sizes` says which.

        Args:
            batch: `image` (B, 3, H, W), `boxes` (B, N, 5), or one of them; other values pass unchanged.
            random: the source of the choice.
        """
        if not self.draws_batches:
            return batch
        assert self.settings.sizes is not None
        low, high = self.settings.sizes
        longer = STEP * int(random.integers(low // STEP, high // STEP + 1))
        own = self.settings.size
        height, width = (max(round(side * longer / max(own) / STEP), 1) * STEP for side in own)
        result = dict(batch)
        if "image" in batch:
            result["image"] = functional.interpolate(
                batch["image"], (height, width), mode="bilinear", antialias=True, align_corners=False
            )
        if "boxes" in batch:
            x, y = width / own[1], height / own[0]
            result["boxes"] = batch["boxes"] * batch["boxes"].new_tensor([x, y, x, y, 1])
        return result

    def _letterboxed(self, index: int) -> Picture:
        """The picture in the network's input, from memory if it is there."""
        return self._memory.get((index, "input"), lambda: self.letterbox(index).picture(self.source_image(index)))

    def _stored(self, index: int) -> Stored:
        """A picture for augmentation, from memory if it is there."""
        boxes, classes = learned(self.record(index), self.settings)
        picture = self._memory.get((index, "stored"), lambda: self._no_larger_than_used(self.source_image(index)))
        return Stored(picture, self.record(index).size, boxes, classes)

    def _no_larger_than_used(self, picture: Picture) -> Picture:
        """A picture in the resolution that the largest augmentation asks for, or its own if that is lower."""
        largest = self.settings.augment.largest
        height, width = self.settings.size
        most = (int(height * largest) + 1, int(width * largest) + 1)
        return picture if min(most[0] / picture.shape[0], most[1] / picture.shape[1]) >= 1 else shrunk(picture, most)


def _objects(count: int) -> str:
    return f"{count} object{'s' if count != 1 else ''}"


def open_data(settings: DetectionSettings, split: Split) -> DetectionDataset:
    """Find and check all pictures of a split.

    Args:
        settings: which pictures.
        split: "train" is augmented; "validate" is the data set's own validation, or what was held out of training;
            "all" is all of training, what was held out included, not augmented.

    Raises:
        DataError: everything that is wrong with files, pictures and boxes, one line each; or the split is empty.
    """
    if split == "validate" and not settings.holdout:
        own = _own_validation(settings)
        if own is not None:
            counts = _counts(_training(settings), settings) if _counted(settings) else None
            numbers = _spread(range(len(own)), settings.limit)
            return DetectionDataset(own, numbers, settings, training=False, counts=counts)
    source = _training(settings)
    share = 0.0 if split == "all" else _held_share(settings)
    held = _held(len(source), share)
    chosen = [number for number in range(len(source)) if split == "all" or (number in held) == (split == "validate")]
    if not chosen:
        what = "everything is held out" if split == "train" else "nothing is held out for validation"
        raise DataError(f"{settings.root}: {what}: holdout is {share:g} of {len(source)} pictures.")
    return DetectionDataset(
        source,
        _spread(chosen, settings.limit),
        settings,
        training=split == "train",
        counts=_counts(source, settings) if _counted(settings) else None,
    )


def _counted(settings: DetectionSettings) -> bool:
    """Whether the weights of the classes follow from how often they occur."""
    return isinstance(settings.class_weights, str)


def _counts(source: PictureSource, settings: DetectionSettings) -> NDArray[np.int64]:
    """Objects of each class that are learned from, and from what is held out of them."""
    records = [source.record(number) for number in range(len(source))]
    return class_counts((learned(record, settings)[1] for record in records), len(source.classes))


def learned(record: AnnotatedImage, settings: DetectionSettings) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes in the picture's pixels and classes of the objects that are learned."""
    keep = ~record.crowd if settings.learn_difficult else ~record.ignored
    return record.boxes[keep], record.classes[keep]


def _weights(settings: DetectionSettings, counts: NDArray[np.int64] | None) -> Tensor | None:
    given = settings.class_weights
    if given is None:
        return None
    if isinstance(given, str):
        assert counts is not None
        return torch.from_numpy(class_weights(counts, "balanced" if given == "auto" else given))
    return torch.tensor(given, dtype=torch.float32)


def _training(settings: DetectionSettings) -> PictureSource:
    """Pictures for training and for what is held out of it.

    Raises:
        DataError: there are none.
    """
    if settings.drawn:
        return ShapePictures(settings.shapes, "train")
    found = _read(settings, settings.root, "train", settings.split)
    if found is None:
        raise DataError(f"{settings.root}: has no split for training; name one by `split`.")
    return found


def _own_validation(settings: DetectionSettings) -> PictureSource | None:
    """Pictures that are for validation by the data set or the settings; None if there are none.

    Raises:
        DataError: they are asked for by name, and are not there.
    """
    if settings.drawn:
        return ShapePictures(settings.shapes, "validate")
    root, name = settings.validate_root or settings.root, settings.validate_split
    found = _read(settings, root, "validate", name)
    if found is None and settings.validate_root is not None:
        # A list or a folder without splits; what it is for was said by naming it.
        found = _read(settings, root, "train", None)
    return found


def _held_share(settings: DetectionSettings) -> float:
    """Share of training that is held out."""
    if settings.holdout is not None:
        return settings.holdout
    elsewhere = settings.drawn or settings.validate_root is not None or settings.validate_split is not None
    return 0.0 if elsewhere or _own_validation(settings) is not None else DEFAULT_HOLDOUT


def _read(settings: DetectionSettings, root: Path, role: Role, split: str | None) -> FilePictures | None:
    given = settings.classes
    classes = read_classes(given)[0] if isinstance(given, Path) else given
    wanted = Wanted(root=root, role=role, split=split, images=settings.images, classes=classes)
    assert settings.kind != "shapes"
    found = read_annotations(wanted, kind=settings.kind, check=settings.check, on_bad_box=settings.on_bad_box)
    return None if found is None else FilePictures(found)


def _held(count: int, share: float) -> frozenset[int]:
    """Numbers that are kept out of training, spread evenly; at least one if the share is above 0."""
    held = min(max(round(share * count), 1 if share > 0 else 0), count - 1)
    return frozenset((2 * i + 1) * count // (2 * held) for i in range(held))


def _spread(numbers: Sequence[int], limit: int | None) -> tuple[int, ...]:
    """At most `limit` of some numbers, evenly spread."""
    count = min(limit or len(numbers), len(numbers))
    return tuple(numbers[i * len(numbers) // count] for i in range(count))


def shrunk(picture: Picture, most: tuple[int, int]) -> Picture:
    """A picture made smaller until it fits into (height, width), its aspect kept."""
    height, width = Letterbox((picture.shape[0], picture.shape[1]), most).content
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def to_tensor(picture: Picture) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32)).div_(255)


def joined(boxes: Boxes, classes: NDArray[np.int64]) -> Tensor:
    """Corners (N, 4) and classes (N,) as (N, 5) float32."""
    return torch.from_numpy(np.concatenate([boxes, classes[:, None]], axis=1).astype(np.float32))


def sample_shapes(settings: DetectionSettings, model: Any) -> dict[str, Tensor]:
    """Shape and type of each field without reading anything; eight boxes stand for any number."""
    shapes = {"image": (3, *settings.size), "boxes": (8, 5)}
    if settings.class_weights is not None:
        shapes["class_weights"] = (model.count,)
    return {name: torch.empty(shape, dtype=torch.float32, device="meta") for name, shape in shapes.items()}


def with_size(model: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's data with the model's size of input; what is given wins."""
    return {"size": tuple(model.image_size), **data}


def misfits(model: Any, dataset: Any, fields: Any) -> list[str]:
    """What does not fit between a model and data, one sentence each."""
    wrong = []
    if len(dataset.classes) != model.count:
        wrong.append(
            f"the data have {len(dataset.classes)} classes, the model {model.count}; set `model: {{classes: "
            f"{len(dataset.classes)}}}`, and let `pre_predict` and `predict` start anew where a file has another number"
        )
    elif not isinstance(model.classes, int) and tuple(model.classes) != tuple(dataset.classes):
        at = next(i for i, (a, b) in enumerate(zip(model.classes, dataset.classes, strict=True)) if a != b)
        wrong.append(f"class {at} of the model is {model.classes[at]!r}, of the data {dataset.classes[at]!r}")
    weights = dataset.settings.class_weights
    if isinstance(weights, tuple) and len(weights) != len(dataset.classes):
        wrong.append(f"data.class_weights has {len(weights)} numbers, the data have {len(dataset.classes)} classes")
    if tuple(dataset.settings.size) != tuple(model.image_size):
        wrong.append(f"data.size is {list(dataset.settings.size)}, the model's image_size {list(model.image_size)}")
    return wrong
