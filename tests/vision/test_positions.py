import math

import pytest
import torch

from gradatim.vision.positions import resize_positions, sine_cosine_table


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


def test_resizing_to_the_same_grid_changes_nothing_but_the_class_row():
    table = torch.rand(1, 7, 4)

    assert torch.equal(resize_positions(table, (2, 3), (2, 3), class_row="keep"), table)
    assert torch.equal(resize_positions(table, (2, 3), (2, 3), class_row="drop"), table[:, 1:])
    assert torch.equal(resize_positions(table[:, 1:], (2, 3), (2, 3)), table[:, 1:])


def test_resizing_interpolates_rows_and_columns_and_leaves_the_class_row():
    row, column = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    table = torch.cat([torch.full((1, 1, 2), 9.0), torch.stack([row, column], -1).view(1, 24, 2)], dim=1)

    resized = resize_positions(table, (4, 6), (8, 12), class_row="keep")

    assert torch.equal(resized[:, 0], table[:, 0])
    inner = resized[:, 1:].view(8, 12, 2)[3:5, 4:8]
    # Pixel centres: new row 3 lies at old row 1.25. The kernel bends a straight line by up to 0.05.
    torch.testing.assert_close(inner[:, 0, 0], torch.tensor([1.25, 1.75]), atol=0.05, rtol=0)
    torch.testing.assert_close(inner[0, :, 1], torch.tensor([1.75, 2.25, 2.75, 3.25]), atol=0.05, rtol=0)


def test_a_table_of_another_grid_is_refused_with_the_shape_that_would_fit():
    with pytest.raises(ValueError, match=r"shape \(1, 6, 4\), a grid of 2 x 3 with class_row='drop' needs \(1, 7, "):
        resize_positions(torch.rand(1, 6, 4), (2, 3), (4, 6), class_row="drop")


def test_resizing_is_cubic_between_old_places():
    table = torch.zeros(1, 4, 3, 1)
    table[:, 1] = 1

    resized = resize_positions(table.view(1, 12, 1), (4, 3), (8, 3)).view(8, 3)

    # The kernel (Keys, a = -0.75) at a quarter and at three quarters of a step.
    torch.testing.assert_close(resized[2:5, 0], torch.tensor([0.87890625, 0.87890625, 0.26171875]))
