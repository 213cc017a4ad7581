"""The folder of all feature stores: found by key, listed, verified, pruned."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import DataError
from gradatim.features.schema import Schema
from gradatim.features.shards import facts_path, forget, read_facts, shard_name
from gradatim.features.store import FeatureStore, StoreWriter, drop_shards, remove_store
from gradatim.weights.digest import file_digest

VARIABLE = "GRADATIM_FEATURES"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One store of the folder.

    Args:
        folder: of the store.
        about: content of its `store.json`.
        bytes: on the disk.
        shards, done: how many it has when finished, and now.
        used: when it was last opened, seconds since 1970.
        wrong: why its `store.json` cannot be read; then `about` is empty.
    """

    folder: Path
    about: Mapping[str, Any]
    bytes: int
    shards: int
    done: int
    used: float
    wrong: str = ""


class Shelf:
    """All feature stores of a user.

    Args:
        folder: that holds them; None takes the variable GRADATIM_FEATURES, or the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradatim" / "features"
        named = os.environ.get(VARIABLE)
        self.folder = folder or (Path(named) if named else home)

    def existing_folder(self) -> Path:
        """The folder, or the nearest one above it that exists."""
        return next(path for path in (self.folder, *self.folder.resolve().parents) if path.is_dir())

    def path(self, key: str, name: str) -> Path:
        """Folder of the store with a key; its name begins with what it holds."""
        return self.folder / f"{name}-{key[:24]}"

    def of(self, about: Mapping[str, Any]) -> Path:
        """Folder of the store that `about` describes."""
        return self.path(about["key"], about["step"])

    def complete(self, about: Mapping[str, Any]) -> bool:
        """Whether a store has all its shards and the index of them."""
        return (self.of(about) / "index.json").is_file()

    def missing_part(self, about: Mapping[str, Any]) -> float:
        """Share of a store's shards that are not written, 0 to 1."""
        if not (self.of(about) / "store.json").is_file():
            return 1.0
        writer = StoreWriter(self.of(about))
        return 0.0 if self.complete(about) else len(writer.missing()) / max(1, writer.shards)

    def begin(self, about: Mapping[str, Any], schema: Schema, rows: int, rows_per_shard: int) -> StoreWriter:
        """The writer of a store, begun anew or half written."""
        return FeatureStore.create(self.of(about), schema.fields, rows=rows, about=about, rows_per_shard=rows_per_shard)

    def opened(self, about: Mapping[str, Any]) -> FeatureStore | None:
        """The store if it is complete; its checksums are compared.

        Raises:
            DataError: it is damaged.
        """
        if not self.complete(about):
            return None
        folder = self.of(about)
        store = FeatureStore.open(folder, verify=True)
        (folder / "used").touch()
        return store

    def entries(self) -> list[Entry]:
        """All stores, the one used last first."""
        found = [_entry(path) for path in self.folder.glob("*/store.json")]
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def verify(self, entry: Entry, *, repair: bool = False) -> list[str]:
        """What is wrong with a store, one line each; `repair` drops damaged shards, to be computed again."""
        if entry.wrong:
            if repair:
                remove_store(entry.folder)
            return [entry.wrong]
        wrong = []
        if (entry.folder / "index.json").is_file():
            try:
                FeatureStore.open(entry.folder, verify=True).close()
                return []
            except DataError as error:
                wrong = str(error).split("\n")
                if repair and any("store.json" in line for line in wrong):
                    remove_store(entry.folder)
                    return wrong
                if repair:
                    drop_shards(entry.folder, [])
        beside = self._verify_shards(entry, repair=repair)
        return wrong or beside

    def _verify_shards(self, entry: Entry, *, repair: bool) -> list[str]:
        """Compare each finished shard with what stands beside it."""
        wrong = []
        for number in range(entry.shards):
            if not facts_path(entry.folder, number).is_file():
                continue
            line = _compare(entry.folder, number)
            wrong += [line] if line else []
            if line and repair:
                drop_shards(entry.folder, [number])
        return wrong

    def prune(self, keep: int) -> list[Entry]:
        """Remove the stores that were not used for longest until the rest take `keep` bytes at most."""
        removed, kept = [], 0
        for entry in self.entries():
            kept += entry.bytes
            if kept > keep:
                remove_store(entry.folder)
                removed.append(entry)
        return removed


def _entry(path: Path) -> Entry:
    """The entry of a store by its `store.json`."""
    folder, about, shards, done, wrong = path.parent, {}, 0, 0, ""
    try:
        writer = StoreWriter(folder)
        about, shards = writer.about, writer.shards
        done = shards - len(writer.missing())
    except DataError as error:
        wrong = str(error)
    used = folder / "used"
    return Entry(
        folder=folder,
        about=about,
        bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        shards=shards,
        done=done,
        used=(used if used.exists() else path).stat().st_mtime,
        wrong=wrong,
    )


def _compare(folder: Path, number: int) -> str | None:
    """What is wrong with a finished shard, by the facts beside it."""
    path = folder / shard_name(number)
    try:
        facts = read_facts(folder, number)
    except DataError as error:
        return str(error)
    if path.is_file() and file_digest(path) == facts["xxh3"]:
        return None
    return f"{path}: damaged: its bytes do not have the checksum that stands beside it; {forget(folder, number)}"
