"""Stored values of a stage, gathered several batches at once: what each batch holds, and for how long it stays."""

import pytest
import torch

from gradatim.data.batches import BatchOrder
from gradatim.engine.feed import Feed
from gradatim.features import FeatureStore, Field, reading
from gradatim.features.reading import Pace

ROWS = 23
LENGTHS = torch.arange(ROWS) % 5 + 1
WIDE = torch.arange(float(ROWS))[:, None].expand(ROWS, 50_000).clone()
TOKENS = torch.arange(float(ROWS))[:, None, None].expand(ROWS, 5, 3).clone()
MASK = torch.arange(5) < LENGTHS[:, None]


class Samples:
    """A data set all of whose fields are stored."""

    fields, random = (), False

    def __len__(self):
        return ROWS


def stored(folder, fields, values, **about):
    writer = FeatureStore.create(folder, fields, rows=ROWS, shard_bytes=1 << 20, about=about)
    for shard in range(writer.shards):
        with writer.shard(shard) as target:
            rows = writer.range_of(shard)
            writer.append(target, {name: value[rows.start : rows.stop] for name, value in values.items()})
    return writer.finish()


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Three stores, whose batches of four are worth a thread of their own."""
    monkeypatch.setattr(reading.os, "cpu_count", lambda: 2)
    wide = [Field(name=name, shape=(50_000,)) for name in ("translated.a", "translated.b")]
    tokens = [Field(name="tokens", shape=(3,), ragged=True)]
    label = [Field(name="label", shape=(), dtype="int64")]
    found = [
        stored(tmp_path / "wide", wide, {"translated.a": WIDE, "translated.b": -WIDE}),
        stored(tmp_path / "tokens", tokens, {"tokens": TOKENS, "tokens_mask": MASK}),
        stored(tmp_path / "label", label, {"label": torch.arange(ROWS)}, absent=["none"]),
    ]
    assert reading.pace_of(4 * sum(store.schema.stride for store in found)) == Pace(6, 3)
    yield found
    for store in found:
        store.close()


def is_right(batch, rows):
    longest = int(LENGTHS[rows].max())
    expected = TOKENS[rows, :longest].masked_fill(~MASK[rows, :longest, None], 0)
    return (
        batch.keys() == {"translated", "tokens", "tokens_mask", "label", "none"}
        and batch["none"] is None
        and torch.equal(batch["translated"]["a"], WIDE[rows])
        and torch.equal(batch["translated"]["b"], -WIDE[rows])
        and torch.equal(batch["tokens"], expected)
        and torch.equal(batch["tokens_mask"], MASK[rows, :longest])
        and batch["label"].tolist() == rows
    )


@pytest.mark.parametrize("hold", [1, 2, 7, 8])
def test_batches_are_those_of_the_order_and_stay_as_long_as_asked(hold, stores):
    order = BatchOrder(samples=ROWS, batch_size=4, seed=3, stage="fusion")
    feed = Feed(stores, ROWS, 1, hold=hold)
    valid = []

    for keys, batch in zip(
        order.starting(2, 40), feed.batches(Samples(), (), order, start=2, stop=40, workers=0), strict=True
    ):
        valid = [*valid, ([index for _, index in keys], batch)][-hold:]
        assert all(is_right(batch, rows) for rows, batch in valid)

    assert len(valid) == hold


def test_a_batch_gathered_alone_is_the_same(stores):
    feed = Feed(stores, ROWS, 1, hold=2)

    first, second = feed.gather(feed.rows([(0, 7), (0, 3)])), feed.gather(feed.rows([(0, 1), (0, 2)]))

    assert is_right(first, [7, 3])
    assert is_right(second, [1, 2])


def test_values_of_one_batch_may_be_changed(stores):
    order = BatchOrder(samples=ROWS, batch_size=4, seed=3, stage="fusion")
    feed = Feed(stores, ROWS, 1)

    for batch in feed.batches(Samples(), (), order, start=0, stop=40, workers=0):
        batch["translated"].pop("a"), batch.pop("label")
    (last,) = feed.batches(Samples(), (), order, start=40, stop=41, workers=0)

    assert is_right(last, [index for _, index in next(order.starting(40, 41))])
