"""Small pictures for reports."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gradatim.files import replace_file


def save_picture(path: Path, picture: Tensor) -> None:
    """Write a picture, (3, H, W) or (1, H, W), values clipped to [0, 1], as PNG."""
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    pixels = pixels.expand(3, -1, -1) if len(pixels) == 1 else pixels
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    replace_file(path, lambda temporary: image.save(temporary, format="PNG"))
