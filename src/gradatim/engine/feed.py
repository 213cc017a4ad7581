"""Batches of a stage with the values that a feature store holds; and proof that those are what would be computed."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatim.data.batches import BatchOrder, Key, keyed_batches
from gradatim.data.dataset import Dataset
from gradatim.engine.extract import given_values, nested, restored
from gradatim.engine.features import Prefix, flat
from gradatim.errors import DataError, GuardError
from gradatim.features.reading import asked_ahead, gathered_ahead, grouped, pace_of
from gradatim.features.store import Buffer as StoreBuffer
from gradatim.features.store import FeatureStore
from gradatim.task import MASK

_Chosen = tuple[list[Key], np.ndarray]
_SECOND = itemgetter(1)
_TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-3, "bfloat16": 1.6e-2}
_AUTOCAST = 3e-2
_TF32 = 4e-3
CHECKED = 2
"""Batches at a stage's start whose stored values are compared with computed ones."""


class Feed:
    """Stored values of a stage's samples.

    Args:
        stores: complete.
        samples: in the data set.
        views: kept of each sample.
        hold: batches that are in use at a time.
        pinned: whether a GPU reads them.
    """

    def __init__(
        self, stores: Sequence[FeatureStore], samples: int, views: int, *, hold: int = 1, pinned: bool = False
    ) -> None:
        self.stores = tuple(stores)
        self.names = tuple(given_values(stores))
        self.views, self._samples, self._hold, self._pinned = views, samples, hold, pinned
        self._absent = tuple(name for store in stores for name in store.about.get("absent", ()))
        self._plain = not any(store.converted for store in stores)
        wrong = [f"{store.folder}: {len(store)} samples" for store in stores if len(store) != samples * views]
        if wrong:
            raise DataError(f"features of {samples} samples, {views} of each, are wanted; {', '.join(wrong)}")
        self._ring: dict[int, deque[list[StoreBuffer]]] = {}

    def rows(self, keys: Sequence[Key]) -> np.ndarray:
        """Rows of the stores that hold these (epoch, index)."""
        if self.views == 1:
            return np.fromiter(map(_SECOND, keys), np.int64, len(keys))
        return np.array([epoch % self.views * self._samples + index for epoch, index in keys], np.int64)

    def gather(self, rows: np.ndarray) -> dict[str, Any]:
        """Values of these rows as they are stored; valid until `hold` more batches were read."""
        return self._gather([rows], self._buffers(len(rows), self._hold))[0]

    def _gather(self, batches: Sequence[np.ndarray], buffers: Sequence[StoreBuffer]) -> list[dict[str, Any]]:
        """Values of several batches, which one copy from each store brings."""
        stored = [store.gather_batches(batches, buffer) for store, buffer in zip(self.stores, buffers, strict=True)]
        merged = (
            {name: value for one in values for name, value in one.items()} for values in zip(*stored, strict=True)
        )
        return [nested(values, self._absent) for values in merged]

    def _buffers(self, size: int, count: int) -> list[StoreBuffer]:
        """Memory for so many samples, the one used longest ago of `count`."""
        if self._pinned:
            # The allocator of pinned memory waits for copies under way before it gives a block out again.
            return [store.buffer(size, pinned=True) for store in self.stores]
        ring = self._ring.setdefault(size, deque())
        if len(ring) < count:
            ring.append([store.buffer(size) for store in self.stores])
        else:
            ring.rotate(-1)
        return ring[-1]

    def restored(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values on the device in the dtype that they were computed in; changes and returns `values`."""
        if not self._plain:
            for store in self.stores:
                restored(store, values)
        return values

    def batches(
        self, dataset: Dataset, fields: Sequence[str], order: BatchOrder, *, start: int, stop: int, workers: int
    ) -> Iterator[dict[str, Any]]:
        """Batches number `start` to `stop` - 1: stored values, and the fields that are not stored."""
        yield from self.keyed(dataset, fields, order.starting(start, stop), order, workers)

    def keyed(
        self, dataset: Dataset, fields: Sequence[str], keys: Iterable[list[Key]], order: BatchOrder, workers: int
    ) -> Iterator[dict[str, Any]]:
        """Batches of these (epoch, index)."""
        named = ((one, self.rows(one)) for one in keys)
        chosen = asked_ahead(named, _SECOND, [store.records for store in self.stores], order.batch_size)
        if not fields:
            pace = pace_of(order.batch_size * sum(store.schema.stride for store in self.stores))
            size, count = pace.at_once * order.batch_size, pace.buffers(self._hold)
            groups = grouped((rows for _, rows in chosen), pace.at_once)
            gathers = (partial(self._gather, group, self._buffers(size, count)) for group in groups)
            for group in gathered_ahead(gathers, pace.under_way):
                yield from group
            return
        mine, theirs = _two(chosen)
        drawn = ([(epoch % self.views, index) for epoch, index in one] for one, _ in theirs)
        source = keyed_batches(dataset, fields, drawn, seed=order.seed, stage=order.stage, workers=workers)
        for batch in source:
            _, rows = next(mine)
            yield {**batch, **self.gather(rows)}

    def close(self) -> None:
        """Close the stores."""
        for store in self.stores:
            store.close()


def _two(batches: Iterator[_Chosen]) -> tuple[Iterator[_Chosen], Iterator[_Chosen]]:
    """The same twice; the second reader leads, the first follows any number behind."""
    held: deque[_Chosen] = deque()

    def leading() -> Iterator[_Chosen]:
        for one in batches:
            held.append(one)
            yield one

    def following() -> Iterator[_Chosen]:
        while held:
            yield held.popleft()

    return following(), leading()


def check_live(prefix: Prefix, feed: Feed, order: BatchOrder) -> dict[str, float]:
    """Compute the first batches of a stage live and compare them with what is stored.

    Returns:
        The largest difference of each value, relative to the value's own size.

    Raises:
        GuardError: a stored value is not what the parts compute now; names value, sample and difference.
    """
    worst: dict[str, float] = {}
    wanted = [name for name in feed.names if any(name in call.names.makes for call in prefix.task.steps)]
    if not wanted:
        return worst
    for keys in islice(order.starting(0, CHECKED), CHECKED):
        given = feed.restored(prefix.place.send(feed.gather(feed.rows(keys))))
        stored = flat(given)
        views = [[(epoch % feed.views, index) for epoch, index in keys]]
        batch = next(_live_batches(prefix, views, wanted))
        for name, (value, from_stored) in _both_ways(prefix, batch, given, wanted).items():
            error = torch.minimum(_difference(stored[name], value), _difference(stored[name], from_stored))
            limit = _limit(prefix, feed, name)
            place = int(error.argmax()) if len(error) else 0
            worst[name] = max(worst.get(name, 0.0), float(error.max()) if len(error) else 0.0)
            if len(error) and not float(error[place]) <= limit:
                raise GuardError(
                    f"stage {prefix.stage.name!r}: stored value {name!r} of sample "
                    f"{prefix.samples.dataset.name(keys[place][1])!r} differs from the computed one by "
                    f"{float(error[place]):.3g} of its size; at most {limit:.2g} is rounding. The features are not "
                    f"those of this model and data: remove {feed.stores[0].folder.parent}, or `cache: off`"
                )
    return worst


def _both_ways(
    prefix: Prefix, batch: Mapping[str, Any], given: Mapping[str, Any], wanted: Sequence[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Each value computed from the sample alone, and from the stored values of the steps before its own.

    Either may be what the store holds: where earlier steps were stored before, their rounding is in it.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    live = prefix.compute(batch, wanted)
    for call in prefix.task.steps:
        made = [name for name in wanted if name in call.names.makes]
        if not made:
            continue
        earlier = {name: value for name, value in given.items() if name not in call.names.makes}
        linked = prefix.compute({**batch, **earlier}, made) if set(earlier) & set(call.names.reads) else live
        ones, others = (_valid_rows(flat({name: values[name] for name in made})) for values in (live, linked))
        found |= {name: (value, others[name]) for name, value in ones.items()}
    return found


def _live_batches(prefix: Prefix, keys: Iterable[list[Key]], wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    samples = prefix.samples
    rows = [[view * len(samples.dataset) + index for view, index in one] for one in keys]
    return samples.batches(prefix.fields_for(wanted), rows)


def _valid_rows(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values as a store gives them: as long as the longest, zero where a mask says that nothing is valid."""
    found = dict(values)
    for name, value in values.items():
        mask = values.get(name + MASK)
        if mask is None:
            continue
        longest = int(mask.sum(1).max())
        spread = mask[:, :longest].reshape(len(mask), longest, *[1] * (value.ndim - 2))
        found[name] = value[:, :longest].masked_fill(~spread, 0)
        found[name + MASK] = mask[:, :longest]
    return found


def _difference(stored: Tensor, live: Tensor) -> Tensor:
    """Largest difference of each sample, relative to the entry's size or the sample's root mean square, (B,)."""
    if stored.shape != live.shape:
        return torch.full((len(live),), float("inf"))
    if not live.dtype.is_floating_point:
        return (stored != live).reshape(len(live), -1).any(1).float()
    a, b = stored.double().reshape(len(live), -1), live.double().reshape(len(live), -1)
    if not b.shape[1]:
        return torch.zeros(len(live))
    size = b.abs() + b.square().mean(1, keepdim=True).sqrt()
    # A number that is not finite is for the guard of the loss to judge, as long as it is the same one.
    same = (a == b) | (a.isnan() & b.isnan())
    apart = ((a - b).abs() / size.nan_to_num(1.0).clamp_min(1e-30)).nan_to_num(nan=float("inf"))
    return torch.where(same, 0.0, apart).amax(1).cpu()


def _limit(prefix: Prefix, feed: Feed, name: str) -> float:
    """Difference that rounding explains: by the stored dtype, and by the kernels' own precision."""
    stored: Mapping[str, str] = {field.name: field.dtype for store in feed.stores for field in store.schema.fields}
    limit = _TOLERANCE.get(stored.get(name, ""), 0.0)
    if limit and prefix.stage.precision == "bf16-mixed":
        limit = max(limit, _AUTOCAST)
    if limit and prefix.place.device.type == "cuda":
        limit = max(limit, _TF32)
    return limit
