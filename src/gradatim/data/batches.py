"""Batches of a stage in their one true order, from any step on.

The order of an epoch is drawn from (seed, stage, epoch), a sample's augmentation from (seed, stage, epoch, index):
so a resumed stage continues with the very batches that it would have seen, with any number of workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gradatim.data.dataset import Dataset
from gradatim.data.random import keyed_generator

Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class BatchOrder:
    """Which samples each batch of a stage holds.

    Args:
        samples: number of samples.
        batch_size: in one process.
        seed: of the plan.
        stage: name of the stage.
        rank, world: this process, and how many share the samples.
    """

    samples: int
    batch_size: int
    seed: int
    stage: str
    rank: int = 0
    world: int = 1

    @property
    def per_epoch(self) -> int:
        """Batches of one epoch in each process; the last may be smaller."""
        return -(-self.samples // (self.batch_size * self.world))

    def epoch(self, epoch: int) -> list[list[Key]]:
        """(epoch, index) of every sample in every batch of an epoch."""
        order = keyed_generator(self.seed, self.stage, epoch).permutation(self.samples)
        whole = self.batch_size * self.world
        keys = [(epoch, index) for index in order.tolist()]
        return [keys[i : i + whole][self.rank :: self.world] for i in range(0, self.samples, whole)]

    def starting(self, batch: int, stop: int) -> Iterator[list[Key]]:
        """Batches number `batch` to `stop` - 1, counted from the start of the stage."""
        epoch, skip = divmod(batch, self.per_epoch)
        while batch < stop:
            for keys in self.epoch(epoch)[skip:]:
                if batch == stop:
                    return
                yield keys
                batch += 1
            epoch, skip = epoch + 1, 0


class _Keyed(TorchDataset[dict[str, Tensor]]):
    """A data set addressed by (epoch, index), so that workers carry no state."""

    def __init__(self, dataset: Dataset, fields: Sequence[str], seed: int, stage: str) -> None:
        self.dataset, self.fields, self.seed, self.stage = dataset, tuple(fields), seed, stage

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, index = key
        random = keyed_generator(self.seed, self.stage, epoch, index) if self.dataset.random else None
        return self.dataset.sample(index, self.fields, random)

    def __getitems__(self, keys: list[Key]) -> list[dict[str, Tensor]]:
        """All samples of a batch at once; torch's loader asks for this where it exists."""
        if self.dataset.random:
            return [self[key] for key in keys]
        sample, fields = self.dataset.sample, self.fields
        return [sample(index, fields, None) for _, index in keys]


class _Keys:
    """A batch sampler that starts anywhere; iterated once."""

    def __init__(self, order: BatchOrder, start: int, stop: int) -> None:
        self.order, self.start, self.stop = order, start, stop

    def __iter__(self) -> Iterator[list[Key]]:
        return self.order.starting(self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start


def batches(
    dataset: Dataset, fields: Sequence[str], order: BatchOrder, *, start: int, stop: int, workers: int = 0
) -> Iterator[dict[str, Any]]:
    """Training batches number `start` to `stop` - 1, each a dict of fields with a batch axis first."""
    keyed = _Keyed(dataset, fields, order.seed, order.stage)
    if not workers:
        # torch's loader costs as much as a small model's step; without workers there is nothing for it to do.
        found = (_collated(keyed.__getitems__(keys)) for keys in order.starting(start, stop))
        return map(_pinned, found) if torch.cuda.is_available() else found
    sampler: Any = _Keys(order, start, stop)
    loader: DataLoader[Any] = DataLoader(
        keyed, batch_sampler=sampler, num_workers=workers, pin_memory=torch.cuda.is_available()
    )
    return iter(loader)


def _collated(samples: list[dict[str, Tensor]]) -> dict[str, Any]:
    """Samples side by side, a batch axis first."""
    if all(isinstance(value, Tensor) for value in samples[0].values()):
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    return dict(torch.utils.data.default_collate(samples))


def _pinned(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch in memory that a GPU reads from directly."""
    return {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}


def plain_batches(
    dataset: Dataset, fields: tuple[str, ...], batch_size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """(indices, batch) in the data set's order, without augmentation: for validation and prediction."""
    for start in range(0, len(dataset), batch_size):
        indices = list(range(start, min(start + batch_size, len(dataset))))
        yield indices, torch.utils.data.default_collate([dataset.sample(i, fields, None) for i in indices])
