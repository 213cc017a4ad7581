"""The one way that pictures come into the network's input: whole, not distorted, gray where nothing is left.

The published program letterboxes like this when it is used, and in other ways when it trains; here it is
the same everywhere. (Training on black, aliased borders is a bug that is not copied.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradatim.data.image import Picture

GRAY = 128

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the network's input.

    Args:
        source: (height, width) of the picture.
        target: (height, width) of the network's input.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels of the input for one of the picture, before sides are cut to whole pixels."""
        return min(self.target[1] / self.source[1], self.target[0] / self.source[0])

    @property
    def content(self) -> tuple[int, int]:
        """(height, width) of the picture in the input; at least 1, and cut to whole pixels."""
        return max(int(self.source[0] * self.scale), 1), max(int(self.source[1] * self.scale), 1)

    @property
    def offset(self) -> tuple[int, int]:
        """(top, left) of the picture in the input."""
        return (self.target[0] - self.content[0]) // 2, (self.target[1] - self.content[1]) // 2

    @property
    def published_content(self) -> tuple[int, int]:
        """As `content`, by the published program's reckoning when it brings boxes back: rounded, so up to a pixel off.

        Weights do not depend on it; figures that shall equal the program's do.
        """
        return max(round(self.source[0] * self.scale), 1), max(round(self.source[1] * self.scale), 1)

    @property
    def published_offset(self) -> tuple[float, float]:
        """As `offset`, beside `published_content`: what is left, halved exactly."""
        height, width = self.published_content
        return (self.target[0] - height) / 2, (self.target[1] - width) / 2

    def picture(self, picture: Picture) -> Picture:
        """(h, w, 3) uint8 to the input's (H, W, 3) uint8, by Pillow's bicubic filter on gray 128."""
        return place(picture, self.content, self.offset, self.target)

    def boxes(self, boxes: Boxes) -> Boxes:
        """Corners (N, 4) in the picture's pixels to the input's; exactly where the pixels go."""
        top, left = self.offset
        x, y = self._factors
        result: Boxes = boxes * np.array([x, y, x, y]) + np.array([left, top, left, top])
        return result

    @property
    def _factors(self) -> tuple[float, float]:
        """Pixels of the input for one of the picture, along x and y."""
        return self.content[1] / self.source[1], self.content[0] / self.source[0]


def place(picture: Picture, content: tuple[int, int], offset: tuple[int, int], target: tuple[int, int]) -> Picture:
    """Resize a picture and put it on gray.

    Args:
        picture: (h, w, 3) uint8.
        content: (height, width) that it is resized to.
        offset: (top, left) on the gray; what lies outside is cut off.
        target: (height, width) of the gray.

    Returns:
        (H, W, 3) uint8.
    """
    image = Image.fromarray(picture).resize((content[1], content[0]), Image.Resampling.BICUBIC)
    gray = Image.new("RGB", (target[1], target[0]), (GRAY, GRAY, GRAY))
    gray.paste(image, (offset[1], offset[0]))
    return np.asarray(gray)
