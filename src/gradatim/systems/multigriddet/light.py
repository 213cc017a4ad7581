"""Changes of a picture's light and color; each result is cut to the range before the next."""

import numpy as np
from numpy.typing import NDArray

from gradatim.data.image import Picture, luminance

Values = NDArray[np.float32]


def relit(picture: Picture, *, brightness: float, contrast: float, saturation: float, hue: float) -> Picture:
    """Change brightness, contrast, saturation and hue, in this order.

    Args:
        picture: (H, W, 3) uint8.
        brightness: added to all values, in parts of the full range.
        contrast: factor of the distance to each channel's mean.
        saturation: factor of the saturation (HSV).
        hue: turns around the circle of colors, added to the hue (HSV).

    Returns:
        (H, W, 3) uint8, rounded.
    """
    # Channels first: NumPy is many times faster along the pixels than across three channels.
    values = picture.transpose(2, 0, 1).astype(np.float32, order="C")
    values *= np.float32(1 / 255)
    if brightness:
        values += np.float32(brightness)
        np.clip(values, 0, 1, out=values)
    if contrast != 1:
        mean = values.mean(axis=(1, 2), keepdims=True)
        values *= np.float32(contrast)
        values += mean * np.float32(1 - contrast)
        np.clip(values, 0, 1, out=values)
    if saturation != 1 or hue:
        values = _recolored(values, saturation, hue)
    values *= np.float32(255)
    rounded: Picture = np.ascontiguousarray(np.rint(values, out=values).astype(np.uint8).transpose(1, 2, 0))
    return rounded


def grayed(picture: Picture) -> Picture:
    """(H, W, 3) uint8 without color: the luminance three times."""
    return np.repeat(luminance(picture)[:, :, None], 3, axis=2)


def _recolored(values: Values, saturation: float, hue: float) -> Values:
    """(3, H, W): saturation times a factor, hue plus turns; the largest of the three channels stays."""
    red, green, blue = values
    most = values.max(axis=0)
    spread = most - values.min(axis=0)
    safe = np.where(spread > 0, spread, np.float32(1))
    from_red, from_green = most == red, most == green
    after = np.where(from_red, green, np.where(from_green, blue, red))
    before = np.where(from_red, blue, np.where(from_green, red, green))
    sector = np.where(from_red, np.float32(0), np.where(from_green, np.float32(2), np.float32(4)))
    sixths = (after - before) / safe + sector + np.float32(6 * hue)
    spread = np.minimum(spread * np.float32(saturation), most)
    result = np.empty_like(values)
    for channel, start in zip(result, (5, 3, 1), strict=True):
        place = (sixths + np.float32(start)) * np.float32(1 / 6)
        place -= np.floor(place)
        place *= np.float32(6)
        share = np.minimum(place, 4 - place, out=place)
        np.clip(share, 0, 1, out=share)
        np.subtract(most, spread * share, out=channel)
    return result
