"""Small pictures for reports."""

from collections.abc import Sequence
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


def save_sheet(path: Path, rows: Sequence[Sequence[Path]], *, height: int = 192, gap: int = 6) -> None:
    """Write pictures of files side by side, one row below the other, all of one height, as PNG."""
    lines = [[_scaled(file, height) for file in row] for row in rows]
    width = max(sum(image.width + gap for image in line) - gap for line in lines)
    sheet = Image.new("RGB", (width, len(lines) * (height + gap) - gap), "white")
    for number, line in enumerate(lines):
        left = 0
        for image in line:
            sheet.paste(image, (left, number * (height + gap)))
            left += image.width + gap
    replace_file(path, lambda temporary: sheet.save(temporary, format="PNG"))


def _scaled(file: Path, height: int) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB").resize((round(image.width * height / image.height), height))
