"""Adapters: named ways to fit an array whose shape differs from the part's.

A table of positions belongs to a grid of patches, (rows, columns), row-major; where there is a class token its row
stands in front, has no place on the grid and is never interpolated.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from gradatim.errors import WeightsError

Adapter = Callable[[Tensor, Tensor, nn.Module], Tensor]
Grid = tuple[int, int]
ClassRow = Literal["absent", "keep", "drop"]


def resize_positions(table: Tensor, target: Tensor, part: nn.Module) -> Tensor:
    """Resize a table of positions to the part's grid by bicubic interpolation.

    Args:
        table: (1, N, D). Its grid is the part's own, a square or of the part's aspect, whichever N allows.
        target: the part's array, (1, rows * columns, D) or with a class row; gives shape and dtype only.
        part: its attribute `grid`, (rows, columns), tells the target's shape; square where it has none.

    Raises:
        WeightsError: a width differs, N allows no grid or more than one, or the part has a class row and the file
            has none.
    """
    if table.ndim != 3 or target.ndim != 3 or table.shape[::2] != (1, target.shape[2]):
        raise WeightsError(f"a table of shape {tuple(table.shape)} cannot be resized to {tuple(target.shape)}")
    goal, class_wanted = _target_grid(target.shape[1], getattr(part, "grid", None))
    readings = dict.fromkeys(_readings(table.shape[1], goal))
    fitting = [(has_class, grid) for has_class, grid in readings if has_class or not class_wanted]
    if len(fitting) != 1:
        found = " or ".join(f"{_worded(grid)}{' and a class row' * has_class}" for has_class, grid in fitting)
        why = (
            f"may be {found}"
            if fitting
            else f"are no grid that fits {_worded(goal)}{' and a class row' * class_wanted}"
        )
        raise WeightsError(f"{table.shape[1]} positions {why}")
    ((has_class, source),) = fitting
    class_row: ClassRow = "absent" if not has_class else "keep" if class_wanted else "drop"
    return resize_grid(table, source, goal, class_row=class_row).to(target.dtype)


def _target_grid(count: int, grid: Grid | None) -> tuple[Grid, bool]:
    """A part's grid, and whether its table of `count` rows begins with a class token's."""
    for class_row in (False, True):
        side = math.isqrt(count - class_row)
        goal = grid or (side, side)
        if goal[0] * goal[1] + class_row == count:
            return (goal[0], goal[1]), class_row
    raise WeightsError(f"the part's {count} positions are no grid{f' of {_worded(grid)}' if grid else ''}")


def _readings(count: int, goal: Grid) -> Iterator[tuple[bool, Grid]]:
    """(whether there is a class row, grid) of everything that a table of `count` rows can be."""
    for has_class in (False, True):
        patches = count - has_class
        if patches < 1:
            return
        scale = math.sqrt(goal[0] * goal[1] / patches)
        scaled = round(goal[0] / scale), round(goal[1] / scale)
        side = math.isqrt(patches)
        if scaled[0] * scaled[1] == patches and scaled[0] * goal[1] == scaled[1] * goal[0]:
            yield has_class, scaled
        if side * side == patches:
            yield has_class, (side, side)


def resize_grid(table: Tensor, source: Grid, target: Grid, *, class_row: ClassRow = "absent") -> Tensor:
    """Bicubic resize of a position table from one grid to another.

    Args:
        table: (1, rows * columns, D), with one more row in front where there is a class token.
        source: (rows, columns) of `table`.
        target: (rows, columns) that are needed.
        class_row: whether `table` begins with the row of a class token, and what becomes of it.

    Returns:
        (1, N, D) where N counts the target's tokens and a kept class row; the dtype of `table`.

    Raises:
        WeightsError: the table is not of that grid.
    """
    first = 0 if class_row == "absent" else 1
    needed = first + source[0] * source[1]
    if table.ndim != 3 or table.shape[:2] != (1, needed):
        raise WeightsError(
            f"position table has shape {tuple(table.shape)}, a grid of {_worded(source)} "
            f"with class_row={class_row!r} needs (1, {needed}, width)."
        )
    patches = table[:, first:]
    if source != target:
        image = patches.transpose(1, 2).reshape(1, -1, *source).double()
        image = nn.functional.interpolate(image, size=target, mode="bicubic", align_corners=False)
        patches = image.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat([table[:, :1], patches], dim=1) if class_row == "keep" else patches.clone()


def _worded(grid: Grid) -> str:
    return f"{grid[0]} x {grid[1]}"


ADAPTERS: Mapping[str, Adapter] = {"position": resize_positions}
