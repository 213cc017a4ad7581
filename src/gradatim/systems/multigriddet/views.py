"""Where a picture comes to lie in the network's input: placed, mirrored or turned; boxes go with its pixels."""

from dataclasses import dataclass, replace
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradatim.data.image import Picture
from gradatim.systems.multigriddet.example import Boxes, Example, Keeping, clipped, sides
from gradatim.systems.multigriddet.letterbox import GRAY, Letterbox, place

Range = tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """A size that a picture is brought to, and its place in the input.

    Args:
        content: (height, width) of the whole picture.
        offset: (top, left) of it; negative where it is cut.
        target: (height, width) of the input.
    """

    content: tuple[int, int]
    offset: tuple[int, int]
    target: tuple[int, int]

    def example(
        self,
        picture: Picture,
        boxes: Boxes,
        classes: NDArray[np.int64],
        *,
        size: tuple[int, int],
        keeping: Keeping,
    ) -> Example:
        """Place a picture.

        Args:
            picture: (h, w, 3) uint8, whole, in any resolution.
            boxes: (N, 4), in pixels of a picture of `size`.
            classes: (N,).
            size: (height, width) that boxes refer to.
            keeping: which cut objects remain.
        """
        moved = placed_boxes(boxes, size, self.content, self.offset)
        whole = Example(self._picture(picture), moved, classes, np.ones(len(moved)))
        return whole.cut((0, 0, self.target[1], self.target[0]), keeping)

    def _picture(self, picture: Picture) -> Picture:
        """As `place`, but what will be cut off is not resized in the first place."""
        spans = []
        for content, offset, target, side in zip(
            self.content, self.offset, self.target, picture.shape[:2], strict=True
        ):
            first, last = max(0, -offset), min(content, target - offset)
            spans.append((first * side / content, last * side / content, last - first, offset + first))
        (top, bottom, rows, row), (left, right, columns, column) = spans
        if (rows, columns) == self.content:
            return place(picture, self.content, self.offset, self.target)
        filter_ = Image.Resampling.BICUBIC
        part = Image.fromarray(picture).resize((columns, rows), filter_, box=(left, top, right, bottom))
        return place(np.asarray(part), (rows, columns), (row, column), self.target)


def letterboxed(size: tuple[int, int], target: tuple[int, int]) -> Placement:
    """The place of a picture that is not augmented."""
    box = Letterbox(size, target)
    return Placement(box.content, box.offset, target)


def placed_boxes(boxes: Boxes, size: tuple[int, int], content: tuple[int, int], offset: tuple[int, int]) -> Boxes:
    """Corners (N, 4) of a picture of `size` that is resized to `content` and moved by `offset`, (top, left)."""
    factors = np.array([content[1] / size[1], content[0] / size[0]] * 2)
    result: Boxes = boxes * factors + np.array([offset[1], offset[0]] * 2)
    return result


def draw_placement(
    size: tuple[int, int], target: tuple[int, int], *, scale: Range, aspect: float, random: np.random.Generator
) -> Placement:
    """Choose how large a picture is shown, how much its aspect is changed, and where it lies.

    A side that is shorter than the input's lies anywhere inside it; of a longer one, any part is seen. (The published
    program shows the top left part always; a bug that is not copied.)

    Args:
        size: (height, width) of the picture.
        target: (height, width) of the input.
        scale: of the letterboxed picture, drawn evenly.
        aspect: width over height changes by a quotient of two numbers of 1 - aspect to 1 + aspect; one of the
            sides becomes shorter for that, none longer.
        random: the source of the choice.
    """
    height, width = target
    stretch = random.uniform(1 - aspect, 1 + aspect) / random.uniform(1 - aspect, 1 + aspect)
    chosen = random.uniform(*scale)
    inner = Letterbox(size, target).content
    content = (max(int(inner[0] * chosen / max(stretch, 1)), 1), max(int(inner[1] * chosen * min(stretch, 1)), 1))
    top, left = (
        int(random.integers(min(0, free), max(0, free) + 1)) for free in (height - content[0], width - content[1])
    )
    return Placement(content, (top, left), target)


def mirrored(example: Example, *, vertical: bool = False) -> Example:
    """Left and right exchanged, or top and bottom."""
    axis = 0 if vertical else 1
    picture: Picture = np.ascontiguousarray(np.flip(example.picture, axis))
    return replace(example, picture=picture, boxes=mirrored_boxes(example.boxes, example.size, vertical=vertical))


def mirrored_boxes(boxes: Boxes, size: tuple[int, int], *, vertical: bool = False) -> Boxes:
    """Corners (N, 4) after left and right of a picture of `size` were exchanged, or top and bottom."""
    low, high = (1, 3) if vertical else (0, 2)
    length = size[0] if vertical else size[1]
    result = boxes.copy()
    result[:, low], result[:, high] = length - boxes[:, high], length - boxes[:, low]
    return result


def turned(example: Example, quarters: int) -> Example:
    """Turned against the clock by quarters; where the input is no square, made smaller so that all of it is seen."""
    height, width = example.size
    picture: Picture = np.ascontiguousarray(np.rot90(example.picture, quarters))
    boxes, size = example.boxes, (height, width)
    for _ in range(quarters % 4):
        boxes = np.stack([boxes[:, 1], size[1] - boxes[:, 2], boxes[:, 3], size[1] - boxes[:, 0]], axis=1)
        size = (size[1], size[0])
    if size != example.size:
        box = Letterbox(size, example.size)
        picture, boxes = box.picture(picture), box.boxes(boxes)
    return replace(example, picture=picture, boxes=boxes)


def tilted(example: Example, degrees: float, keeping: Keeping) -> Example:
    """Turned against the clock around the middle; a box is the smallest that holds the turned one."""
    height, width = example.size
    gray = (GRAY, GRAY, GRAY)
    picture = Image.fromarray(example.picture).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=gray)
    x, y = example.boxes[:, [0, 2, 2, 0]] - width / 2, example.boxes[:, [1, 1, 3, 3]] - height / 2
    across, down = cos(radians(degrees)), sin(radians(degrees))
    new_x, new_y = x * across + y * down + width / 2, y * across - x * down + height / 2
    corners = [new_x.min(axis=1), new_y.min(axis=1), new_x.max(axis=1), new_y.max(axis=1)]
    boxes = np.stack(corners, axis=1)
    return replace(example, picture=np.asarray(picture), boxes=boxes).cut((0, 0, width, height), keeping)


def original_reshaped(
    boxes: Boxes,
    source: tuple[int, int],
    content: tuple[int, int],
    offset: tuple[int, int],
    target: tuple[int, int],
    *,
    mirror: bool,
) -> Boxes:
    """Boxes as the published program's second pipeline moves them, cut to whole pixels before they are mirrored.

    Args:
        boxes: (N, 5), corners and class.
        source: (height, width) of the picture.
        content: (height, width) that it is resized to.
        offset: (top, left) of it in the input.
        target: (height, width) of the input.
        mirror: whether left and right are exchanged.

    Returns:
        (M, 5), in order; boxes with a side of 1 pixel or less are left out.
    """
    corners = np.trunc(placed_boxes(boxes[:, :4], source, content, offset))
    if mirror:
        corners = mirrored_boxes(corners, target)
    corners = clipped(corners, (0, 0, target[1], target[0]))
    moved: Boxes = np.concatenate([corners, boxes[:, 4:]], axis=1)
    return moved[(sides(corners) > 1).all(axis=1)]
