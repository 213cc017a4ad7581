"""Image files in and out: any common format, told by its content, as 8-bit RGB.

A picture is an array (H, W, 3) uint8, RGB. Files with 16 bits or floating point numbers become 8-bit by
a stated rule; transparency is dropped; a turned photograph (EXIF) is turned upright; of an animation the
first picture counts. Files are written whole or not at all.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gradatim.errors import DataError
from gradatim.files import replace_file

Deep = Literal["divide", "stretch"]
Filter = Literal["bilinear", "lanczos"]
Picture = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm", ".pnm")
)

# Pillow raises what its format plugins happen to raise on damaged files.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_EXIF_ORIENTATION = 0x0112
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}
_GRAY_MODES = ("1", "L", "LA", "La", "F")


def read_image(path: Path, *, deep: Deep = "divide") -> Picture:
    """Read a picture as (H, W, 3) uint8, RGB; gray is repeated three times.

    Args:
        path: an image file; its suffix does not matter.
        deep: how more than 8 bits become 8. "divide": the full 16-bit range to the full 8-bit range
            (v / 257, rounded), so equal values stay equal in all files; a file whose values all fit
            in 8 bits is taken as it is; floating point numbers count as [0, 1] if none is above 1,
            else as [0, 255]. "stretch": the lowest value of this file to 0, its highest to 255; for
            sensors that use a small part of 16 bits. 16-bit *color* loses its low byte on reading.

    Raises:
        DataError: the file is missing, empty, damaged or no image, or its values do not fit `deep`.
    """
    content = _content(path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            upright: Image.Image = ImageOps.exif_transpose(image)
            return _to_rgb(upright, path, deep)
    except _DAMAGED as error:
        raise DataError(f"{path}: {_wording(content, error)}") from error


def read_gray(path: Path, *, deep: Deep = "divide") -> Picture:
    """Read a picture as one channel (H, W) uint8: as it is if it is gray, else its luminance, rounded."""
    return luminance(read_image(path, deep=deep))


def luminance(image: Picture) -> Picture:
    """Luminance of (H, W, 3) uint8 by BT.601, rounded: (H, W) uint8; the identity on gray pictures."""
    gray: Picture = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return gray


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an upright picture from its header alone; does not notice a truncated file.

    Raises:
        DataError: the file is missing, empty or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Asked for its EXIF data, Pillow decodes a PNG to the end unless they stood before the pixels.
            header_only = image.format != "PNG" or "exif" in image.info
            turned = header_only and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except _DAMAGED as error:
        content = b"" if path.is_file() and path.stat().st_size == 0 else b"?"
        raise DataError(f"{path}: {_wording(content, error)}") from error
    return (width, height) if turned else (height, width)


def is_gray(path: Path) -> bool:
    """Whether a file has a single channel, from its header alone; three equal channels count as color.

    Raises:
        DataError: the file is missing, empty or no image.
    """
    try:
        with Image.open(path) as image:
            return image.mode in _GRAY_MODES or image.mode.startswith("I")
    except _DAMAGED as error:
        raise DataError(f"{path}: {_wording(b'?', error)}") from error


def verify_image(path: Path, *, deep: Deep = "divide") -> tuple[int, int]:
    """(height, width) of a picture after decoding it to its end, as fast as its format allows.

    Raises:
        DataError: as `read_image` does.
    """
    size = image_size(path)
    try:
        with Image.open(path) as image:
            exotic = image.mode == "F" or image.mode.startswith("I")
            # A JPEG is decoded at an eighth of its size: every byte is still looked at.
            image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
    except _DAMAGED as error:
        raise DataError(f"{path}: {_wording(b'?', error)}") from error
    if exotic:
        read_image(path, deep=deep)
    return size


def write_image(path: Path, image: Picture) -> None:
    """Write (H, W, 3) or (H, W) uint8 in the format of the path's suffix; whole, or not at all.

    Raises:
        DataError: the suffix names no format that can be written.
    """
    write_file(path, encode_image(path, image))


def encode_image(path: Path, image: Picture) -> bytes:
    """File content for (H, W, 3) or (H, W) uint8 in the format of the path's suffix.

    Raises:
        DataError: the suffix names no format that can be written.
    """
    buffer = io.BytesIO()
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format is None or file_format not in Image.SAVE:
        raise DataError(f"{path}: cannot write {path.suffix!r} images; .png keeps every pixel.")
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format=file_format)
    return buffer.getvalue()


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def resize(image: NDArray[Any], size: tuple[int, int], *, kind: Filter = "bilinear") -> NDArray[Any]:
    """Resize to (height, width) by one of Pillow's filters, which average when they shrink.

    Args:
        image: (H, W, 3) or (H, W) uint8, or (H, W) float32; the result is of the same kind.
        size: (height, width); the aspect is not kept.
        kind: "lanczos" is sharper than "bilinear", and overshoots at edges.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize((width, height), _FILTERS[kind]))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}.") from error


def _wording(content: bytes, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file."
    if not content:
        return "the file is empty (0 bytes)."
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read."
    return f"the image is damaged or truncated ({error})."


def _to_rgb(image: Image.Image, path: Path, deep: Deep) -> Picture:
    if image.mode == "F" or image.mode.startswith("I"):
        gray = _to_8_bit(np.asarray(image), path, deep)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode in ("P", "PA"):
        # By way of RGBA: a palette with transparent entries is otherwise answered with a warning.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _to_8_bit(values: NDArray[Any], path: Path, deep: Deep) -> Picture:
    """Values of 16 bits or floating point (H, W) to uint8; see `read_image` for the rule."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{path}: values are not finite.")
    wide = values.astype(np.float64)
    if deep == "stretch":
        return np.rint((wide - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    floating = values.dtype.kind == "f"
    limit = 255 if floating else 65535
    if low < 0 or high > limit:
        raise DataError(
            f"{path}: values from {low:g} to {high:g} are outside 0 to {limit}; read it with deep: stretch."
        )
    already_8_bit = high > 1 if floating else high <= 255
    factor = 1.0 if already_8_bit else 255 if floating else 1 / 257
    return np.rint(wide * factor).astype(np.uint8)
