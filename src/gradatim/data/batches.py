"""Batches of a stage in their one true order, from any step on.

The order of an epoch is drawn from (seed, stage, epoch), a sample's augmentation from (seed, stage, epoch, index):
so a resumed stage continues with the very batches that it would have seen, with any number of workers.
"""

from collections.abc import Iterable, Iterator, Sequence
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
        self._ragged = ragged_fields(dataset)
        self._together: Any = getattr(dataset, "together", None)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:
        epoch, index = key
        random = keyed_generator(self.seed, self.stage, epoch, index) if self.dataset.random else None
        return self.dataset.sample(index, self.fields, random)

    def __getitems__(self, keys: list[Key]) -> list[dict[str, Any]]:
        """A list of one whole batch; torch's loader asks for all its samples at once where this exists."""
        return [self.batch(keys)]

    def batch(self, keys: list[Key]) -> dict[str, Any]:
        """Samples side by side, and what the data set does to a batch as a whole."""
        dataset, fields = self.dataset, self.fields
        if not dataset.random:
            return collated([dataset.sample(index, fields, None) for _, index in keys], ragged=self._ragged)
        joined = collated([self[key] for key in keys], ragged=self._ragged)
        if self._together is None:
            return joined
        epoch, first = keys[0]
        found: dict[str, Any] = self._together(joined, keyed_generator(self.seed, self.stage, epoch, first, "batch"))
        return found


def _first(batches: list[dict[str, Any]]) -> dict[str, Any]:
    return batches[0]


def batches(
    dataset: Dataset, fields: Sequence[str], order: BatchOrder, *, start: int, stop: int, workers: int = 0
) -> Iterator[dict[str, Any]]:
    """Training batches number `start` to `stop` - 1, each a dict of fields with a batch axis first."""
    keys = order.starting(start, stop)
    return keyed_batches(dataset, fields, keys, seed=order.seed, stage=order.stage, workers=workers)


def keyed_batches(
    dataset: Dataset, fields: Sequence[str], keys: Iterable[list[Key]], *, seed: int, stage: str, workers: int = 0
) -> Iterator[dict[str, Any]]:
    """Batches of the samples that each list of (epoch, index) names; augmentation is drawn from those.

    Args:
        dataset: to read.
        fields: to read of each sample.
        keys: of each batch.
        seed, stage: what augmentation is drawn from, beside the key.
        workers: processes that read; 0 reads in this one.
    """
    keyed = _Keyed(dataset, fields, seed, stage)
    if not workers:
        # torch's loader costs as much as a small model's step; without workers there is nothing for it to do.
        found = (keyed.batch(one) for one in keys)
        return map(_pinned, found) if torch.cuda.is_available() else found
    sampler: Any = keys
    loader: DataLoader[Any] = DataLoader(
        keyed, batch_sampler=sampler, num_workers=workers, pin_memory=torch.cuda.is_available(), collate_fn=_first
    )
    return (batch for batch in loader)


def ragged_fields(dataset: Dataset) -> tuple[str, ...]:
    """Fields whose first axis has a length of its own in each sample; a data set may name them in `ragged`."""
    return tuple(getattr(dataset, "ragged", ()))


def collated(samples: list[dict[str, Any]], *, ragged: Sequence[str] = ()) -> dict[str, Any]:
    """Samples side by side, a batch axis first.

    Args:
        samples: equal names; a tensor, or a flat dict of tensors, by name.
        ragged: names whose first axes differ in length; they are padded with zeros, and `NAME_mask` is true where a
            row is valid, (B, N) bool, a dict where the value is one.
    """
    batch: dict[str, Any] = {}
    for name, first in samples[0].items():
        values = [sample[name] for sample in samples]
        if name in ragged:
            batch |= _padded(name, values)
        elif isinstance(first, Tensor):
            batch[name] = torch.stack(values)
        elif isinstance(first, dict):
            batch[name] = {key: torch.stack([value[key] for value in values]) for key in first}
        else:
            batch[name] = torch.utils.data.default_collate(values)
    return batch


def _padded(name: str, values: list[Any]) -> dict[str, Any]:
    if isinstance(values[0], dict):
        each = {key: _padded(key, [value[key] for value in values]) for key in values[0]}
        return {
            name: {key: one[key] for key, one in each.items()},
            f"{name}_mask": {key: one[f"{key}_mask"] for key, one in each.items()},
        }
    lengths = torch.tensor([len(value) for value in values])
    padded = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
    return {name: padded, f"{name}_mask": torch.arange(padded.shape[1]) < lengths[:, None]}


def _pinned(value: Any) -> Any:
    """A batch in memory that a GPU reads from directly."""
    if isinstance(value, dict):
        return {name: _pinned(one) for name, one in value.items()}
    return value.pin_memory() if isinstance(value, Tensor) else value


def plain_batches(
    dataset: Dataset, fields: tuple[str, ...], batch_size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """(indices, batch) in the data set's order, without augmentation: for validation and prediction."""
    for start in range(0, len(dataset), batch_size):
        indices = list(range(start, min(start + batch_size, len(dataset))))
        yield indices, collated([dataset.sample(i, fields, None) for i in indices], ragged=ragged_fields(dataset))
