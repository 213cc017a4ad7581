"""The one true order of batches: by seed, stage and epoch, from anywhere, for any number of processes and workers."""

import pytest
import torch

from gradatim.data.batches import BatchOrder, batches, plain_batches
from gradatim.data.random import keyed_generator, keyed_seed
from toy import TOY, ToyData


def order(**changes):
    return BatchOrder(**{"samples": 23, "batch_size": 4, "seed": 0, "stage": "s", **changes})


def whole(one, epochs=3):
    return list(one.starting(0, epochs * one.per_epoch))


def test_each_epoch_holds_every_sample_once_in_an_order_of_its_own():
    one = order()

    epochs = [[index for batch in one.epoch(e) for _, index in batch] for e in range(3)]

    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [len(batch) for batch in one.epoch(0)] == [4, 4, 4, 4, 4, 3]


def test_equal_seeds_and_stages_have_equal_orders_and_others_do_not():
    assert whole(order()) == whole(order())
    assert whole(order()) != whole(order(seed=1))
    assert whole(order()) != whole(order(stage="t"))


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 17, 18])
def test_a_start_anywhere_is_the_tail_of_the_whole(start):
    one = order()

    assert list(one.starting(start, 18)) == whole(one)[start:]
    assert list(one.starting(start, min(start + 2, 18))) == whole(one)[start : min(start + 2, 18)]


@pytest.mark.parametrize("samples", [24, 23, 17, 9])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_each_epochs_samples_without_overlap(samples, world):
    ranks = [order(samples=samples, rank=rank, world=world) for rank in range(world)]

    for epoch in range(2):
        seen = [index for rank in ranks for batch in rank.epoch(epoch) for _, index in batch]
        assert sorted(seen) == list(range(samples))
    assert len({rank.per_epoch for rank in ranks}) == 1


def test_the_ranks_of_a_step_hold_the_batch_of_one_process_that_is_as_large():
    alone = order(batch_size=8)
    ranks = [order(rank=rank, world=2) for rank in range(2)]

    for batch, *shares in zip(alone.epoch(0), *(rank.epoch(0) for rank in ranks), strict=True):
        assert sorted(batch) == sorted(key for share in shares for key in share)


def rows(**settings):
    return TOY.data.open(ToyData(samples=10, **settings), "train")


def values(dataset, *, start=0, stop=9, workers=0, **changes):
    one = order(samples=10, **changes)
    return [batch["x"] for batch in batches(dataset, ("x",), one, start=start, stop=stop, workers=workers)]


def test_batches_hold_the_samples_of_their_order():
    dataset = rows()

    for batch, keys in zip(values(dataset), order(samples=10).starting(0, 9), strict=True):
        assert torch.equal(batch, dataset.x[[index for _, index in keys]])


def test_augmentation_is_drawn_from_seed_stage_epoch_and_index():
    dataset = rows(jitter=0.5)
    first, again, other = values(dataset), values(dataset), values(dataset, seed=1)

    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    keys = [key for batch in order(samples=10).starting(0, 9) for key in batch]
    by_key = dict(zip(keys, torch.cat(first), strict=True))
    assert not torch.equal(by_key[0, 3], by_key[1, 3])


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_resumed_stage_sees_the_very_samples_that_it_would_have_seen(start):
    dataset = rows(jitter=0.5)

    for one, two in zip(values(dataset)[start:], values(dataset, start=start), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers):
    dataset = rows(jitter=0.5)

    for one, two in zip(values(dataset), values(dataset, workers=workers), strict=True):
        assert torch.equal(one, two)


def test_only_the_fields_that_are_asked_for_are_read():
    (batch,) = batches(rows(), ("y",), order(samples=10), start=0, stop=1)

    assert set(batch) == {"y"}


def test_plain_batches_keep_the_data_sets_order_and_are_not_augmented():
    dataset = rows(jitter=0.5)

    found = list(plain_batches(dataset, ("x",), 4))

    assert [indices for indices, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(torch.cat([batch["x"] for _, batch in found]), dataset.x)


def test_keys_are_told_apart_by_kind_and_place():
    seeds = [keyed_seed(*keys) for keys in ((1, 2), (2, 1), ("1", 2), (12,), (1, "2"), ("12",), ())]

    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert keyed_seed("a", 1) == keyed_seed("a", 1)
    assert keyed_generator("a").random() == keyed_generator("a").random()
