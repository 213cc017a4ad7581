"""What the core asks of a dataset; no class needs to inherit from it."""

from typing import Protocol

import numpy as np
from torch import Tensor


class Dataset(Protocol):
    """Samples by index; the core decides which fields of them are read, and draws what is random.

    A dataset is sent to worker processes, so it must be picklable. Fields whose first axis has a length of its own in
    each sample are named in an attribute `ragged`; batches of them are padded, with a mask `NAME_mask` beside them.
    A method `together`, of a training batch and a random generator, may change a batch as a whole, such as its size;
    whether it does stands in `draws_batches`.
    Names of classes, in the order of the labels, may stand in `classes`, and what a user should know of the data, one
    sentence each, in `notes`.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a sample can hold."""
        ...

    @property
    def random(self) -> bool:
        """Whether a sample differs between epochs, so that values made of it cannot be cached."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Name of a sample for messages and reports; unique in the dataset."""
        ...

    def digest(self) -> str:
        """Hexadecimal xxh3 of file contents, names and the settings that change a sample."""
        ...

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        """Read the fields asked for, and no others.

        Args:
            index: 0 to length - 1.
            fields: which of the dataset's fields to read.
            random: the one source of all augmentation; None means no augmentation.
        """
        ...
