"""Two prints side by side with the places that correspond, colored by how sure they are."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gradatim.data.image import Picture as ColorPicture
from gradatim.systems.ifvit.predict import Comparison, Print, on_one_square
from gradatim.systems.ifvit.prints import as_bytes

_HEIGHT = 480
_HEAD = 40
_GAP = 12
_SHOWN = 60
_FONT = 15
_LOW, _HIGH = (214, 39, 40), (44, 160, 44)


def draw_match(first: Print, second: Print, found: Comparison, *, verdict: str = "") -> ColorPicture:
    """Both prints, the surest correspondences as lines from red to green, and the scores above; (H, W, 3) uint8.

    Args:
        first, second: as they were compared.
        found: the comparison.
        verdict: a word that stands before the scores.
    """
    first, second = on_one_square(first, second)
    side = first.picture.shape[0]
    scale = _HEIGHT / side
    canvas = Image.new("RGB", (2 * _HEIGHT + _GAP, _HEIGHT + _HEAD), "white")
    for one, left in ((first, 0), (second, _HEIGHT + _GAP)):
        shown = Image.fromarray(as_bytes(one.picture)).resize((_HEIGHT, _HEIGHT), Image.Resampling.BICUBIC)
        canvas.paste(shown.convert("RGB"), (left, _HEAD))
    draw = ImageDraw.Draw(canvas)
    points, sure = found.points[:_SHOWN], found.confidence[:_SHOWN]
    top = max(float(sure.max()), 1e-9) if len(sure) else 1.0
    # The surest last, so that nothing lies over it.
    for (x1, y1, x2, y2), share in reversed(list(zip((points + 0.5) * scale, sure / top, strict=True))):
        color = tuple(round(low + (high - low) * float(share)) for low, high in zip(_LOW, _HIGH, strict=True))
        ends = (x1, y1 + _HEAD), (x2 + _HEIGHT + _GAP, y2 + _HEAD)
        draw.line(ends, fill=color, width=1)
        for x, y in ends:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), outline=color, width=2)
    text = f"{verdict}  score {found.score:.3f} (whole {found.whole:.3f}, region {found.region:.3f})  {_told(found)}"
    draw.text((8, 10), text.strip(), fill="black", font=ImageFont.load_default(_FONT))
    return np.asarray(canvas)


def _told(found: Comparison) -> str:
    if found.alignment is None:
        return "no motion found"
    aligned = found.alignment
    return f"{aligned.inliers} of {aligned.matches} matches agree, {len(found.points)} correspondences"
