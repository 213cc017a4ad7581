"""The folder of all feature stores: found by key, listed, verified, pruned."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import DataError
from gradatim.features.schema import Schema
from gradatim.features.store import FeatureStore, StoreWriter, damaged, drop_shards, remove_store

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
    """

    folder: Path
    about: Mapping[str, Any]
    bytes: int
    shards: int
    done: int
    used: float


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

    def missing_part(self, key: str, about: Mapping[str, Any]) -> float:
        """Share of a store's shards that are not written, 0 to 1."""
        folder = self.of(about)
        if not (folder / "store.json").is_file():
            return 1.0
        writer = StoreWriter(folder)
        return 0.0 if (folder / "index.json").is_file() else len(writer.missing()) / max(1, writer.shards)

    def begin(self, about: Mapping[str, Any], schema: Schema, rows: int, rows_per_shard: int) -> StoreWriter:
        """The writer of a store, begun anew or half written."""
        return FeatureStore.create(self.of(about), schema.fields, rows=rows, about=about, rows_per_shard=rows_per_shard)

    def opened(self, about: Mapping[str, Any], *, verify: bool) -> FeatureStore | None:
        """The store if it is complete; its checksums are compared.

        Raises:
            DataError: it is damaged.
        """
        folder = self.of(about)
        if not (folder / "index.json").is_file():
            return None
        store = FeatureStore.open(folder, verify=verify)
        (folder / "used").touch()
        return store

    def entries(self) -> list[Entry]:
        """All stores, the one used last first."""
        found = []
        for path in self.folder.glob("*/store.json"):
            folder = path.parent
            try:
                writer = StoreWriter(folder)
            except DataError:
                continue
            used = folder / "used"
            found.append(
                Entry(
                    folder=folder,
                    about=writer.about,
                    bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
                    shards=writer.shards,
                    done=writer.shards - len(writer.missing()),
                    used=(used if used.exists() else path).stat().st_mtime,
                )
            )
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def verify(self, entry: Entry, *, repair: bool = False) -> list[str]:
        """What is wrong with a store, one line each; `repair` drops damaged shards, to be computed again."""
        index_path = entry.folder / "index.json"
        if not index_path.is_file():
            return self._verify_parts(entry, repair=repair)
        try:
            FeatureStore.open(entry.folder, verify=True).close()
        except DataError as error:
            wrong = str(error).split("\n")
            if repair:
                self._repair(entry.folder)
            return wrong
        return []

    def _verify_parts(self, entry: Entry, *, repair: bool) -> list[str]:
        """Verify the finished shards of a store that is not complete."""
        shards: list[Any] = []
        numbers = []
        for number in range(entry.shards):
            path = entry.folder / f"shard-{number:05d}.json"
            if path.is_file():
                shards.append(json.loads(path.read_text()))
                numbers.append(number)
        return [
            line
            for number, facts in zip(numbers, shards, strict=True)
            for line in self._look_at(entry.folder, number, facts, repair=repair)
        ]

    def _look_at(self, folder: Path, number: int, facts: Mapping[str, Any], *, repair: bool) -> list[str]:
        from gradatim.features.shards import shard_name
        from gradatim.weights.digest import file_digest

        path = folder / shard_name(number)
        if path.is_file() and file_digest(path) == facts["xxh3"]:
            return []
        if repair:
            drop_shards(folder, [number])
        return [f"{path}: damaged: its bytes do not have the checksum that stands beside it"]

    def _repair(self, folder: Path) -> None:
        try:
            index = json.loads((folder / "index.json").read_text())
            lines = damaged(folder, index)
            numbers = [n for n in range(len(index["shards"])) if any(f"shard-{n:05d}." in line for line in lines)]
            if any("store.json" in line for line in lines):
                raise ValueError("its description is damaged")
        except (ValueError, KeyError, OSError):
            remove_store(folder)
            return
        drop_shards(folder, numbers)

    def prune(self, keep: int) -> list[Entry]:
        """Remove the stores that were not used for longest until the rest take `keep` bytes at most."""
        removed, kept = [], 0
        for entry in self.entries():
            kept += entry.bytes
            if kept > keep:
                remove_store(entry.folder)
                removed.append(entry)
        return removed

    def note_time(self, about: Mapping[str, Any], seconds: float) -> None:
        """Note how long a store took to fill."""
        (self.of(about) / "used").write_text(f"{seconds:.1f} s, {time.strftime('%Y-%m-%d')}\n")
