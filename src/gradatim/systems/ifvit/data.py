"""Pairs of prints for both trainings: dense correspondences, and matching of prints that are aligned.

What is random is drawn anew in each epoch; pairs of validation are always the same.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xxhash
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from gradatim.data.random import keyed_generator
from gradatim.errors import DataError, problems, unknown
from gradatim.plan.prepared import MadeBy
from gradatim.systems.ifvit.alignment_file import read_alignments
from gradatim.systems.ifvit.corruption import Corruption
from gradatim.systems.ifvit.datasets import DATASETS, dataset_name, list_prints, parted, verify_prints
from gradatim.systems.ifvit.fingernet import FingerNetEnhancer, load_fingernet
from gradatim.systems.ifvit.pairing import Example, Pairing, aligned, registered
from gradatim.systems.ifvit.pairs import (
    Pair,
    by_finger,
    draw_imposter,
    genuine_pairs,
    imposter_count,
    protocol_pairs,
    spread,
)
from gradatim.systems.ifvit.prints import Fit
from gradatim.systems.ifvit.sources import DrawnPrints, FilePrints, FingersSettings, PrintSource, drawn_prints
from gradatim.weights.digest import file_digest

Split = Literal["train", "validate", "all"]
Samples = Literal["dense", "matcher"]

FINGERS = "fingers"

_FIELDS: dict[str, tuple[str, ...]] = {
    "dense": ("image1", "image2", "points", "mask1", "mask2", "label", "finger1", "finger2"),
    "matcher": ("image1", "image2", "roi1", "roi2", "points", "overlap", "label", "finger1", "finger2"),
}


class FingerprintSettings(BaseModel):
    """Which prints, how they are paired, and what is done to them.

    Args:
        root: folder of a data set; or `fingers`, prints that are drawn on the spot.
        layout: how the folder is laid out; see `datasets`.
        samples: "dense" for correspondences, "matcher" for prints that lie on one another.
        size: side of the pictures, which are squares.
        roi: side of the patches that the matcher compares.
        points: most correspondences of a genuine pair.
        imposters: share of all pairs whose prints are of two fingers.
        protocol: pairs of validation: "share" as in training; "fvc" those of the FVC competitions, all genuine pairs
            and the first prints of every two fingers, so that `imposters` counts for training alone.
        corruption: what the second picture of a dense pair goes through. By default prints of files, whose
            correspondences nobody knows, are paired with a copy of themselves that `Corruption` makes worse; prints
            that are drawn are paired as they are. Given, it applies to both.
        enhance: whether the matcher's pictures, not its patches, show ridges made clear.
        misplaced: most that the matcher's alignments are wrong by: a shift in sides of the picture, and a turn in
            radians; those that a network finds are never exact.
        alignments: file of motions between prints of files, written by `write_alignments`. The matcher's pairs are then
            those that it lists, imposters too. `{stage: dense}` has that stage's model make the file before this stage
            begins, `{run: R, stage: dense}` that of another run. By default all pairs are made, and lie as they do in
            their files.
        fingernet: weights of FingerNet, which then makes ridges clear and says where a file's print is; None: Gabor
            filters do.
        fit: how a print of a file comes to be a square; see `prints.fitted`.
        holdout: share of the subjects that are kept for validation, where the layout has no part for tests.
        limit: use no more pairs than this of each split, spread evenly.
        memory: MiB of prints that are kept, all worker processes together.
        seed: of what is drawn once: which subjects are held out, and the pairs of validation.
        drawn: fingers that are drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Path(FINGERS)
    layout: str = "plain"
    samples: Samples = "dense"
    size: Annotated[int, Field(ge=32)] = 128
    roi: PositiveInt = 90
    points: PositiveInt = 512
    imposters: Annotated[float, Field(ge=0, lt=1)] = 0.25
    protocol: Literal["share", "fvc"] = "share"
    corruption: Corruption | None = None
    enhance: bool = False
    fingernet: Path | None = None
    misplaced: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    alignments: Path | MadeBy | None = None
    fit: Fit = "keep"
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    limit: PositiveInt | None = None
    memory: NonNegativeInt = 1024
    seed: NonNegativeInt = 0
    drawn: FingersSettings = FingersSettings()

    @model_validator(mode="after")
    def _known(self) -> "FingerprintSettings":
        try:
            dataset_name(self.layout)
        except DataError as error:
            raise ValueError(str(error)) from error
        if self.protocol == "fvc" and (self.samples != "matcher" or self.alignments is not None):
            raise ValueError("protocol: fvc is for samples: matcher, without a file of alignments")
        if self.alignments is not None and (self.draws or self.samples != "matcher"):
            raise ValueError("alignments are of prints of files, for samples: matcher")
        return self

    @property
    def draws(self) -> bool:
        """Whether prints are drawn instead of read."""
        return self.root == Path(FINGERS)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return _FIELDS[self.samples]

    @property
    def varies(self) -> bool:
        """Whether a training sample differs between epochs; its points or its imposter always do."""
        return True


class PairDataset:
    """Pairs of prints; a `gradatim.data.dataset.Dataset`.

    A sample has the fields

    - `image1`, `image2`: (1, S, S) float32 in [0, 1]; the matcher's are 0 outside the overlap, the first lies in the
      second's frame;
    - `points`: (K, 4) float32, x and y in `image1`, x and y in `image2`, in pixels with whole numbers at their middles;
      none for imposters, and none for the matcher where the alignment is not known;
    - `label`: () float32, 1 for genuine pairs, -1 for imposters;
    - `finger1`, `finger2`: () int64, numbers among this split's fingers, `classes`.

    For dense samples also `mask1`, `mask2`: (S, S) bool, where the print is. For the matcher also `roi1`, `roi2`:
    (1, R, R) float32 in [0, 1], patches of the aligned prints around the middle of the overlap, and `overlap`:
    (S, S) bool.

    Args:
        source: the prints.
        settings: how they are paired.
        training: whether pairs are drawn anew in each epoch.
    """

    ragged = ("points",)

    def __init__(self, source: PrintSource, settings: FingerprintSettings, *, training: bool) -> None:
        self.source = source
        self.settings = settings
        self.training = training
        self._groups = by_finger(source.finger)
        self._others = [pair for pair in source.listed or () if not pair.genuine]
        self._pairs, self._drawn = self._planned()
        self._pairing = _pairing(settings)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        return self.settings.fields

    @property
    def random(self) -> bool:
        """Whether a sample differs between epochs."""
        return self.training

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the fingers by number."""
        return self.source.fingers

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about these prints, one sentence each."""
        return self.source.notes

    @property
    def imposters(self) -> int:
        """How many pairs are of two fingers."""
        return self._drawn + sum(not pair.genuine for pair in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs) + self._drawn

    def name(self, index: int) -> str:
        """Name of a pair, unique in the data set; the prints of a pair that is drawn anew are not in it."""
        if index >= len(self._pairs):
            return f"imposters/{index - len(self._pairs):06d}"
        first, second, genuine = self._pairs[index]
        names = (self.source.name(first),) if first == second else (self.source.name(first), self.source.name(second))
        return f"{'genuine' if genuine else 'imposters'}/{' '.join(names)}"

    def digest(self) -> str:
        """Hexadecimal xxh3 of all prints and the settings that change a sample."""
        chosen = self.settings.model_dump_json(exclude={"root", "layout", "memory", "drawn", "alignments", "fingernet"})
        network = file_digest(self.settings.fingernet) if self.settings.fingernet is not None else ""
        head = f"ifvit pairs 1\n{chosen}\n{self.training}\n{network}\n"
        return xxhash.xxh3_128_hexdigest((head + self.source.digest()).encode())

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        """Read the fields asked for.

        Args:
            index: 0 to length - 1.
            fields: which of `fields` to read.
            random: source of the pair, its points and its corruption; None takes those of validation.

        Raises:
            DataError: a field is not offered, or a file has become unreadable since the check.
        """
        wrong = [unknown("field", field, self.fields) for field in fields if field not in self.fields]
        if wrong:
            raise DataError(problems(f"sample {self.name(index)!r}:", wrong))
        random = keyed_generator(self.settings.seed, "pair", index) if random is None else random
        pair = self._pair(index, random)
        made = self._made(pair, random) if set(fields) - {"label", "finger1", "finger2"} else None
        return {field: self._field(field, pair, made) for field in fields}

    def pair(self, index: int) -> Pair:
        """The prints of a pair of validation."""
        return self._pair(index, keyed_generator(self.settings.seed, "pair", index))

    def _planned(self) -> tuple[list[Pair], int]:
        """Pairs that are the same in each epoch but for a partner, and how many imposters are drawn beside them."""
        settings = self.settings
        if settings.protocol == "fvc" and not self.training:
            pairs = protocol_pairs(self.source.finger)
            return spread(pairs, settings.limit or len(pairs)), 0
        bases = self._bases()
        most = len(bases) if settings.limit is None else max(round(settings.limit * (1 - settings.imposters)), 1)
        genuine = spread(bases, most)
        if not settings.imposters or not self._has_imposters():
            return genuine, 0
        count = imposter_count(len(genuine), settings.imposters)
        # Rates need both kinds, however few pairs a validation has.
        return genuine, count if self.training else max(count, 1)

    def _bases(self) -> list[Pair]:
        """Genuine pairs; those of dense samples name a print twice where its partner is drawn, or is itself."""
        if self.source.listed is not None:
            return [pair for pair in self.source.listed if pair.genuine]
        if self.settings.samples == "matcher":
            return genuine_pairs(self.source.finger)
        return [Pair(index, index, True) for index in range(len(self.source.finger))]

    def _has_imposters(self) -> bool:
        return len(self._groups) > 1 if self.source.listed is None else bool(self._others)

    def _pair(self, index: int, random: np.random.Generator) -> Pair:
        if index >= len(self._pairs):
            return self._imposter(random)
        first, second, _ = self._pairs[index]
        if first != second or self.source.skin(first) is None:
            return self._pairs[index]
        others = [other for other in self._groups[int(self.source.finger[first])] if other != first]
        return Pair(first, others[int(random.integers(len(others)))], True)

    def _imposter(self, random: np.random.Generator) -> Pair:
        if self.source.listed is None:
            return draw_imposter(self.source.finger, random)
        return self._others[int(random.integers(len(self._others)))]

    def _made(self, pair: Pair, random: np.random.Generator) -> Example:
        make = aligned if self.settings.samples == "matcher" else registered
        return make(self.source, pair, self._pairing, random)

    def _field(self, field: str, pair: Pair, made: Example | None) -> Tensor:
        if field == "label":
            return torch.tensor(1.0 if pair.genuine else -1.0)
        if field in ("finger1", "finger2"):
            print_ = pair.first if field == "finger1" else pair.second
            return torch.tensor(int(self.source.finger[print_]), dtype=torch.int64)
        assert made is not None
        values = getattr(made, field)
        if field == "points":
            return torch.from_numpy(values.astype(np.float32))
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor if tensor.dtype == torch.bool else tensor[None]


def _pairing(settings: FingerprintSettings) -> Pairing:
    corruption = settings.corruption
    if corruption is None and not settings.draws:
        corruption = Corruption()
    return Pairing(
        points=settings.points,
        roi=settings.roi,
        corruption=corruption,
        enhance=settings.enhance,
        misplaced=settings.misplaced,
    )


def open_data(settings: FingerprintSettings, split: Split) -> PairDataset:
    """Find and check all prints of a split.

    Args:
        settings: which prints.
        split: "train" is drawn anew in each epoch; "validate" has other subjects; "all" has those of training, what was
            held out included, and fixed pairs.

    Raises:
        DataError: everything that is wrong with the folder and its files, one line each; or the split is empty.
    """
    return _opened(settings, split, check=True)


def glance_data(settings: FingerprintSettings, split: Split) -> PairDataset:
    """As `open_data`, but files are listed and not looked at."""
    return _opened(settings, split, check=False)


def _opened(settings: FingerprintSettings, split: Split, *, check: bool) -> PairDataset:
    source: DrawnPrints | FilePrints
    enhancer = None if settings.fingernet is None else FingerNetEnhancer(load_fingernet(settings.fingernet))
    if settings.draws:
        source = drawn_prints(
            settings.drawn, settings.size, training=split != "validate", memory=settings.memory, enhancer=enhancer
        )
    else:
        listing = list_prints(settings.layout, settings.root)
        files = parted(listing.files, split, holdout=settings.holdout, seed=settings.seed)
        if not files:
            raise DataError(
                f"{settings.root}: nothing is left for split {split!r}: holdout is {settings.holdout:g} of "
                f"{len({file.subject for file in listing.files})} subjects."
            )
        if check:
            verify_prints(settings.root, files)
        given = read_alignments(settings.alignments, settings.size) if isinstance(settings.alignments, Path) else None
        source = FilePrints(
            files,
            settings.size,
            fit=settings.fit,
            memory=settings.memory,
            notes=listing.notes,
            alignments=given,
            enhancer=enhancer,
        )
    dataset = PairDataset(source, settings, training=split == "train")
    if not len(dataset):
        where = settings.alignments or settings.root
        raise DataError(f"{where}: split {split!r} has no pair of prints of one finger.")
    if split == "validate" and settings.samples == "matcher" and dataset.imposters == 0:
        raise DataError(
            f"{settings.root}: all {len(dataset)} pairs of validation are of one finger, and a matcher is judged by "
            f"those of two; hold out more subjects (holdout is {settings.holdout:g}), or set `imposters`."
        )
    return dataset


def splits_of(settings: FingerprintSettings) -> tuple[Split, ...]:
    """Those of training and validation that have prints."""
    splits: tuple[Split, ...] = ("train", "validate")
    if settings.draws:
        return splits
    files = list_prints(settings.layout, settings.root).files
    return tuple(split for split in splits if parted(files, split, holdout=settings.holdout, seed=settings.seed))


def sample_shapes(settings: FingerprintSettings, model: Any) -> dict[str, Tensor]:
    """Shape and type of each field without reading anything; `points` stands for genuine pairs."""
    side, roi = settings.size, settings.roi
    kinds: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "points": ((settings.points, 4), torch.float32),
        "label": ((), torch.float32),
        "finger1": ((), torch.int64),
        "finger2": ((), torch.int64),
    }
    kinds |= dict.fromkeys(("image1", "image2"), ((1, side, side), torch.float32))
    kinds |= dict.fromkeys(("roi1", "roi2"), ((1, roi, roi), torch.float32))
    kinds |= dict.fromkeys(("mask1", "mask2", "overlap"), ((side, side), torch.bool))
    return {
        name: torch.empty(shape, dtype=dtype, device="meta")
        for name, (shape, dtype) in kinds.items()
        if name in settings.fields
    }


def with_sizes(model: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's data with the model's sizes; what is given wins."""
    if data.get("samples", "dense") == "matcher":
        return {"size": model.match_size, "roi": model.roi_size, "enhance": model.enhance, **data}
    return {"size": model.dense_size, **data}


def misfits(model: Any, dataset: Any, fields: Collection[str]) -> list[str]:
    """What does not fit between a model and opened data, one sentence each."""
    wrong = []
    count = len(dataset.classes)
    reads = {"finger1", "finger2"} & set(fields)
    if reads and model.classes is not None and model.classes < count and dataset.training:
        wrong.append(f"the data have {count} fingers, the model has centers for {model.classes}")
    if dataset.settings.samples == "matcher" and dataset.settings.roi > dataset.settings.size:
        wrong.append(
            f"data.roi is {dataset.settings.roi}, larger than the picture: data.size is {dataset.settings.size}"
        )
    return wrong


LAYOUTS = tuple(DATASETS)
"""Names that `layout` knows."""
