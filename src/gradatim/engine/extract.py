"""Fill the feature stores of a stage: shard by shard, by any number of processes, from where it was left."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradatim.engine.features import FIELDS, Prefix, Target, flat, shard_rows
from gradatim.errors import GradatimError
from gradatim.features.shelf import Shelf
from gradatim.features.store import FeatureStore, StoreWriter

_POLL = 0.2


@dataclass(kw_only=True)
class _Group:
    """Stores that are filled together: their shards hold the same samples."""

    targets: list[Target]
    writers: list[StoreWriter] = field(default_factory=list)

    def missing(self) -> list[int]:
        return sorted({shard for writer in self.writers for shard in writer.missing()})


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the features of a stage are.

    Args:
        values: that are computed now.
        done, total: samples.
        seconds: since this process began.
        computed: samples that this process computed.
    """

    values: tuple[str, ...]
    done: int
    total: int
    seconds: float
    computed: int

    @property
    def left(self) -> float | None:
        """Seconds to the end at the speed so far."""
        return self.seconds / self.computed * (self.total - self.done) if self.computed else None


def fill(
    prefix: Prefix,
    targets: Sequence[Target],
    shelf: Shelf,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    rank: int = 0,
    world: int = 1,
) -> list[FeatureStore]:
    """Compute what is missing of the stores, and open them.

    Shard k belongs to process k mod `world`; who is done early takes what others have not begun. A shard is claimed by
    a lock that ends with its process, so none is computed twice, and one that was not finished is computed again.

    Args:
        prefix: that computes.
        targets: stores, in the order of their steps.
        shelf: where they stand.
        report: hears of progress.
        rank, world: this process, and how many fill the same stores.

    Returns:
        The stores, complete and verified, in the order of `targets`.

    Raises:
        DataError: a store is damaged, a sample cannot be read, the disk is full; finished shards are kept.
    """
    stores: dict[str, FeatureStore] = {}
    for group in _groups(prefix, targets, shelf):
        _open_complete(targets, shelf, stores)
        _fill_group(prefix, group, list(stores.values()), report, rank, world)
    _open_complete(targets, shelf, stores)
    return [stores[target.key] for target in targets if target.key in stores]


def _open_complete(targets: Sequence[Target], shelf: Shelf, stores: dict[str, FeatureStore]) -> None:
    """Add what is complete to `stores`, by key; verified, which reads all of it, so no store is opened twice."""
    for target in targets:
        if target.key not in stores and (store := shelf.opened(target.about)) is not None:
            stores[target.key] = store


def _groups(prefix: Prefix, targets: Sequence[Target], shelf: Shelf) -> list[_Group]:
    """Targets with missing shards, those that can be computed together side by side."""
    wanted = shard_rows(targets)
    groups: dict[Any, _Group] = {}
    for target in targets:
        if shelf.complete(target.about):
            continue
        writer = shelf.begin(target.about, target.schema, len(prefix.samples), wanted[target.key])
        writer.remove_leftovers()
        group = groups.setdefault((target.name == FIELDS, writer.rows_per_shard), _Group(targets=[]))
        group.targets.append(target)
        group.writers.append(writer)
    return list(groups.values())


def _fill_group(
    prefix: Prefix,
    group: _Group,
    ready: list[FeatureStore],
    report: Callable[[Progress], None],
    rank: int,
    world: int,
) -> None:
    work = _Work(prefix=prefix, group=group, ready=ready, report=report)
    total = group.writers[0].shards
    order = [*range(rank, total, world), *(shard for shard in range(total) if shard % world != rank)]
    work.tell()
    while missing := group.missing():
        before = len(missing)
        for shard in [shard for shard in order if shard in missing]:
            work.fill(shard)
        if len(group.missing()) == before:
            time.sleep(_POLL)  # others hold what is left
    for writer in group.writers:
        writer.seal()


@dataclass(kw_only=True)
class _Work:
    """One process's share in filling a group of stores."""

    prefix: Prefix
    group: _Group
    ready: list[FeatureStore]
    report: Callable[[Progress], None]
    computed: int = 0
    started: float = field(default_factory=time.perf_counter)

    def tell(self, extra: int = 0) -> None:
        """Report how many samples are done in all processes; those of an open shard are `extra`."""
        writer = self.group.writers[0]
        missing = sum(len(writer.range_of(shard)) for shard in self.group.missing())
        self.report(
            Progress(
                values=tuple(value for target in self.group.targets for value in target.values),
                done=min(writer.rows, writer.rows - missing + extra),
                total=writer.rows,
                seconds=time.perf_counter() - self.started,
                computed=self.computed,
            )
        )

    def fill(self, shard: int) -> None:
        """Compute a shard in every store of the group that lacks it, unless another process does."""
        with ExitStack() as stack:
            chosen = [
                (target, writer)
                for target, writer in zip(self.group.targets, self.group.writers, strict=True)
                if stack.enter_context(writer.claimed(shard))
            ]
            if not chosen:
                return
            shards = [stack.enter_context(writer.shard(shard)) for _, writer in chosen]
            want = [value for target, _ in chosen for value in target.values]
            rows = chosen[0][1].range_of(shard)
            for values, count in self._computed(rows, want):
                for (target, writer), one in zip(chosen, shards, strict=True):
                    writer.append(one, flat({name: values[name] for name in target.values}))
                self.computed += count
                self.tell(extra=shards[0].written)
        self.tell()

    def _computed(self, rows: range, want: Sequence[str]) -> Any:
        """(values, samples) of each batch of a shard."""
        prefix, size = self.prefix, self.prefix.stage.batch_size
        from_stores = given_values(self.ready)
        fields = prefix.fields_for(want, from_stores.keys())
        batches = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
        source = prefix.samples.batches(fields, batches, prefix.stage.workers)
        for chosen, batch in zip(batches, source, strict=True):
            known = {name: value for store in self.ready for name, value in read(store, np.array(chosen)).items()}
            try:
                values = prefix.compute({**batch, **known}, want)
            except GradatimError as error:
                raise type(error)(f"samples {chosen[0]} to {chosen[-1]}: {error}") from error
            yield values, len(chosen)


def given_values(stores: Sequence[FeatureStore]) -> dict[str, None]:
    """Names of values that stores hold, masks included, and those that are known to be absent."""
    names = [name.partition(".")[0] for store in stores for name in store.names]
    masks = [f"{field.name.partition('.')[0]}_mask" for store in stores for field in store.schema.ragged]
    absent = [name for store in stores for name in store.about.get("absent", ())]
    return dict.fromkeys((*names, *masks, *absent))


def read(store: FeatureStore, rows: np.ndarray, buffer: Any = None) -> dict[str, Any]:
    """Values of these rows as a step would give them: dicts nested, absent ones None, dtypes as computed."""
    return restored(store, nested(store.gather(rows, buffer=buffer), store.about.get("absent", ())))


def nested(values: Mapping[str, Any], absent: Sequence[str]) -> dict[str, Any]:
    """`value.key` back into dicts; absent values are None."""
    found: dict[str, Any] = dict.fromkeys(absent)
    for name, value in values.items():
        stem, dot, key = name.partition(".")
        if not dot:
            found[name] = value
        elif key.endswith("_mask") and key.removesuffix("_mask") and name.removesuffix("_mask") in values:
            found.setdefault(f"{stem}_mask", {})[key.removesuffix("_mask")] = value
        else:
            found.setdefault(stem, {})[key] = value
    return found


def restored(store: FeatureStore, values: dict[str, Any]) -> dict[str, Any]:
    """Values in the dtype that they were computed in; changes and returns `values`."""
    for name, dtype in store.converted.items():
        stem, dot, key = name.partition(".")
        if dot:
            values[stem][key] = values[stem][key].to(dtype)
        else:
            values[stem] = values[stem].to(dtype)
    return values
