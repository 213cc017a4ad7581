import math

import pytest
import torch

from gradatim.vision.positions import sine_cosine_table


def test_the_first_half_of_a_position_is_the_column_and_the_second_the_row():
    table = sine_cosine_table(8, (2, 3))

    row, column = 1, 2
    expected = [f(p * w) for p in (column, row) for f in (math.sin, math.cos) for w in (1, 0.01)]

    assert table.dtype == torch.float32
    torch.testing.assert_close(table[row * 3 + column], torch.tensor(expected))


def test_a_larger_grid_continues_a_smaller_one():
    small, large = sine_cosine_table(16, (3, 4)), sine_cosine_table(16, (5, 9))

    assert torch.equal(large.view(5, 9, 16)[:3, :4], small.view(3, 4, 16))


def test_a_width_without_four_parts_is_refused():
    with pytest.raises(ValueError, match=r"width is 6, .* multiple of 4"):
        sine_cosine_table(6, (2, 2))
