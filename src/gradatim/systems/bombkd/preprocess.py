"""From decoded frames to what a backbone takes: size, cut and range of the pixels.

All is done on tensors. Shrinking averages, and stays within one gray level of what an image library makes of the same
frame.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.bombkd.names import FAMILIES

Profile = Literal["original", "checkpoint"]
"""`original` resizes straight to the network's size, as the published features were made; `checkpoint` resizes as the
backbone's own authors do, which for some is to more than is cut out."""

_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How frames become a backbone's pixels.

    Args:
        resize: length of the shorter side, in pixels.
        crop: (height, width) of the middle that is cut out.
        factor, shift: a level 0..255 becomes level * factor - shift.
        mean, std: of the channels; applied after that.
    """

    resize: int
    crop: tuple[int, int]
    factor: float = 1 / 255
    shift: float = 0.0
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def cut(self, frames: Tensor) -> Tensor:
        """Resize frames and cut out their middle; (..., 3, H, W) uint8 to (..., 3, height, width) uint8."""
        return center_crop(resize_shortest(frames, self.resize), self.crop)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and shift of each channel for levels 0..255, (3, 1, 1) float32 each."""
        std = torch.tensor(self.std, dtype=torch.float64).view(3, 1, 1)
        mean = torch.tensor(self.mean, dtype=torch.float64).view(3, 1, 1)
        return (self.factor / std).float(), ((self.shift + mean) / std).float()


def default_preprocessing(family: str, size: int, profile: Profile = "original") -> Preprocessing:
    """How frames are prepared for an architecture where no file says otherwise.

    Args:
        family: one of `FAMILIES`.
        size: side of the network's images, in pixels.
        profile: which size frames have before they are cut.
    """
    own = FAMILIES[family]
    return Preprocessing(
        resize=int(size * 256 / 224) if own.border and profile == "checkpoint" else size,
        crop=(size, size),
        factor=1 / 127.5 if own.signed else 1 / 255,
        shift=1.0 if own.signed else 0.0,
        mean=own.mean,
        std=own.std,
    )


def read_preprocessing(folder: Path, family: str, size: int, profile: Profile = "original") -> Preprocessing:
    """How frames are prepared for a checkpoint: as the file in its folder says, else as the architecture's default.

    Args:
        folder: of the checkpoint.
        family: one of `FAMILIES`.
        size: side of the network's images, in pixels.
        profile: `original` takes range and channels from the file, and resizes to `size`.

    Raises:
        DataError: the file cannot be understood.
    """
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        return default_preprocessing(family, size, profile)
    try:
        return _from_fields(json.loads(path.read_text()), default_preprocessing(family, size, profile), profile)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not understood: {error!r}") from error


def _from_fields(fields: Mapping[str, Any], default: Preprocessing, profile: Profile) -> Preprocessing:
    signed = bool(fields.get("offset", default.shift))
    resize, crop = default.resize, default.crop
    if profile == "checkpoint":
        crop = _sides(fields["crop_size"]) if fields.get("crop_size") else crop
        resize = min(_sides(fields["size"])) if fields.get("size") else resize
    mean, std = (fields.get(f"image_{name}") or getattr(default, name) for name in ("mean", "std"))
    return Preprocessing(
        resize=resize,
        crop=crop,
        factor=float(fields.get("rescale_factor", default.factor)),
        shift=1.0 if signed else 0.0,
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
    )


def _sides(value: Any) -> tuple[int, int]:
    """(height, width) from a number, `shortest_edge`, or height and width."""
    if isinstance(value, Mapping):
        edge = value.get("shortest_edge")
        return (int(edge), int(edge)) if edge else (int(value["height"]), int(value["width"]))
    return int(value), int(value)


def resize_shortest(frames: Tensor, edge: int) -> Tensor:
    """Resize so that the shorter side has `edge` pixels and the other keeps the ratio, rounded down.

    Args:
        frames: (..., C, H, W) uint8.
        edge: in pixels.
    """
    height, width = frames.shape[-2:]
    if min(height, width) == edge:
        return frames
    size = (edge, edge * width // height) if height <= width else (edge * height // width, edge)
    flat = frames.reshape(-1, *frames.shape[-3:])
    if frames.device.type == "cpu":
        resized = F.interpolate(flat, size=size, mode="bilinear", antialias=True)
    else:
        # Only the CPU averages whole numbers.
        wide = F.interpolate(flat.float(), size=size, mode="bilinear", antialias=True)
        resized = wide.round_().clamp_(0, 255).to(torch.uint8)
    return resized.reshape(*frames.shape[:-2], *size)


def center_crop(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of frames (..., H, W) with `size` (height, width); black where the frames are smaller."""
    lacking = [max(0, want - have) for want, have in zip(size, frames.shape[-2:], strict=True)]
    if any(lacking):
        top, left = ((n + 1) // 2 for n in lacking)
        frames = F.pad(frames, (left, lacking[1] - left, top, lacking[0] - top))
    top, left = ((have - want) // 2 for want, have in zip(size, frames.shape[-2:], strict=True))
    return frames[..., top : top + size[0], left : left + size[1]]
