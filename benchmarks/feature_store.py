"""Reading stored features under a global shuffle: the feature store beside six other ways, on the same records.

Records of four fields, each 16 x 768 float16; batches of 32 and 256; every way gives one array a field with a batch
axis first. The measure is a raw gather of the same records from memory into a buffer that is used again (1.0), in one
thread; the store gathers in two where there are two cores.

warm    all files lie in the page cache, and one epoch was read before
cold    files were synced, dropped from the page cache (posix_fadvise) and opened anew; over the first 512 records of an
        epoch, as it is for data that do not fit in memory: here later ones would find what the system read around them

What is too slow for an epoch is measured over a few batches, which the table says. All files lie in a temporary folder
that is removed at the end; `--folder` names the disk that it is on.
"""

import json
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from gradatim import FeatureStore
from support.harness import in_turn, medians, options, show

FIELDS = ("student", "first", "second", "third")
SHAPE = (16, 768)
CHUNK = 1024
PICKLED = 1000
SIZES = (32, 256)
COLD = 512
Read = Callable[[list[np.ndarray]], float]


def orders(count: int, size: int, seed: int) -> list[np.ndarray]:
    """Indices of each batch of one epoch in a random order."""
    order = np.random.default_rng(seed).permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def touched(batch: dict[str, Any]) -> None:
    """Check that a way gave what was asked for."""
    assert all(batch[name].shape[1:] == SHAPE for name in FIELDS)


class Ways:
    """All ways of reading the same records.

    Args:
        folder: for files.
        count: number of records.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        draw = np.random.default_rng(0)
        self.array = np.empty((count, len(FIELDS), *SHAPE), np.float16)
        for start in range(0, count, 256):
            part = self.array[start : start + 256]
            part[:] = draw.standard_normal(part.shape, dtype=np.float32)
        self._write_store()
        self.array.tofile(folder / "plain.bin")
        self.store = FeatureStore.open(folder / "store")
        self.buffers = {size: np.empty((size, *self.array.shape[1:]), np.float16) for size in SIZES}

    def chunks(self, size: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(first record, arrays of fields) of each run of `size` records."""
        for start in range(0, self.count, size):
            yield start, {name: self.array[start : start + size, i] for i, name in enumerate(FIELDS)}

    def _write_store(self) -> None:
        fields = dict.fromkeys(FIELDS, SHAPE)
        writer = FeatureStore.create(self.folder / "store", fields, rows=self.count, dtype="float16")
        for shard in writer.missing():
            with writer.shard(shard) as file:
                chosen = self.array[writer.range_of(shard).start : writer.range_of(shard).stop]
                for part in np.array_split(chosen, max(1, len(chosen) // 256)):
                    arrays = {n: torch.from_numpy(np.ascontiguousarray(part[:, i])) for i, n in enumerate(FIELDS)}
                    writer.append(file, arrays)
        writer.seal()

    # -- in memory, ours, and a memory map ---------------------------------------------------------

    def raw(self, batches: list[np.ndarray]) -> float:
        """Gather from an array in memory; seconds a batch, as all ways give."""
        buffer = self.buffers[len(batches[0])]
        started = time.perf_counter()
        for chosen in batches:
            np.take(self.array, chosen, axis=0, out=buffer[: len(chosen)], mode="clip")
        return (time.perf_counter() - started) / len(batches)

    def ours(self, batches: list[np.ndarray], store: FeatureStore | None = None) -> float:
        """The store's own iterator, which draws the order of the epoch too."""
        store, size = store or self.store, len(batches[0])
        chosen = np.concatenate(batches)
        started = time.perf_counter()
        for _ in store.batches(size, seed=int(chosen[0]), indices=chosen):
            pass
        return (time.perf_counter() - started) / len(batches)

    def ours_cold(self, batches: list[np.ndarray]) -> float:
        """The same on files that are not in memory."""
        self.store.close()
        drop(self.folder / "store")
        cold = FeatureStore.open(self.folder / "store", verify=False)
        found = self.ours(batches, cold)
        cold.close()
        self.store = FeatureStore.open(self.folder / "store", verify=False)
        return found

    def mapped_cold(self, batches: list[np.ndarray]) -> float:
        """One file through `np.memmap`, not in memory."""
        drop(self.folder / "plain.bin")
        mapped = np.memmap(self.folder / "plain.bin", np.float16, "r", shape=self.array.shape)
        buffer = self.buffers[len(batches[0])]
        started = time.perf_counter()
        for chosen in batches:
            np.take(mapped, chosen, axis=0, out=buffer[: len(chosen)], mode="clip")
        return (time.perf_counter() - started) / len(batches)

    # -- what people use ---------------------------------------------------------------------------

    def write_safetensors(self) -> None:
        """Files of 1,024 records: a tensor for each field of each record; and a tensor a field."""
        for start, arrays in self.chunks(CHUNK):
            one_by_one = {f"{start + row}.{n}": a[row].copy() for n, a in arrays.items() for row in range(len(a))}
            save_file(one_by_one, self.folder / f"samples-{start // CHUNK}.safetensors")
            whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            save_file(whole, self.folder / f"fields-{start // CHUNK}.safetensors")

    def safetensors(self, batches: list[np.ndarray], *, kind: str) -> float:
        """Tensors of records one by one, then stacked."""
        names = sorted(self.folder.glob(f"{kind}-*.safetensors"), key=lambda path: int(path.stem.partition("-")[2]))
        files = [safe_open(path, "pt").__enter__() for path in names]
        slices = [{n: file.get_slice(n) for n in FIELDS} for file in files] if kind == "fields" else []

        def one(index: int, name: str) -> Tensor:
            chunk, row = divmod(index, CHUNK)
            if slices:
                found: Tensor = slices[chunk][name][row : row + 1][0]
                return found
            return files[chunk].get_tensor(f"{index}.{name}")

        started = time.perf_counter()
        for chosen in batches:
            touched({name: torch.stack([one(index, name) for index in chosen.tolist()]) for name in FIELDS})
        return (time.perf_counter() - started) / len(batches)

    def write_pickles(self) -> None:
        """Shards of 1,000 records, each record a dict of arrays."""
        for start, arrays in self.chunks(PICKLED):
            size = len(arrays[FIELDS[0]])
            rows = [{name: array[row].copy() for name, array in arrays.items()} for row in range(size)]
            with (self.folder / f"{start // PICKLED}.pkl").open("wb") as file:
                pickle.dump(rows, file, protocol=5)

    def pickles(self, batches: list[np.ndarray]) -> float:
        """The shard that was read last is kept."""
        held, rows = -1, []
        started = time.perf_counter()
        for chosen in batches:
            found: list[dict[str, np.ndarray]] = []
            for index in chosen.tolist():
                shard, row = divmod(index, PICKLED)
                if shard != held:
                    held, rows = shard, pickle.loads((self.folder / f"{shard}.pkl").read_bytes())
                found.append(rows[row])
            touched({name: np.stack([one[name] for one in found]) for name in FIELDS})
        return (time.perf_counter() - started) / len(batches)

    def write_hub(self) -> Any:
        """A Hugging Face data set with the torch format; None where the package is not installed."""
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
        try:
            import datasets
        except ImportError:
            return None
        datasets.disable_progress_bars()
        features = datasets.Features({name: datasets.Array2D(SHAPE, "float16") for name in FIELDS})
        parts = [datasets.Dataset.from_dict(arrays, features) for _, arrays in self.chunks(CHUNK)]
        datasets.concatenate_datasets(parts).save_to_disk(self.folder / "hub")
        return datasets.load_from_disk(self.folder / "hub").with_format("torch")

    def hub(self, batches: list[np.ndarray], *, dataset: Any) -> float:
        """A list of indices at once."""
        started = time.perf_counter()
        for chosen in batches:
            touched(dataset[chosen.tolist()])
        return (time.perf_counter() - started) / len(batches)


def drop(path: Path) -> None:
    """Take files out of the page cache."""
    for file in [path] if path.is_file() else path.iterdir():
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def measured(ways: Ways, dataset: Any, size: int, repeats: int) -> tuple[dict[str, float], float]:
    """Median seconds of a batch by way, and the median ratio of ours to the raw gather beside it."""
    epoch = partial(orders, ways.count, size)
    some, few, fewer = COLD // size, max(1, 1024 // size), max(1, 64 // size)
    seeds = iter(range(10**6))
    ways.raw(epoch(0)), ways.ours(epoch(0))
    touched(next(ways.store.batches(size)))
    quick: dict[str, list[float]] = {"raw": [], "ours_warm": []}
    for _ in range(3 * repeats):
        # Whole epochs in turn: the store reads ahead, and what it reads while another way runs would cost it nothing.
        quick["raw"].append(ways.raw(epoch(next(seeds))))
        quick["ours_warm"].append(ways.ours(epoch(next(seeds))))
    slow: dict[str, Callable[[], float]] = {
        "ours_cold": lambda: ways.ours_cold(epoch(next(seeds))[:some]),
        "mmap_cold": lambda: ways.mapped_cold(epoch(next(seeds))[:some]),
        "safetensors_samples": lambda: ways.safetensors(epoch(next(seeds))[:few], kind="samples"),
        "safetensors_fields": lambda: ways.safetensors(epoch(next(seeds))[:few], kind="fields"),
    }
    if dataset is not None:
        slow["datasets"] = lambda: ways.hub(epoch(next(seeds))[:few], dataset=dataset)
    found = medians(quick) | medians(in_turn(slow, repeats))
    found |= medians(in_turn({"pickle": lambda: ways.pickles(epoch(next(seeds))[:fewer])}, min(2, repeats)))
    ratio = statistics.median(ours / raw for raw, ours in zip(quick["raw"], quick["ours_warm"], strict=True))
    return found, ratio


LABELS = {
    "raw": "raw gather from memory",
    "ours_warm": "feature store, warm",
    "ours_cold": "feature store, cold",
    "mmap_cold": "np.memmap, cold",
    "safetensors_samples": "safetensors, a tensor for each field of each record",
    "safetensors_fields": "safetensors, a tensor a field, sliced by record",
    "datasets": "Hugging Face datasets, torch format",
    "pickle": "pickle shards of 1,000 records, one kept (64 records, extrapolated)",
}


def main() -> None:
    """Write all files, measure in turn, print, remove."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=8192)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    folder = Path(tempfile.mkdtemp(prefix="gradatim-feature-store-", dir=chosen.folder))
    try:
        ways = Ways(folder, chosen.records)
        ways.write_safetensors()
        ways.write_pickles()
        dataset = ways.write_hub()
        values: dict[str, Any] = {"records": chosen.records, "repeats": chosen.repeats}
        rows: list[tuple[str, str]] = []
        for size in SIZES:
            found, ratio = measured(ways, dataset, size, chosen.repeats)
            values[f"warm_ratio_{size}"] = round(ratio, 3)
            values[f"cold_over_mmap_{size}"] = round(found["mmap_cold"] / found["ours_cold"], 2)
            values |= {f"{name}_ms_{size}": round(seconds * 1e3, 3) for name, seconds in found.items()}
            for name, seconds in found.items():
                against = ratio if name == "ours_warm" else seconds / found["raw"]
                rows.append((f"batch {size:>3}  {LABELS[name]}", f"{seconds * 1e3:9.3f} ms  {against:8.2f}"))
        values["cold_over_mmap"] = values[f"cold_over_mmap_{SIZES[0]}"]
        if dataset is None:
            rows.append(("Hugging Face datasets", "not installed: left out"))
        gigabytes = ways.array.nbytes / 1e9
        show(
            f"{chosen.records} records of 4 x 16 x 768 float16 ({gigabytes:.2f} GB), global shuffle, "
            f"medians of {chosen.repeats}: time of a batch, and over the raw gather",
            rows, json.loads(json.dumps(values)), as_json=chosen.json,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
