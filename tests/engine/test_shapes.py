"""Shapes that are remembered are those that torch works out, and what is kept for the backward pass is the same."""

import pytest
import torch
from torch import nn

from gradatim.engine import shapes
from gradatim.engine.shapes import RememberedShapes


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(shapes, "_KNOWN", {})


class Block(nn.Module):
    """What transformers and convolutional networks are made of, with views and a change in place."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear, self.conv = nn.LayerNorm(8), nn.Linear(8, 24), nn.Conv1d(4, 4, 3, padding=1)
        self.batch = nn.BatchNorm1d(4)

    def forward(self, x):
        query, key, value = self.linear(self.norm(x)).unflatten(-1, (3, 8)).unbind(-2)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + nn.functional.dropout(mixed, 0.5, training=self.training)
        x = x + self.batch(self.conv(x).relu_())
        return x.clone().transpose(1, 2).contiguous().transpose(1, 2)


def passed(count):
    """Everything that blocks keep for the backward pass, and their result."""
    with torch.device("meta"):
        blocks, kept = nn.Sequential(*(Block() for _ in range(count))), []
        with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
            result = blocks(torch.zeros(2, 4, 8))
    return [(one.shape, one.stride(), one.dtype, one.is_meta) for one in (*kept, result)], result


def test_what_is_kept_and_made_is_the_same():
    expected, _ = passed(3)
    with RememberedShapes():
        first, _ = passed(3)
        second, result = passed(3)

    assert first == second == expected
    result.sum().backward()


def test_equal_blocks_are_worked_out_once():
    with RememberedShapes():
        passed(2)
        known = len(shapes._KNOWN)
        passed(5)

    assert len(shapes._KNOWN) == known > 5


def test_other_strides_types_and_numbers_are_other_calls():
    with RememberedShapes():
        plain = torch.empty(4, 4, device="meta")
        assert (plain + 1).dtype == torch.float32
        assert (torch.empty(4, 4, dtype=torch.int64, device="meta") + 1).dtype == torch.int64
        assert (torch.empty(4, 4, dtype=torch.int64, device="meta") + 1.0).dtype == torch.float32
        assert (torch.empty(4, 4, dtype=torch.int64, device="meta") + True).dtype == torch.int64
        assert (plain.T + 1).stride() == (1, 4)
        assert (plain + 1).stride() == (4, 1)
        assert torch.cat([plain, plain]).shape == (8, 4)
        assert torch.cat([plain, plain], 1).shape == (4, 8)
        assert [one.shape[0] for one in torch.native_batch_norm(
            plain, None, None, None, None, True, 0.1, 1e-5)] == [4, 4, 4]  # fmt: skip


def test_views_and_changes_in_place_stay_what_they_are():
    with RememberedShapes():
        for _ in range(2):
            whole = torch.empty(4, 4, device="meta")
            assert whole[1]._base is whole
            assert whole.add_(1) is whole


def test_numbers_are_computed_as_ever():
    with RememberedShapes():
        for number in (1.0, 2.0):
            assert float(torch.full((), number) + 1) == number + 1


def test_what_does_not_fit_is_told_each_time():
    with RememberedShapes():
        for _ in range(2):
            with pytest.raises(RuntimeError):
                torch.empty(2, 3, device="meta") @ torch.empty(2, 3, device="meta")
