"""What a data set does to a training batch as a whole, drawn from the batch's own first key."""

import pytest
import torch

from gradatim import PlanError, Stage
from gradatim.data.batches import BatchOrder, batches, plain_batches
from gradatim.engine.features import views_of


class Growing:
    """Rows whose training batches get a length of their own."""

    fields = ("x",)
    draws_batches = True

    def __init__(self, random=True):
        self.random = random

    def __len__(self):
        return 10

    def name(self, index):
        return str(index)

    def digest(self):
        return ""

    def sample(self, index, fields, random):
        return {"x": torch.full((2,), float(index))}

    def together(self, batch, random):
        return {"x": batch["x"].repeat(1, int(random.integers(1, 50)))}


def epoch(dataset, workers=0, seed=0):
    order = BatchOrder(samples=10, batch_size=4, seed=seed, stage="s")
    return [batch["x"] for batch in batches(dataset, ("x",), order, start=0, stop=6, workers=workers)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_batch_is_changed_as_a_whole_and_equally_in_any_process(workers):
    found = epoch(Growing(), workers)

    assert [len(batch) for batch in found] == [4, 4, 2] * 2
    assert len({batch.shape[1] for batch in found}) >= 4
    assert all(torch.equal(a, b) for a, b in zip(found, epoch(Growing()), strict=True))
    assert [b.shape[1] for b in found] != [b.shape[1] for b in epoch(Growing(), seed=1)]


def test_drawn_views_of_single_samples_are_refused_where_batches_are_drawn_as_a_whole():
    stage = Stage(name="s", task="t", train=["p"], losses={"l": 1}, lr=1, epochs=2, cache={"views": 2})

    with pytest.raises(PlanError, match=r"keeps samples one by one, but its data draws\s+something for each batch"):
        views_of(stage, Growing(), training=True)
    assert views_of(stage, Growing(), training=False) == 1


def test_without_chance_and_in_validation_batches_stay_as_they_are():
    assert {batch.shape[1] for batch in epoch(Growing(random=False))} == {2}
    assert {batch["x"].shape[1] for _, batch in plain_batches(Growing(), ("x",), 4)} == {2}
