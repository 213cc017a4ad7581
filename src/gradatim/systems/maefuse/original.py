"""The published test script's way from pixels to pixels, to the last bit; needs OpenCV.

Pictures here are OpenCV's: (H, W, 3) uint8, BGR. The quirks are kept on purpose, for comparison with
published results: both pictures are squashed to the model's size without averaging, the fused values are
cut down to whole numbers, chroma takes the same way down and up as luminance, and back up it goes
through a cubic filter. `record` is the variant for validation during training: it rounds.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.data.image import Picture
from gradatim.data.opencv import opencv as load_opencv
from gradatim.errors import DataError
from gradatim.systems.maefuse.tiles import Fuse

Rounding = Literal["truncate", "round"]


def opencv() -> Any:
    """The module cv2.

    Raises:
        MissingExtraError: it is not installed.
    """
    return load_opencv("mode 'original'")


def fuse_original(
    visible: Picture,
    infrared: Picture,
    fuse: Fuse,
    *,
    size: tuple[int, int],
    rounding: Rounding = "truncate",
    device: torch.device | str = "cpu",
) -> Picture:
    """Fuse as the published test script does.

    Args:
        visible: (H, W, 3), BGR.
        infrared: (H', W', 3), BGR; color stays color.
        fuse: visible and infrared (1, 3, h, w) float32 in [0, 1] -> fused, same shape, not bounded; float64
            is used as it is.
        size: (h, w) of the model.
        rounding: "truncate" as the test script, "round" as its variant `record`.
        device: where the model is.

    Returns:
        (H, W, 3), BGR.
    """
    tensors = [
        torch.from_numpy(picture.astype(np.float32) / np.float32(255)).permute(2, 0, 1).unsqueeze(0).to(device)
        for picture in model_inputs(visible, infrared, size)
    ]
    with torch.inference_mode():
        fused = fuse(*tensors).detach().to("cpu").double()
    pixels = to_pixels(fused[0].permute(1, 2, 0).numpy(), rounding)
    return put_back(visible, to_gray(pixels))


def to_ycrcb(image: Picture) -> Picture:
    """BGR to Y, Cr, Cb with full range, rounded."""
    cv2 = opencv()
    converted: Picture = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    return converted


def model_inputs(visible: Picture, infrared: Picture, size: tuple[int, int]) -> tuple[Picture, Picture]:
    """What the model sees: the visible luminance three times and the infrared picture as RGB, (h, w, 3) uint8."""
    y = squash(to_ycrcb(visible)[:, :, :1].repeat(3, axis=2), size)
    return y, squash(np.ascontiguousarray(infrared[:, :, ::-1]), size)


def squash(image: Picture, size: tuple[int, int]) -> Picture:
    """Resize to (height, width) by OpenCV's bilinear filter, which does not average when it shrinks.

    (The original asks for a cubic filter in the place of another argument, so it never gets one.)
    """
    resized: Picture = opencv().resize(image, (size[1], size[0]))
    return resized


def to_pixels(fused: NDArray[np.float64], rounding: Rounding) -> Picture:
    """Values (h, w, 3) around [0, 1] to uint8.

    Raises:
        DataError: values are not finite.
    """
    if not np.isfinite(fused).all():
        raise DataError("the model's output is not finite; try precision 32.")
    levels = (fused * 255).clip(0, 255)
    whole: NDArray[np.float64] = np.rint(levels) if rounding == "round" else np.floor(levels)
    return whole.astype(np.uint8)


def to_gray(pixels: Picture) -> Picture:
    """RGB (h, w, 3) to OpenCV's gray (h, w), rounded."""
    cv2 = opencv()
    gray: Picture = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return gray


def put_back(visible: Picture, y: Picture) -> Picture:
    """Color the fused luminance (h, w) with the visible chroma of that size, and resize to the visible picture's."""
    cv2 = opencv()
    merged = squash(to_ycrcb(visible), (y.shape[0], y.shape[1]))
    merged[:, :, 0] = y
    color = cv2.cvtColor(merged, cv2.COLOR_YCrCb2BGR)
    # In double precision: OpenCV's cubic filter for 8 bits differs in single pixels between processors.
    large = cv2.resize(color.astype(np.float64), visible.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    rounded: Picture = np.rint(large).clip(0, 255).astype(np.uint8)
    return rounded


def can_write(path: Path) -> bool:
    """Whether OpenCV has a writer for the path's suffix."""
    return bool(opencv().haveImageWriter(f"x{path.suffix}"))


def read_bgr(path: Path) -> Picture:
    """Read a picture as OpenCV does: 16 bits are divided by 256.

    Raises:
        DataError: OpenCV cannot read it.
    """
    cv2 = opencv()
    image: Picture | None = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: OpenCV cannot read this image.")
    return image


def encode_bgr(path: Path, image: Picture) -> bytes:
    """File content in the format of the path's suffix, at OpenCV's quality.

    Raises:
        DataError: OpenCV cannot write that format.
    """
    cv2 = opencv()
    try:
        done, content = cv2.imencode(path.suffix, image)
    except cv2.error:
        done, content = False, None
    if not done:
        raise DataError(f"{path}: OpenCV cannot write {path.suffix!r} images; mode 'native' writes .png.")
    encoded: bytes = content.tobytes()
    return encoded
