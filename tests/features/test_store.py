"""The feature store alone: what is written comes back to the bit, and whatever is wrong is found and named."""

import itertools
import json
import os
import random
import struct
import threading
import time
import tracemalloc
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader

from forked import CONTEXT
from gradatim import DataError, FeatureStore
from gradatim.features import Field
from gradatim.features.reading import Pace, gathered_ahead, grouped, pace_of
from gradatim.features.schema import DTYPES, PAGE, Schema
from gradatim.features.shelf import Shelf

ROWS = 21


def written(folder, fields, values, *, rows_per_shard=None, batch=5, **changes):
    """The writer of a store that was given all values."""
    rows = len(next(iter(values.values())))
    writer = FeatureStore.create(folder, fields, rows=rows, rows_per_shard=rows_per_shard, **changes)
    for shard in writer.missing():
        with writer.shard(shard) as file:
            chosen = writer.range_of(shard)
            for start in range(chosen.start, chosen.stop, batch):
                part = slice(start, min(start + batch, chosen.stop))
                writer.append(file, {name: value[part] for name, value in values.items()})
    return writer


def filled(folder, fields, values, **changes):
    return written(folder, fields, values, **changes).finish()


def numbers(dtype, *shape, seed=0):
    """Any bit pattern that the dtype has, but for floating point numbers finite ones."""
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    high = 2 if dtype == torch.bool else 100
    return torch.randint(0, high, shape, generator=generator).to(dtype)


def masked(dtype, lengths, *shape):
    """(padded values, mask) of rows whose number differs by sample; padding is not zero."""
    value = numbers(dtype, len(lengths), max(lengths), *shape)
    return value, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@pytest.fixture
def plain(tmp_path):
    """A store of one field in three shards, and its values."""
    values = {"x": numbers(torch.float32, 40, 64)}
    return filled(tmp_path / "plain", {"x": (64,)}, values, rows_per_shard=16), values


# -- what is written comes back ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 0), (700, 3)], ids=str)
def test_records_of_every_dtype_and_shape_come_back_to_the_bit(dtype, shape, tmp_path):
    value = numbers(DTYPES[dtype], ROWS, *shape)
    store = filled(tmp_path, {"a.b": shape}, {"a.b": value}, dtype=dtype)

    found = store.gather(range(ROWS))["a.b"]
    assert found.dtype == value.dtype
    assert torch.equal(found, value)
    assert torch.equal(store[3]["a.b"], value[3])
    assert torch.equal(store[-1]["a.b"], value[-1])


def drawn(seed):
    """Fields and values drawn at random, masks included."""
    draw, rows = random.Random(seed), random.Random(seed).randint(1, 60)
    fields, values = [], {}
    for number in range(draw.randint(1, 5)):
        name = f"{draw.choice('pqr')}.{number}" if draw.random() < 0.5 else f"value{number}"
        dtype = draw.choice(list(DTYPES))
        shape = tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 3)))
        ragged = draw.random() < 0.4
        fields.append(Field(name=name, shape=shape, dtype=dtype, ragged=ragged))
        if ragged:
            lengths = [draw.randint(0, 6) for _ in range(rows)]
            values[name], values[f"{name}_mask"] = masked(DTYPES[dtype], [*lengths[1:], 6], *shape)
        else:
            values[name] = numbers(DTYPES[dtype], rows, *shape, seed=number)
    return fields, values, draw


@pytest.mark.parametrize("seed", range(25))
def test_any_fields_come_back_in_any_order_from_any_number_of_shards(seed, tmp_path):
    fields, values, draw = drawn(seed)
    store = filled(tmp_path, fields, values, rows_per_shard=draw.randint(1, 40), batch=draw.randint(1, 9))
    chosen = [draw.randrange(len(store)) for _ in range(draw.randint(1, 30))]

    found = store.gather(chosen)

    assert found.keys() == values.keys()
    for field in fields:
        asked, got = values[field.name][chosen], found[field.name]
        if not field.ragged:
            assert torch.equal(got, asked), field
            continue
        mask = values[f"{field.name}_mask"][chosen]
        longest = int(mask.sum(1).max())
        assert torch.equal(found[f"{field.name}_mask"], mask[:, :longest])
        spread = mask[:, :longest].reshape(*mask[:, :longest].shape, *[1] * len(field.shape))
        assert torch.equal(got, asked[:, :longest] * spread), field
        first = store[chosen[0]][field.name]
        assert torch.equal(first, asked[0, : int(mask[0].sum())])


def test_values_of_varying_length_take_no_room_for_padding(tmp_path):
    lengths = [1] * 63 + [5000]
    value, mask = masked(torch.float32, lengths, 8)
    fields = [Field(name="tokens", shape=(8,), ragged=True), Field(name="label", shape=(), dtype="int64")]

    store = filled(tmp_path, fields, {"tokens": value, "tokens_mask": mask, "label": torch.arange(64)})

    assert store.bytes < sum(lengths) * 32 + 64 * 100 + 5 * PAGE
    assert store.gather([0, 1])["tokens"].shape == (2, 1, 8)
    assert store.gather([0, 63])["tokens_mask"].sum(1).tolist() == [1, 5000]


def test_without_a_mask_all_rows_are_valid(tmp_path):
    value = numbers(torch.float32, ROWS, 4, 2)
    store = filled(tmp_path, [Field(name="x", shape=(2,), ragged=True)], {"x": value})

    assert torch.equal(store.gather(range(ROWS))["x"], value)
    assert store.gather([0])["x_mask"].all()


def test_a_store_of_no_samples_is_a_store(tmp_path):
    store = FeatureStore.create(tmp_path, {"x": (3,)}, rows=0).finish()

    assert len(store) == 0
    assert list(store.batches(4)) == []


# -- numbers that change their dtype -----------------------------------------------------------------


def test_numbers_are_stored_in_the_dtype_that_was_asked_for(tmp_path):
    value = numbers(torch.float32, ROWS, 9)
    store = filled(tmp_path, {"x": (9,)}, {"x": value}, dtype="bfloat16")

    assert torch.equal(store.gather(range(ROWS))["x"], value.bfloat16())


def test_a_number_beyond_float16_is_refused_with_the_remedy_and_infinity_is_not(tmp_path):
    fine = torch.tensor([[65504.0], [float("inf")], [float("nan")]])
    store = filled(tmp_path / "fine", {"x": (1,)}, {"x": fine}, dtype="float16")
    assert store.gather([1])["x"].isinf().all()

    with pytest.raises(DataError, match=r"'x' reaches 7e\+04, beyond float16's 65504.*dtype: bfloat16"):
        written(tmp_path / "bad", {"x": (1,)}, {"x": torch.full((3, 1), 7e4)}, dtype="float16")
    assert sorted(path.name for path in (tmp_path / "bad").iterdir()) == ["store.json"]


# -- what does not fit is refused --------------------------------------------------------------------

WRONG = {
    "shape": ({"x": torch.zeros(4, 3)}, r"'x' .* has shape \(3,\) a sample; the store holds \(2,\)"),
    "kind": ({"x": torch.zeros(4, 2, dtype=torch.int64)}, "'x' is int64, the store holds float32"),
    "missing": ({"xx": torch.zeros(4, 2)}, r"unknown value 'x'\. Did you mean 'xx'\?"),
    "count": ({"y": torch.zeros(3, 2), "x": torch.zeros(4, 2)}, "the first axis of all is the batch"),
    "number": ({"x": torch.tensor(1.0)}, "the first axis of all is the batch"),
    "too many": ({"x": torch.zeros(5, 2)}, "5 samples were given, but this shard holds 4"),
    "too few": ({"x": torch.zeros(3, 2)}, "3 samples were given, but this shard holds 4"),
}


@pytest.mark.parametrize("what", WRONG)
def test_values_that_are_not_those_of_the_fields_are_refused_and_leave_nothing(what, tmp_path):
    values, says = WRONG[what]
    writer = FeatureStore.create(tmp_path, {"x": (2,)}, rows=4)

    with pytest.raises(DataError, match=says), writer.shard(0) as file:
        writer.append(file, values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.json"]


def test_integers_are_never_converted(tmp_path):
    with pytest.raises(DataError, match="'x' is float32, the store holds int64"):
        written(tmp_path, {"x": ()}, {"x": torch.ones(3)}, dtype="int64")


def test_a_mask_with_gaps_is_refused(tmp_path):
    values = {"x": torch.zeros(2, 3), "x_mask": torch.tensor([[True, True, False], [True, False, True]])}

    with pytest.raises(DataError, match="'x_mask' has gaps: valid rows must come first"):
        written(tmp_path, [Field(name="x", shape=(), ragged=True)], values)


def test_fields_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"unknown dtype 'float31'\. Did you mean 'float32'\?"):
        FeatureStore.create(tmp_path, {"x": (2,)}, rows=1, dtype="float31")
    with pytest.raises(DataError, match="'x' stands twice"):
        FeatureStore.create(tmp_path, [Field(name="x", shape=()), Field(name="x", shape=(1,))], rows=1)
    with pytest.raises(DataError, match="no fields to store"):
        FeatureStore.create(tmp_path, {}, rows=1)
    writer = FeatureStore.create(tmp_path, {f"{'long' * 20}{number}": () for number in range(200)}, rows=1)
    with pytest.raises(DataError, match="200 fields does not fit the header"), writer.shard(0):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.json"]


def test_another_store_in_the_same_folder_is_refused(plain):
    store, _ = plain

    with pytest.raises(DataError, match=r"holds another feature store \(fields differ\)"):
        FeatureStore.create(store.folder, {"x": (65,)}, rows=40)
    with pytest.raises(DataError, match=r"holds another feature store \(rows, fields, key differ\)"):
        FeatureStore.create(store.folder, {"y": (64,)}, rows=41, about={"key": "other"})


def test_a_half_written_store_says_how_much_of_it_is_there_and_goes_on(tmp_path):
    values = numbers(torch.float32, 40, 64)
    first = FeatureStore.create(tmp_path, {"x": (64,)}, rows=40, rows_per_shard=16)
    with first.shard(1) as file:
        first.append(file, {"x": values[16:32]})
    stat = (tmp_path / "shard-00001.safetensors").stat()

    assert first.finish() is None
    with pytest.raises(DataError, match=r"1 of 3 shards are written; go on with the command"):
        FeatureStore.open(tmp_path)
    again = FeatureStore.create(tmp_path, {"x": (64,)}, rows=40)
    assert again.missing() == [0, 2]
    store = filled(tmp_path, {"x": (64,)}, {"x": values})
    assert torch.equal(store.gather(range(40))["x"], values)
    assert (tmp_path / "shard-00001.safetensors").stat().st_mtime_ns == stat.st_mtime_ns


def test_no_store_is_no_store(tmp_path):
    with pytest.raises(DataError, match=r"no feature store; `FeatureStore.create` makes one"):
        FeatureStore.open(tmp_path / "gone")


def test_an_index_outside_the_store_is_named(plain):
    store, _ = plain

    with pytest.raises(IndexError, match="sample 40 of 40"):
        store[40]
    with pytest.raises(IndexError, match="samples -1 to 3 of 40"):
        store.gather([3, -1])
    with pytest.raises(IndexError, match="5 samples for a buffer of 4"):
        store.gather(range(5), buffer=store.buffer(4))


# -- the files ---------------------------------------------------------------------------------------


def test_shards_are_safetensors_files_whose_records_start_on_a_page(tmp_path):
    value, mask = masked(torch.float16, [3, 0, 7, 2, 1, 1, 5, 4], 6)
    values = {"x": numbers(torch.bfloat16, 8, 5), "tokens": value, "tokens_mask": mask}
    fields = [
        Field(name="x", shape=(5,), dtype="bfloat16"),
        Field(name="tokens", shape=(6,), dtype="float16", ragged=True),
    ]
    store = filled(tmp_path, fields, values)

    (path,) = tmp_path.glob("shard-*.safetensors")
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    with safe_open(path, "pt") as file:
        rows, payload, about = file.get_tensor("rows"), file.get_tensor("payload"), file.metadata()
    at = store.schema.offsets["x"]
    assert (8 + length) % PAGE == 0
    assert rows.shape == (8, store.schema.stride)
    assert torch.equal(rows[:, at : at + 10].contiguous().view(torch.bfloat16), values["x"])
    assert torch.equal(payload.view(torch.float16).view(-1, 6), value[mask])
    assert Schema.from_json(json.loads(about["schema"])) == store.schema


def test_several_shards_lie_side_by_side(plain):
    store, values = plain

    files = sorted(store.folder.glob("shard-*.safetensors"))
    assert len(files) == 3
    assert store.bytes == sum(path.stat().st_size for path in files)
    assert torch.equal(store.gather([39, 0, 16, 15, 31, 32])["x"], values["x"][[39, 0, 16, 15, 31, 32]])
    assert not list(store.folder.glob("*.lock")) + list(store.folder.glob(".*"))


# -- one flipped byte --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Folder of a store of two shards, with a payload."""
    folder = tmp_path_factory.mktemp("mixed")
    value, mask = masked(torch.float32, [draw % 7 for draw in range(40)], 3)
    fields = [Field(name="x", shape=(28,)), Field(name="tokens", shape=(3,), ragged=True)]
    values = {"x": numbers(torch.float32, 40, 28), "tokens": value, "tokens_mask": mask}
    filled(folder, fields, values, rows_per_shard=32, about={"key": "0123", "parts": ["stem"]})
    return folder


def flipped(path, position, change):
    content = bytearray(path.read_bytes())
    content[position] ^= change
    path.write_bytes(content)


def places(path):
    """Bytes to flip: all of a JSON file; of a shard each kind of byte, rows and payload densely."""
    size = path.stat().st_size
    if path.suffix == ".json":
        return range(size)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    text = len(path.read_bytes()[8 : 8 + length].rstrip())
    header = [*range(8), *range(8, 8 + text, 3), 8 + text, 8 + length // 2, 7 + length]
    return [*header, *range(8 + length, size, 11), size - 1]


@pytest.mark.parametrize("name", ["shard-00000.safetensors", "shard-00001.safetensors", "store.json", "index.json"])
def test_one_flipped_byte_anywhere_is_found_and_its_file_named_before_a_value_is_read(name, mixed):
    path, draw = mixed / name, random.Random(name)
    whole = path.read_bytes()
    tried = 0
    for position in places(path):
        flipped(path, position, draw.randrange(1, 256))
        with pytest.raises(DataError, match=name):
            FeatureStore.open(mixed)
        path.write_bytes(whole)
        tried += 1
    assert tried >= 150
    assert len(FeatureStore.open(mixed)) == 40


@pytest.mark.parametrize("name", ["shard-00000.safetensors", "shard-00000.json", "store.json"])
def test_one_flipped_byte_of_a_store_that_is_not_finished_is_found_before_it_is(name, mixed):
    (mixed / "index.json").unlink()
    path, draw = mixed / name, random.Random(name)
    whole = path.read_bytes()
    tried = 0
    for position in list(places(path))[:: 1 if path.suffix == ".json" else 7]:
        flipped(path, position, draw.randrange(1, 256))
        with pytest.raises(DataError, match=name):
            FeatureStore.create(mixed, {"x": ()}, rows=40) if name == "store.json" else writer_of(mixed).finish()
        (mixed / "index.json").unlink(missing_ok=True)
        path.write_bytes(whole)
        tried += 1
    assert tried >= 30
    assert writer_of(mixed).finish() is not None


def writer_of(folder):
    from gradatim.features import StoreWriter

    return StoreWriter(folder)


def test_white_space_that_changed_counts_as_damage(mixed):
    path = mixed / "index.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"\n ", b"\n\t", 1))

    with pytest.raises(DataError, match=r"index\.json: damaged"):
        FeatureStore.open(mixed)
    path.write_bytes(whole)


@pytest.mark.parametrize("how", ["missing", "cut", "longer"])
def test_a_shard_that_is_missing_or_of_another_size_is_named_even_without_reading_it(how, plain):
    folder = plain[0].folder
    path = folder / "shard-00001.safetensors"
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if how == "cut" else path.read_bytes() + b" ")

    with pytest.raises(DataError, match=r"shard-00001\.safetensors: (missing|damaged).*verify --repair"):
        FeatureStore.open(folder, verify=False)


def test_verify_names_what_is_damaged_and_repair_keeps_what_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_FEATURES", str(tmp_path))
    values = {"x": numbers(torch.float32, 40, 64)}

    def write():
        return filled(tmp_path / "x-1", {"x": (64,)}, values, rows_per_shard=16)

    def verify(**options):
        return [line for entry in Shelf().entries() for line in Shelf().verify(entry, **options)]

    for name, stays in (
        ("shard-00001.safetensors", ["shard-00000", "shard-00002"]),
        ("index.json", ["shard-00000", "shard-00001", "shard-00002"]),
        ("store.json", []),
    ):
        write().close()
        flipped(tmp_path / "x-1" / name, 30, 1)
        assert [name in line for line in verify()] == [True], name
        assert [name in line for line in verify(repair=True)] == [True], name
        assert sorted(path.stem for path in tmp_path.glob("x-1/*.safetensors")) == stays
        assert verify() == []
        store = write()
        assert torch.equal(store.gather(range(40))["x"], values["x"])
        store.close()


# -- reading an epoch --------------------------------------------------------------------------------


def order_of(store, **options):
    return [int(x) for batch in store.batches(8, **options) for x in batch["i"].tolist()]


@pytest.fixture
def counted(tmp_path):
    """A store whose samples are their numbers."""
    return filled(tmp_path / "counted", {"i": ()}, {"i": torch.arange(100)}, dtype="int64")


def test_every_epoch_has_an_order_of_its_own_and_all_samples_once(counted):
    epochs = [order_of(counted, seed=3, epoch=epoch) for epoch in range(4)]

    assert all(sorted(order) == list(range(100)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 4
    assert order_of(counted, seed=3, epoch=2) == epochs[2]
    assert order_of(counted, seed=4, epoch=2) != epochs[2]
    assert order_of(counted, shuffle=False) == list(range(100))
    # Neighbors come from all over the store, not from one shard after the other.
    assert sum(abs(a - b) for a, b in itertools.pairwise(epochs[0])) / 99 > 25


def test_an_epoch_of_chosen_samples(counted):
    chosen = [5, 7, 90, 3]

    assert sorted(order_of(counted, indices=chosen)) == sorted(chosen)
    assert order_of(counted, indices=chosen, shuffle=False) == chosen
    assert [len(batch["i"]) for batch in counted.batches(8)] == [8] * 12 + [4]


def test_the_last_batches_that_were_asked_for_stay_valid(counted):
    kept = list(counted.batches(8, shuffle=False, reuse=0))
    assert torch.equal(torch.cat([batch["i"] for batch in kept]), torch.arange(100))

    ahead = counted.batches(8, shuffle=False, reuse=3)
    first, second, third = next(ahead), next(ahead), next(ahead)
    assert [batch["i"][0].item() for batch in (first, second, third)] == [0, 8, 16]
    next(ahead)
    assert first["i"][0].item() == 24


def test_two_iterators_at_once_share_no_memory(counted):
    pairs = zip(counted.batches(8, shuffle=False), counted.batches(8, seed=1), strict=True)

    for number, (one, other) in enumerate(pairs):
        assert one["i"].tolist() == list(range(number * 8, min(100, number * 8 + 8)))
        assert one["i"].data_ptr() != other["i"].data_ptr()


@pytest.fixture
def large(tmp_path):
    """A store whose batches are worth a thread of their own."""
    value = torch.arange(64.0)[:, None].expand(64, 70_000)
    return filled(tmp_path / "large", {"x": (70_000,)}, {"x": value})


@pytest.mark.parametrize("reuse", [0, 1, 2, 5])
def test_large_batches_are_gathered_ahead_in_order_and_stay_valid(reuse, large):
    pace = pace_of(7 * large.schema.stride)
    assert pace == (Pace(5, 3) if (os.cpu_count() or 1) > 1 else Pace())
    valid, seen = [], []
    for batch in large.batches(7, seed=1, reuse=reuse):
        valid = [*valid, batch][-(reuse or 100) :]
        seen.append([int(row[0]) for row in batch["x"]])
        time.sleep(0.002)
        expected = [[value] * 2 for batch in seen[-len(valid) :] for value in batch]
        assert [row[[0, -1]].tolist() for batch in valid for row in batch["x"]] == expected

    whole = [row for batch in seen for row in batch]
    assert sorted(whole) == list(range(64))
    assert whole == [int(row) for batch in large.batches(1, seed=1) for row in batch["x"][:, 0]]


def test_batches_are_gathered_together_as_far_as_a_thread_is_worth_it(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert pace_of(100) == pace_of(1 << 16) == Pace()
    assert pace_of(1 << 18) == Pace(8, 3)
    assert pace_of(3 << 20) == Pace(3, 3)
    assert pace_of(1 << 30) == Pace(1, 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert pace_of(3 << 20) == Pace()

    assert [Pace(1, 3).buffers(valid) for valid in (1, 2, 5)] == [4, 5, 8]
    assert [Pace(3, 3).buffers(valid) for valid in (1, 2, 4, 5)] == [4, 5, 5, 6]
    assert list(grouped(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_waits_for_a_batch_gathers_others_meanwhile():
    makers, begun = set(), threading.Event()

    def slow():
        # Whoever takes this one first: the other thread has the time to do all that is given out.
        makers.add(threading.current_thread())
        begun.set()
        time.sleep(0.2)
        return 0

    def other(number):
        begun.wait()
        makers.add(threading.current_thread())
        return number

    jobs = [slow, *(partial(other, number) for number in range(1, 20))]

    assert list(gathered_ahead(iter(jobs), 4)) == list(range(20))
    assert threading.current_thread() in makers


def test_results_that_are_taken_are_let_go():
    class Made:
        pass

    alive: weakref.WeakSet[Made] = weakref.WeakSet()

    def make():
        alive.add(made := Made())
        return made

    for _ in gathered_ahead((make for _ in range(200)), 4):
        time.sleep(0.0002)
        assert len(alive) <= 4 + 2


def test_what_a_job_raised_is_raised_where_its_result_was_awaited():
    def fail():
        raise KeyError("gone")

    source = gathered_ahead(iter([lambda: 1, fail, lambda: 3]), 4)

    assert next(source) == 1
    with pytest.raises(KeyError, match="gone"):
        next(source)


def test_a_store_that_is_closed_while_it_is_read_does_no_harm(large):
    maps = Path("/proc/self/maps")
    source = large.batches(1)
    next(source)
    large.close()

    with pytest.raises(IndexError):
        list(source)

    if maps.exists():
        assert str(large.folder) not in maps.read_text()


@pytest.mark.parametrize("size", [1, 3, 32, 257])
def test_a_batch_lies_half_a_page_from_where_records_begin(size, plain):
    assert plain[0].buffer(size).array.ctypes.data % PAGE == PAGE // 2
    assert plain[0].records.records.ctypes.data % PAGE == 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_torchs_loader_reads_a_store(workers, batch_size, plain):
    store, values = plain
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        store.dataset(), batch_size=batch_size, shuffle=True, num_workers=workers, generator=generator,
        multiprocessing_context=CONTEXT if workers else None,
    )  # fmt: skip

    found = torch.cat([batch["x"].reshape(-1, 64).clone() for batch in loader])

    assert len(store.dataset()) == 40
    assert not torch.equal(found, values["x"])
    assert torch.equal(found.sort(0).values, values["x"].sort(0).values)


def test_torchs_loader_gets_values_of_varying_length_one_by_one(tmp_path):
    value, mask = masked(torch.float32, [1, 4, 2], 2)
    store = filled(tmp_path, [Field(name="x", shape=(2,), ragged=True)], {"x": value, "x_mask": mask})

    (found,) = DataLoader(store.dataset(), batch_size=3, collate_fn=lambda samples: samples)

    assert [len(sample["x"]) for sample in found] == [1, 4, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for a GPU")
def test_batches_can_be_gathered_into_pinned_memory(plain):
    store, values = plain
    buffer = store.buffer(4, pinned=True)

    found = store.gather([1, 2], buffer=buffer)["x"]

    assert found.is_pinned()
    assert torch.equal(found, values["x"][1:3])


def anonymous():
    """Bytes of this process that are no file's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_reading_takes_no_more_memory_where_there_are_more_samples(tmp_path):
    width, peaks, grown = 512, {}, {}
    for rows in (2_000, 20_000):
        value = torch.zeros(1, width).expand(rows, width)
        store = filled(tmp_path / str(rows), {"x": (width,)}, {"x": value}, batch=500)
        sum(1 for _ in store.batches(32))
        before = anonymous()
        tracemalloc.start()
        held = max(anonymous() for _ in store.batches(32))
        peaks[rows] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        grown[rows] = held - before
        store.close()

    # The order of an epoch is a few numbers a sample; the samples themselves are 37 MB more.
    assert peaks[20_000] - peaks[2_000] < 32 * 18_000
    assert grown[20_000] < 8 << 20


def test_a_store_can_be_read_again_after_a_process_was_forked(plain):
    store, values = plain
    child = os.fork()
    if not child:
        os._exit(0 if torch.equal(store.gather([3])["x"], values["x"][3:4]) else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(store.gather([3])["x"], values["x"][3:4])
