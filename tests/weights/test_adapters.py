"""Tables of positions on another grid."""

import pytest
import torch
from torch import nn

from gradatim.errors import WeightsError
from gradatim.weights.adapters import resize_grid, resize_positions


def test_resizing_to_the_same_grid_changes_nothing_but_the_class_row():
    table = torch.rand(1, 7, 4)

    assert torch.equal(resize_grid(table, (2, 3), (2, 3), class_row="keep"), table)
    assert torch.equal(resize_grid(table, (2, 3), (2, 3), class_row="drop"), table[:, 1:])
    assert torch.equal(resize_grid(table[:, 1:], (2, 3), (2, 3)), table[:, 1:])


def test_resizing_interpolates_rows_and_columns_and_leaves_the_class_row():
    row, column = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    table = torch.cat([torch.full((1, 1, 2), 9.0), torch.stack([row, column], -1).view(1, 24, 2)], dim=1)

    resized = resize_grid(table, (4, 6), (8, 12), class_row="keep")

    assert torch.equal(resized[:, 0], table[:, 0])
    inner = resized[:, 1:].view(8, 12, 2)[3:5, 4:8]
    # Pixel centres: new row 3 lies at old row 1.25. The kernel bends a straight line by up to 0.05.
    torch.testing.assert_close(inner[:, 0, 0], torch.tensor([1.25, 1.75]), atol=0.05, rtol=0)
    torch.testing.assert_close(inner[0, :, 1], torch.tensor([1.75, 2.25, 2.75, 3.25]), atol=0.05, rtol=0)


def test_a_table_of_another_grid_is_refused_with_the_shape_that_would_fit():
    with pytest.raises(WeightsError, match=r"shape \(1, 6, 4\), a grid of 2 x 3 with class_row='drop' needs \(1, 7, "):
        resize_grid(torch.rand(1, 6, 4), (2, 3), (4, 6), class_row="drop")


def test_resizing_is_cubic_between_old_places():
    table = torch.zeros(1, 4, 3, 1)
    table[:, 1] = 1

    resized = resize_grid(table.view(1, 12, 1), (4, 3), (8, 3)).view(8, 3)

    # The kernel (Keys, a = -0.75) at a quarter and at three quarters of a step.
    torch.testing.assert_close(resized[2:5, 0], torch.tensor([0.87890625, 0.87890625, 0.26171875]))


def part(grid=None):
    module = nn.Module()
    if grid:
        module.grid = grid
    return module


def adapted(table, rows, grid=None, width=4):
    return resize_positions(table, torch.empty(1, rows, width, device="meta"), part(grid))


@pytest.mark.parametrize(
    ("count", "grid", "source", "first"),
    [
        (16, (6, 8), (4, 4), 0),
        (17, (6, 8), (4, 4), 1),
        (12, (6, 8), (3, 4), 0),
        (13, (6, 8), (3, 4), 1),
        (43, (6, 7), (6, 7), 1),
        (9, None, (3, 3), 0),
        (10, None, (3, 3), 1),
    ],
)
def test_a_tables_grid_is_told_by_its_length_and_a_class_row_is_dropped(count, grid, source, first):
    table = torch.rand(1, count, 4)
    rows, columns = grid or (5, 5)

    resized = adapted(table, rows * columns, grid)

    assert resized.shape == (1, rows * columns, 4)
    assert torch.equal(resized, resize_grid(table[:, first:], source, (rows, columns)))


def test_a_part_with_a_class_row_keeps_the_files():
    table = torch.rand(1, 17, 4)

    resized = adapted(table, 49, (6, 8))

    assert torch.equal(resized, resize_grid(table, (4, 4), (6, 8), class_row="keep"))
    assert torch.equal(resized[:, 0], table[:, 0])


@pytest.mark.parametrize(
    ("table", "rows", "grid", "message"),
    [
        (torch.rand(1, 16, 5), 48, (6, 8), r"a table of shape \(1, 16, 5\) cannot be resized to \(1, 48, 4\)"),
        (torch.rand(16, 4), 48, (6, 8), r"a table of shape \(16, 4\) cannot be resized"),
        (torch.rand(1, 15, 4), 48, (6, 8), "^15 positions are no grid that fits 6 x 8$"),
        (torch.rand(1, 16, 4), 49, (6, 8), "^16 positions are no grid that fits 6 x 8 and a class row$"),
        (torch.rand(1, 16, 4), 64, (4, 16), "^16 positions may be 2 x 8 or 4 x 4$"),
        (torch.rand(1, 0, 4), 48, (6, 8), "^0 positions are no grid that fits 6 x 8$"),
        (torch.rand(1, 16, 4), 15, (3, 5), "^16 positions may be 4 x 4 or 3 x 5 and a class row$"),
        (torch.rand(1, 16, 4), 50, (6, 8), "^the part's 50 positions are no grid of 6 x 8$"),
        (torch.rand(1, 16, 4), 11, None, "^the part's 11 positions are no grid$"),
        (torch.rand(1, 1, 4), 48, (6, 8), None),
    ],
)
def test_a_table_that_fits_no_grid_or_two_is_refused(table, rows, grid, message):
    if message is None:
        assert adapted(table, rows, grid).shape == (1, rows, 4)  # One position, the same everywhere.
        return
    with pytest.raises(WeightsError, match=message):
        adapted(table, rows, grid)


def test_the_result_has_the_parts_type():
    target = torch.empty(1, 4, 2, dtype=torch.float64)

    assert resize_positions(torch.rand(1, 9, 2), target, part((2, 2))).dtype == torch.float64
