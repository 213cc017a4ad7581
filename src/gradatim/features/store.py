"""The feature store: named arrays of many samples, written once and read at random at the speed of memory."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatim.data.random import keyed_generator
from gradatim.errors import DataError, unknown
from gradatim.features.mapping import MappedRecords
from gradatim.features.reading import asked_ahead, gathered_ahead, grouped, pace_of
from gradatim.features.schema import DTYPES, PAGE, Field, Schema
from gradatim.features.sealed import read_sealed, write_sealed
from gradatim.features.shards import (
    FORMAT,
    HEADER,
    Claim,
    ShardWriter,
    as_stored,
    facts_path,
    forget,
    read_facts,
    shard_name,
    told_when_full,
)
from gradatim.files import is_temporary
from gradatim.task import MASK
from gradatim.weights.digest import file_digest


class StoreWriter:
    """A store that is being filled, by any number of processes; `FeatureStore.create` makes one.

    Args:
        folder: of the store, which holds its `store.json`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = _read_about(folder)
        self.schema = Schema.from_json(self.about["fields"])
        self.rows: int = self.about["rows"]
        self.rows_per_shard: int = self.about["rows_per_shard"]

    @property
    def shards(self) -> int:
        """Number of shards of the finished store."""
        return -(-self.rows // self.rows_per_shard)

    def range_of(self, shard: int) -> range:
        """Indices of the samples in a shard."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, self.rows))

    def missing(self) -> list[int]:
        """Shards that are not complete yet."""
        return [shard for shard in range(self.shards) if not facts_path(self.folder, shard).is_file()]

    @contextmanager
    def claimed(self, shard: int) -> Iterator[bool]:
        """Hold a shard for this process; gives whether it is free and still missing."""
        claim = Claim(self.folder, shard)
        try:
            mine = claim.take() and not facts_path(self.folder, shard).is_file()
            if mine:
                # Who wrote these held the claim, and lives no more.
                for path in self.folder.glob(f".shard-{shard:05d}.*.part"):
                    path.unlink(missing_ok=True)
            yield mine
        finally:
            claim.give_back()

    @contextmanager
    def shard(self, shard: int) -> Iterator[ShardWriter]:
        """Write one shard, which is complete after the block and absent after an error in it."""
        about = {"store": str(self.about.get("key", "")), "first": str(self.range_of(shard).start)}
        writer = ShardWriter(self.folder, shard, self.schema, len(self.range_of(shard)), about)
        try:
            yield writer
            writer.finish()
        finally:
            writer.discard()

    def append(self, writer: ShardWriter, values: Mapping[str, Tensor | None]) -> None:
        """Give the next samples to a shard's writer.

        Args:
            writer: from `shard`.
            values: arrays by name, a batch axis first; beside a ragged one its mask, (B, N) bool; None: all valid.

        Raises:
            DataError: shapes or dtypes are not the schema's, a number does not fit the dtype, the disk is full.
        """
        stored, lengths = {}, {}
        for field in self.schema.fields:
            value = values.get(field.name)
            if value is None:
                raise DataError(f"feature store: {unknown('value', field.name, values)}")
            count = len(next(one for one in values.values() if one is not None)) if value.ndim else -1
            if not value.ndim or len(value) != count:
                raise DataError(f"value {field.name!r} of {tuple(value.shape)}: the first axis of all is the batch")
            found = tuple(value.shape[2:] if field.ragged else value.shape[1:])
            if found != field.shape:
                raise DataError(
                    f"value {field.name!r} of {writer.written + self.range_of(0).start} on has shape {found} a sample; "
                    f"the store holds {field.shape}. Values whose length differs by sample need a mask beside them, "
                    f"{field.name + MASK!r}"
                )
            stored[field.name] = as_stored(field, value)
            if field.ragged:
                mask = values.get(field.name + MASK)
                lengths[field.name] = _lengths(field.name, value, mask)
        writer.append(stored, lengths)

    def finish(self) -> "FeatureStore | None":
        """Write the index if all shards are complete, and open the store; None where some are missing.

        Raises:
            DataError: a shard that was written before is damaged.
        """
        return FeatureStore.open(self.folder) if self.seal() else None

    def seal(self) -> bool:
        """Write the index if all shards are complete; gives whether they are."""
        if self.missing():
            return False
        shards = [read_facts(self.folder, shard) for shard in range(self.shards)]
        content = {"format": FORMAT, "store": file_digest(self.folder / "store.json"), "shards": shards}
        with told_when_full(self.folder, "the index"):
            write_sealed(self.folder / "index.json", content)
        for path in self.folder.glob("*.lock"):
            path.unlink(missing_ok=True)
        return True

    def remove_leftovers(self) -> None:
        """Remove what killed processes left of files that nobody is writing now."""
        for path in self.folder.glob(".*.part"):
            owner = path.name.removesuffix(".part").removesuffix(".payload").rpartition(".")[2]
            if is_temporary(path) and owner.isdecimal() and not Path(f"/proc/{owner}").exists():
                path.unlink(missing_ok=True)


def _lengths(name: str, value: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.full((len(value),), value.shape[1], dtype=torch.int64)
    lengths = mask.sum(1).cpu()
    straight = torch.arange(value.shape[1]) < lengths[:, None]
    if not torch.equal(straight, mask.cpu()):
        raise DataError(f"mask {name + MASK!r} has gaps: valid rows must come first")
    return lengths


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / "store.json"
    try:
        about = read_sealed(path, _REMEDY)
    except FileNotFoundError:
        raise DataError(f"{folder}: no feature store; `FeatureStore.create` makes one") from None
    if about.get("format") != FORMAT:
        raise DataError(f"{path}: format {about.get('format')!r}; this version reads {FORMAT!r}")
    return about


_REMEDY = "remove the folder, and the features are computed again"


class FeatureStore:
    """A complete store, open for reading; `FeatureStore.open` opens one, `FeatureStore.create` begins one.

    Indexing gives one sample, `gather` a batch, `batches` an epoch, `dataset` something for torch's loaders.
    """

    def __init__(self, folder: Path, shards: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about = about
        self.schema = Schema.from_json(about["fields"])
        self._rows: int = about["rows"]
        self._ragged = self.schema.ragged
        self.bytes = sum(int(shard["bytes"]) for shard in shards)
        """Bytes on the disk."""
        files = [folder / shard_name(number) for number in range(len(shards))]
        rows = [int(shard["rows"]) for shard in shards]
        self.records = MappedRecords(files, rows, HEADER, self.schema.stride)
        self._payloads = [np.memmap(file, np.uint8, "r") for file in files] if self.schema.ragged else []
        self._rows_in = rows
        self.converted = {
            field.name: DTYPES[field.given] for field in self.schema.fields if field.given not in ("", field.dtype)
        }
        """Dtype that each value was computed in, where it is stored in another one."""
        self._idle: dict[int, list[Buffer]] = {}

    # -- making and opening --------------------------------------------------------------------------

    @staticmethod
    def create(
        folder: Path | str,
        fields: Mapping[str, tuple[int, ...]] | Sequence[Field],
        *,
        rows: int,
        dtype: str = "float32",
        about: Mapping[str, Any] | None = None,
        shard_bytes: int = 128 << 20,
        rows_per_shard: int | None = None,
    ) -> StoreWriter:
        """Begin a store, or go on with one that is half written.

        Args:
            folder: of the store.
            fields: shape of one sample's array by name, all of `dtype`; or fields in detail.
            rows: number of samples.
            dtype: as stored.
            about: JSON values that tell where the arrays come from; kept in `store.json`.
            shard_bytes: about the size of one file.
            rows_per_shard: samples in one file, instead; rounded up to whole pages.

        Raises:
            DataError: the folder holds another store.
        """
        folder = Path(folder)
        if isinstance(fields, Mapping):
            fields = [Field(name=name, shape=tuple(shape), dtype=dtype) for name, shape in fields.items()]
        schema = Schema(tuple(fields))
        content: dict[str, Any] = {
            "format": FORMAT,
            "rows": rows,
            "rows_per_shard": schema.rows_per_shard(shard_bytes)
            if rows_per_shard is None
            else -(-rows_per_shard // schema.rows_unit) * schema.rows_unit,
            "fields": schema.to_json(),
            **json.loads(json.dumps(about or {}, default=str)),
        }
        content.pop("digest", None)
        if (folder / "store.json").is_file():
            known = _read_about(folder)
            changed = [name for name in ("rows", "fields", "key") if known.get(name) != content.get(name)]
            if changed:
                raise DataError(f"{folder}: holds another feature store ({', '.join(changed)} differ)")
        else:
            with told_when_full(folder, "store.json"):
                write_sealed(folder / "store.json", content)
        return StoreWriter(folder)

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> "FeatureStore":
        """Open a complete store.

        Args:
            folder: of the store.
            verify: read every shard and compare its checksum; else only sizes and the index are checked.

        Raises:
            DataError: shards are missing or damaged, each named.
        """
        folder = Path(folder)
        about = _read_about(folder)
        index = _read_index(folder)
        wrong = damaged(folder, index, deep=verify)
        if wrong:
            raise DataError("\n".join(wrong))
        return cls(folder, index["shards"], about)

    # -- reading --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._rows

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored values."""
        return tuple(field.name for field in self.schema.fields)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sample: arrays by name, of its own length where that varies."""
        if not -self._rows <= index < self._rows:
            raise IndexError(f"sample {index} of {self._rows}")
        batch = self.gather([index % self._rows])
        return {name: array[0] for name, array in batch.items() if name in self.names}

    def gather(self, indices: Sequence[int] | np.ndarray, *, buffer: "Buffer | None" = None) -> dict[str, Tensor]:
        """Samples side by side, (B, ...) each; ragged values are padded with zeros, with a mask beside them.

        Args:
            indices: of samples, in any order.
            buffer: memory to use again, from `buffer`; the result is valid until its next use.

        Raises:
            IndexError: an index is outside the store.
        """
        chosen = self.checked(indices)
        buffer = buffer or self.buffer(len(chosen))
        if len(chosen) > buffer.size:
            raise IndexError(f"{len(chosen)} samples for a buffer of {buffer.size}")
        return self.gather_batches([chosen], buffer)[0]

    def checked(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Indices as an array, int64; IndexError where one is outside the store."""
        chosen = np.asarray(indices, dtype=np.int64)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < self._rows:
            raise IndexError(f"samples {chosen.min()} to {chosen.max()} of {self._rows}")
        return chosen

    def gather_batches(self, batches: Sequence[np.ndarray], buffer: "Buffer") -> list[dict[str, Tensor]]:
        """As `gather`, of several batches by one copy: indices from `checked`, into a buffer that is large enough."""
        chosen = batches[0] if len(batches) == 1 else np.concatenate(batches)
        # Without `clip` NumPy gathers into a copy first.
        self.records.records.take(chosen, axis=0, out=buffer.first(len(chosen)), mode="clip")
        found, start = [], 0
        for rows in batches:
            values = buffer.values(start, start + len(rows))
            for field in self._ragged:
                values |= self._rows_of(field, rows, values[field.name])
            found.append(values)
            start += len(rows)
        return found

    def buffer(self, size: int, *, pinned: bool = False) -> "Buffer":
        """Memory for batches of up to `size` samples; pinned for a GPU to copy from."""
        return Buffer(self.schema, size, pinned=pinned)

    @contextmanager
    def lent(self, size: int, count: int) -> Iterator[list["Buffer"]]:
        """Buffers for a while; memory that was touched before costs a third of fresh memory."""
        idle = self._idle.setdefault(size, [])
        buffers = [idle.pop() if idle else self.buffer(size) for _ in range(count)]
        try:
            yield buffers
        finally:
            idle.extend(buffers)

    def _rows_of(self, field: Field, indices: np.ndarray, cells: Tensor) -> dict[str, Tensor]:
        """A ragged field's arrays, padded to the longest, and their mask."""
        places = cells.numpy().view(np.int64).reshape(-1, 2)
        longest = int(places[:, 1].max()) if len(places) else 0
        value = torch.zeros((len(indices), longest, *field.shape), dtype=field.torch_dtype)
        found = value.view(-1).view(torch.uint8).numpy().reshape(len(indices), longest, field.row_bytes)
        per_shard = self._rows_in[0]
        for row, (index, (start, length)) in enumerate(zip(indices.tolist(), places.tolist(), strict=True)):
            shard = index // per_shard
            at = HEADER + self._rows_in[shard] * self.schema.stride + start
            payload = self._payloads[shard][at : at + length * field.row_bytes]
            found[row, :length] = payload.reshape(length, field.row_bytes)
        mask = torch.from_numpy(np.arange(longest) < places[:, 1:])
        return {field.name: value, field.name + MASK: mask}

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        indices: Sequence[int] | np.ndarray | None = None,
        reuse: int = 1,
    ) -> Iterator[dict[str, Tensor]]:
        """One epoch in batches, the last of which may be smaller.

        Args:
            batch_size: samples in a batch.
            seed, epoch: the order of an epoch is drawn from both.
            shuffle: whether to draw an order at all.
            indices: samples to go through; None: all.
            reuse: how many batches are valid at a time: the last one, or the last `reuse`. 0: each stays valid for
                good, at up to five times the cost.
        """
        chosen = np.arange(self._rows) if indices is None else self.checked(indices)
        if shuffle:
            chosen = keyed_generator(seed, "features", epoch).permutation(chosen)
        pace = pace_of(batch_size * self.schema.stride)
        if not reuse:
            # Batches that are kept for good would keep their neighbors' memory.
            pace = replace(pace, at_once=1)
        cut = (chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size))
        batches = asked_ahead(cut, lambda rows: rows, [self.records], batch_size)
        with self.lent(pace.at_once * batch_size, pace.buffers(reuse) if reuse else 0) as buffers:
            gathers = (
                partial(self.gather_batches, group, buffers[n % len(buffers)] if buffers else self.buffer(batch_size))
                for n, group in enumerate(grouped(batches, pace.at_once))
            )
            for group in gathered_ahead(gathers, pace.under_way):
                yield from group

    def dataset(self) -> "StoredSamples":
        """The samples for torch's loaders."""
        return StoredSamples(self)

    def close(self) -> None:
        """Close the files; batches that use them must not be read any more."""
        self.records.close()
        self._payloads = []


class Buffer:
    """Memory of one batch, and views of each field in it.

    Args:
        schema: of the records.
        size: samples.
        pinned: locked in memory, so that a GPU copies from it directly.
    """

    def __init__(self, schema: Schema, size: int, *, pinned: bool = False) -> None:
        self.size = size
        # Half a page from where records begin: a copy whose target lies just below its source, modulo a page, was
        # measured to take up to 1.7 times as long, since the processor takes its loads for its own stores.
        spare = torch.empty(size * schema.stride + PAGE, dtype=torch.uint8, pin_memory=pinned)
        start = (PAGE // 2 - spare.data_ptr()) % PAGE
        whole = spare[start : start + size * schema.stride].view(size, schema.stride)
        self.array = whole.numpy()
        self._views: dict[str, Tensor] = {}
        self._between: dict[tuple[int, int], dict[str, Tensor]] = {}
        for field in schema.fields:
            at = schema.offsets[field.name]
            cell = whole[:, at : at + field.record_bytes]
            self._views[field.name] = cell if field.ragged else _typed(cell, field)

    def first(self, count: int) -> np.ndarray:
        """The bytes of the first `count` samples, (count, stride)."""
        return self.array if count == self.size else self.array[:count]

    def values(self, start: int, stop: int) -> dict[str, Tensor]:
        """Views of the samples from `start` to `stop` - 1; a ragged field's are its cells."""
        place = start, stop
        if place not in self._between:
            self._between[place] = {name: view[start:stop] for name, view in self._views.items()}
        return self._between[place].copy()


def _typed(cell: Tensor, field: Field) -> Tensor:
    dtype: torch.dtype = DTYPES[field.dtype]
    return cell.view(dtype).view(len(cell), *field.shape)


class StoredSamples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """A store as a map-style data set: one sample an index, or a list of them at once.

    Args:
        store: to read; a worker process opens it anew.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store: FeatureStore | None = store
        self._folder = store.folder
        self._count = len(store)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}

    def _opened(self) -> FeatureStore:
        if self._store is None:
            self._store = FeatureStore.open(self._folder, verify=False)
        return self._store

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._opened()[index]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        """All samples of a batch in one gather; torch's loader asks for this where it exists."""
        store = self._opened()
        if store.schema.ragged:
            return [store[index] for index in indices]
        batch = store.gather(indices)
        return [{name: array[row] for name, array in batch.items()} for row in range(len(indices))]


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    try:
        return read_sealed(path, "remove it, and it is written anew")
    except FileNotFoundError:
        writer = StoreWriter(folder)
        done = writer.shards - len(writer.missing())
        raise DataError(
            f"{folder}: {done} of {writer.shards} shards are written; go on with the command that began it"
        ) from None


def damaged(folder: Path, index: Mapping[str, Any], *, deep: bool = True) -> list[str]:
    """What is wrong with the files of a store, one line each.

    Args:
        folder: of the store.
        index: content of its `index.json`.
        deep: read all files and compare checksums.
    """
    wrong = []
    if file_digest(folder / "store.json") != index["store"]:
        wrong.append(f"{folder / 'store.json'}: changed since the store was finished; {_REMEDY}")

    def look(number: int) -> str | None:
        facts, path = index["shards"][number], folder / shard_name(number)
        if not path.is_file():
            return f"{path}: missing; {forget(folder, number)}"
        if path.stat().st_size != facts["bytes"] or (deep and file_digest(path) != facts["xxh3"]):
            return f"{path}: damaged: its bytes do not have the checksum of the index; {forget(folder, number)}"
        return None

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        wrong += [line for line in pool.map(look, range(len(index["shards"]))) if line]
    return wrong


def drop_shards(folder: Path, numbers: Sequence[int]) -> None:
    """Make a store incomplete by these shards, so that they are computed again."""
    (folder / "index.json").unlink(missing_ok=True)
    for number in numbers:
        facts_path(folder, number).unlink(missing_ok=True)
        (folder / shard_name(number)).unlink(missing_ok=True)


def remove_store(folder: Path) -> None:
    """Remove a store; its `store.json` goes first, so that a half removed one is none."""
    (folder / "store.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
