"""Where prints come from: fingers that are drawn, or files. All prints of a source are squares of one size."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from gradatim.systems.ifvit.datasets.listing import PrintFile
from gradatim.systems.ifvit.enhancement import Enhancer, GaborEnhancer
from gradatim.systems.ifvit.fingers import (
    Master,
    PrintStyle,
    SkinMap,
    impression_map,
    make_impression,
    make_master,
)
from gradatim.systems.ifvit.overlap import Mask
from gradatim.systems.ifvit.pairs import Pair
from gradatim.systems.ifvit.prints import Fit, as_bytes, as_picture, fitted, read_print
from gradatim.systems.ifvit.store import PrintStore
from gradatim.systems.ifvit.warping import Matrix, Picture, inverse
from gradatim.weights.digest import file_digest

_IMAGE, _MASK, _ENHANCED = range(3)
_OF_VALIDATION = 10**6
"""Fingers of validation are counted from here, so that no seed gives one of them to training."""


class FingersSettings(BaseModel):
    """Which fingers are drawn.

    Args:
        fingers: of training.
        validate_fingers: of validation; none of them is one of training.
        impressions: prints of each.
        seed: of everything that is drawn.
        style: how much two prints of a finger differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingers: PositiveInt = 500
    validate_fingers: PositiveInt = 50
    impressions: Annotated[int, Field(ge=2)] = 4
    seed: NonNegativeInt = 0
    style: PrintStyle = PrintStyle()


class PrintSource(Protocol):
    """Prints by index; picklable."""

    @property
    def fingers(self) -> tuple[str, ...]:
        """Names of the fingers by number."""
        ...

    @property
    def finger(self) -> NDArray[np.int64]:
        """Number of each print's finger, (N,)."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        ...

    def name(self, index: int) -> str:
        """Unique name of a print."""
        ...

    def picture(self, index: int) -> Picture:
        """(S, S) in [0, 1]."""
        ...

    def mask(self, index: int) -> Mask:
        """(S, S), where the print is."""
        ...

    def enhanced(self, index: int) -> Picture:
        """(S, S) in [0, 1], ridges made clear."""
        ...

    @property
    def listed(self) -> tuple[Pair, ...] | None:
        """The only pairs that are aligned; None where all are, or none is."""
        ...

    def skin(self, index: int) -> SkinMap | None:
        """The map from the finger to the print; None where it is not known."""
        ...

    def alignment(self, first: int, second: int) -> Matrix | None:
        """The motion that brings one print onto another, (3, 3); None where it is not known."""
        ...

    def digest(self) -> str:
        """Hexadecimal xxh3 of what decides all prints."""
        ...


class DrawnPrints:
    """Prints of fingers that do not exist; print i is number i % impressions of finger i // impressions.

    Args:
        settings: which fingers.
        size: side S.
        first: number of the first finger.
        count: of fingers.
        memory: MiB that prints which were drawn may take.
        enhancer: makes ridges clear.
    """

    notes: tuple[str, ...] = ()
    listed = None

    def __init__(
        self,
        settings: FingersSettings,
        size: int,
        first: int,
        count: int,
        memory: int,
        enhancer: Enhancer | None = None,
    ) -> None:
        self.settings, self.size, self.first, self.count = settings, size, first, count
        self.enhancer = enhancer or GaborEnhancer()
        self.finger = np.repeat(np.arange(count), settings.impressions)
        self._store = PrintStore(len(self.finger), 3, size, memory)

    @property
    def fingers(self) -> tuple[str, ...]:
        """Names of the fingers by number."""
        return tuple(f"finger_{self.first + number:07d}" for number in range(self.count))

    def name(self, index: int) -> str:
        """Unique name of a print."""
        finger, number = divmod(index, self.settings.impressions)
        return f"finger_{self.first + finger:07d}_{number + 1}"

    def picture(self, index: int) -> Picture:
        """(S, S) in [0, 1]."""
        return as_picture(self._drawn(index)[0])

    def mask(self, index: int) -> Mask:
        """(S, S), where the finger touches."""
        return self._drawn(index)[1] > 0

    def enhanced(self, index: int) -> Picture:
        """(S, S) in [0, 1], ridges made clear."""
        return _kept_enhanced(self._store, index, self)

    def skin(self, index: int) -> SkinMap:
        """The map from the finger's master to the print."""
        finger, number = divmod(index, self.settings.impressions)
        settings = self.settings
        return impression_map(settings.seed, self.first + finger, number, size=self.size, style=settings.style)

    def alignment(self, first: int, second: int) -> Matrix:
        """The rigid part of the map between two prints; of two fingers, as if they were one."""
        return _pose(self.skin(second)) @ inverse(_pose(self.skin(first)))

    def digest(self) -> str:
        """Hexadecimal xxh3 of the settings."""
        text = f"fingers 1 {self.size} {self.first} {self.count} {self.settings.model_dump_json()}"
        return xxhash.xxh3_128_hexdigest(text.encode())

    def _drawn(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Picture and mask; a finger's other prints are drawn with it, as long as they are kept."""
        image, mask = self._store.get(index, _IMAGE), self._store.get(index, _MASK)
        if image is not None and mask is not None:
            return image, mask
        finger = index // self.settings.impressions
        start = finger * self.settings.impressions
        kept = range(start, min(start + self.settings.impressions, self._store.kept))
        for other in kept:
            self._store_print(other)
        image, mask = self._store.get(index, _IMAGE), self._store.get(index, _MASK)
        return self._draw(index) if image is None or mask is None else (image, mask)

    def _store_print(self, index: int) -> None:
        image, mask = self._draw(index)
        self._store.put(index, _IMAGE, image)
        self._store.put(index, _MASK, mask)

    def _draw(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        finger, number = divmod(index, self.settings.impressions)
        master = _master(self.settings.seed, self.first + finger, self.size)
        drawn = make_impression(master, number, self.settings.style)
        return drawn.image, drawn.mask.astype(np.uint8)


@lru_cache(maxsize=32)
def _master(seed: int, finger: int, size: int) -> Master:
    return make_master(seed, finger, size=size)


class FilePrints:
    """Prints in files, which were checked.

    Args:
        files: of the prints, in order.
        size: side S.
        fit: how a print comes to be a square.
        memory: MiB that prints which were read may take.
        notes: what a user should know.
        alignments: motion from one print to another, (3, 3), by the names of both; those of prints that are not among
            the files do not matter. None where nothing is aligned.
        enhancer: makes ridges clear, and finds where they are.
    """

    def __init__(
        self,
        files: Sequence[PrintFile],
        size: int,
        *,
        fit: Fit,
        memory: int,
        notes: tuple[str, ...] = (),
        alignments: Mapping[tuple[str, str], Matrix] | None = None,
        enhancer: Enhancer | None = None,
    ) -> None:
        self.enhancer = enhancer or GaborEnhancer()
        self.files, self.size, self.fit, self.notes = tuple(files), size, fit, notes
        self.fingers = tuple(dict.fromkeys(file.finger for file in files))
        numbers = {name: number for number, name in enumerate(self.fingers)}
        self.finger = np.array([numbers[file.finger] for file in files], np.int64)
        self._store = PrintStore(len(files), 3, size, memory)
        indices = {self.name(index): index for index in range(len(files))}
        self._alignments = {
            (indices[first], indices[second]): matrix
            for (first, second), matrix in (alignments or {}).items()
            if first in indices and second in indices
        }
        self.listed = None if alignments is None else self._listed()

    def name(self, index: int) -> str:
        """Finger and impression of a print."""
        file = self.files[index]
        return f"{file.finger}/{file.impression}"

    def picture(self, index: int) -> Picture:
        """(S, S) in [0, 1]."""
        kept = self._store.get(index, _IMAGE)
        if kept is None:
            read = fitted(read_print(self.files[index].path), self.size, fit=self.fit)
            kept = as_bytes(read)
            self._store.put(index, _IMAGE, kept)
        return as_picture(kept)

    def mask(self, index: int) -> Mask:
        """(S, S), where the print has ridges."""
        kept = self._store.get(index, _MASK)
        if kept is None:
            kept = self.enhancer.mask(self.picture(index)).astype(np.uint8)
            self._store.put(index, _MASK, kept)
        return kept > 0

    def enhanced(self, index: int) -> Picture:
        """(S, S) in [0, 1], ridges made clear."""
        return _kept_enhanced(self._store, index, self)

    def skin(self, index: int) -> None:
        """Nobody knows."""
        return

    def alignment(self, first: int, second: int) -> Matrix | None:
        """The motion that brings one print onto another; None where it was not given."""
        return self._alignments.get((first, second))

    def digest(self) -> str:
        """Hexadecimal xxh3 of all files' contents, their fingers and the size."""
        state = xxhash.xxh3_128(f"prints 1 {self.size} {self.fit}".encode())
        for file in self.files:
            state.update(f"\n{file.finger}\t{file.impression}\t{file_digest(file.path)}".encode())
        for (first, second), matrix in self._alignments.items():
            state.update(f"\n{first}\t{second}".encode() + matrix.tobytes())
        return state.hexdigest()

    def _listed(self) -> tuple[Pair, ...]:
        return tuple(
            Pair(first, second, bool(self.finger[first] == self.finger[second])) for first, second in self._alignments
        )


def _kept_enhanced(store: PrintStore, index: int, source: DrawnPrints | FilePrints) -> Picture:
    kept = store.get(index, _ENHANCED)
    if kept is None:
        kept = as_bytes(source.enhancer(source.picture(index), source.mask(index)))
        store.put(index, _ENHANCED, kept)
    return as_picture(kept)


def drawn_prints(
    settings: FingersSettings, size: int, *, training: bool, memory: int, enhancer: Enhancer | None = None
) -> DrawnPrints:
    """The fingers of training, or those of validation."""
    first = 0 if training else _OF_VALIDATION
    count = settings.fingers if training else settings.validate_fingers
    return DrawnPrints(settings, size, first, count, memory, enhancer)


def _pose(skin: SkinMap) -> Matrix:
    """The rigid part of a print's map, from the master's points to the print's."""
    whole = np.eye(3)
    whole[:2, :2], whole[:2, 2] = skin.matrix, skin.shift
    return whole
