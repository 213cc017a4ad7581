"""Colored videos out of gray ones with a trained model, frame by frame, at their own size.

Networks see frames at the model's size. The colors that they give are brought to the frame's own size and join its own
lightness there. Memory does not grow with the number of frames.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.data.image import Picture, resize
from gradatim.data.opencv import opencv
from gradatim.errors import DataError, WeightsError, problems
from gradatim.systems.flowchroma.color import lab_of_levels, lab_of_values, restored, rgb_of_lab
from gradatim.systems.flowchroma.matching import References, colors_at, encode_references, match_pictures
from gradatim.systems.flowchroma.model import FlowChromaSettings
from gradatim.systems.flowchroma.parts.memory import Memory
from gradatim.systems.flowchroma.parts.warpnet import SHARP_TEMPERATURE
from gradatim.systems.flowchroma.recurrence import carry, fuse, nothing_carried

MATCHING_PARTS = ("swin", "warpnet")
PARTS = ("memflow", *MATCHING_PARTS, "fusion")
_FAINTEST = 4


@dataclass(frozen=True)
class _Before:
    """What is kept of the frames that were colored: the last one in floating point, and the memory of flows."""

    lab: Tensor
    memory: Memory | None


class Colorizer:
    """Colors videos after reference pictures.

    Colors are carried on as the fusion network was trained with: `target_colors`, `flow_scale` and `max_history` are
    its own.

    Args:
        parts: of a trained model, in evaluation mode on one device, such as `gradatim.load_model(run).parts`.
        settings: of that model, `load_model(run).settings`.
        matched_only: give the colors that matching alone finds, frame for frame, without flow and fusion.

    Raises:
        WeightsError: the model lacks parts: `PARTS`, or `MATCHING_PARTS` for matching alone.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], settings: FlowChromaSettings, *, matched_only: bool = False
    ) -> None:
        missing = [name for name in (MATCHING_PARTS if matched_only else PARTS) if name not in parts]
        if missing:
            have = ", ".join(parts) or "none"
            raise WeightsError(
                problems(f"coloring needs parts that this model does not have (it has {have}):", missing)
            )
        opencv("coloring")
        self.settings = settings
        self.matched_only = matched_only
        self._parts: Mapping[str, Any] = parts
        self._device = next(parts["warpnet"].parameters()).device

    @torch.no_grad()
    def encode(self, reference: Picture) -> References:
        """What the networks need of a reference; serves any number of videos.

        Args:
            reference: RGB, (H, W, 3) uint8 of any size.
        """
        return encode_references(self._parts["swin"], self._to_match(self._small(reference))[None])

    def color(self, frames: Iterable[Picture], reference: References | None = None) -> Iterator[Picture]:
        """Color a video; one frame is read, colored and given before the next is asked for.

        Args:
            frames: RGB, (H, W, 3) uint8, each of any size. Their colors are looked at only by a fusion network that
                was trained with `target_colors` "ground_truth".
            reference: from `encode`; None for the first frame itself, which must have colors then.

        Returns:
            Pictures of the frames' sizes, with their lightness; colors that no screen can show are clipped.

        Raises:
            DataError: the first frame is to be the reference, and is gray.
        """
        before: _Before | None = None
        for frame in frames:
            if reference is None:
                if not has_colors(frame):
                    raise DataError("the first frame is gray, so that a reference with colors is needed.")
                reference = self.encode(frame)
            before = self._next(frame, reference, before)
            yield join_colors(frame, before.lab[0, 1:])

    @torch.no_grad()
    def _next(self, picture: Picture, reference: References, before: _Before | None) -> _Before:
        small = self._small(picture)
        frame = lab_of_levels(small).to(self._device)[None]
        found = match_pictures(
            self._parts["swin"],
            self._parts["warpnet"],
            self._to_match(small)[None, :1],
            references=reference,
            which=torch.zeros(1, dtype=torch.long, device=self._device),
            temperature=SHARP_TEMPERATURE,
        )
        colors, similarity = colors_at(found, (frame.shape[2], frame.shape[3]))
        if self.matched_only:
            return _Before(torch.cat([frame[:, :1], colors], dim=1), None)
        memflow, fusion = self._parts["memflow"], self._parts["fusion"]
        if before is None:
            carried = nothing_carried(frame)
        else:
            carried = carry(memflow, before.lab, frame, before.memory, carrying=fusion.carrying)
        return _Before(fuse(fusion, carried, frame[:, :1], colors, similarity), carried.memory)

    def _small(self, picture: Picture) -> Picture:
        """A picture at the size of frames, reduced as those of training are."""
        return resize(picture, self.settings.size, kind="lanczos")

    def _to_match(self, small: Picture) -> Tensor:
        side = self.settings.match_size
        return lab_of_values(resize(small, (side, side))).to(self._device)


def join_colors(picture: Picture, colors: Tensor) -> Picture:
    """A picture's lightness with other colors.

    Args:
        picture: RGB, (H, W, 3) uint8.
        colors: normalized a and b, (2, h, w), which are resized bilinearly.

    Returns:
        RGB, (H, W, 3) uint8, rounded; what no screen can show is clipped.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    lightness = lab_of_values(picture)[:1].to(colors.device)
    whole = F.interpolate(colors[None], lightness.shape[1:], mode="bilinear")[0]
    rgb = rgb_of_lab(restored(torch.cat([lightness, whole])))
    joined: Picture = (rgb * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return joined


def has_colors(picture: Picture) -> bool:
    """Whether RGB, (H, W, 3) uint8, is more than a gray picture that a lossy format has stored."""
    return bool((picture.max(axis=2) - picture.min(axis=2)).max() > _FAINTEST)
