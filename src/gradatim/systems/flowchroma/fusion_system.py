"""FlowChroma's fusion system as one module, for training loops of one's own.

It colors a sequence that is given as lists: frames as LAB, the same as pictures for the matching, and references as
pictures. LAB is normalized (`color`). A memory of flows is kept from frame to frame, until a sequence begins.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gradatim.errors import DataError
from gradatim.parts.freeze import hold_still
from gradatim.systems.flowchroma.color import lab_of_values
from gradatim.systems.flowchroma.fusion_files import load_networks
from gradatim.systems.flowchroma.matching import Matches, References, colors_at, encode_references, match_pictures
from gradatim.systems.flowchroma.parts.carrying import Carrying, TargetColors
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.memory import KeysOfMemory, Memory
from gradatim.systems.flowchroma.parts.warpnet import SHARP_TEMPERATURE, TRAIN_TEMPERATURE, WarpNet
from gradatim.systems.flowchroma.recurrence import (
    Carried,
    carry,
    color_sequences,
    fuse,
    nothing_carried,
)


class FusionSystem(nn.Module):
    """Colors gray sequences after reference pictures.

    The flow network and the backbone are held still, in evaluation mode whatever `train` is called with. What learns,
    and what `parameters` and `named_parameters` list, are the matching and the fusion network; `state_dict` and `to`
    reach all of them.

    Args:
        memflow_path, swintexco_path: folders of the originals' programs, which are not needed here.
        memflow_ckpt: file of MemFlow's weights.
        swintexco_ckpt: folder with `embed_net.pth`, `nonlocal_net.pth` and `colornet.pth`. None takes a backbone that
            learned from ImageNet, and a matching network that has not learned yet.
        fusion_net: one of `parts.fusion`; None for a fresh `FusionNetV1`.
        device: where all of it runs.
        memflow, swin, warpnet: networks in place of those out of files; `swin` may be a file or a place on the hub too,
            by default timm's (`fusion_files.load_networks`). Changed: `memflow` and `swin` are frozen.
        memory_keys: as of `MemFlow`, where that is read from a file.
        train_temperature: of the matching in train mode.
        eval_temperature: in evaluation mode, where the best match alone counts.
        flow_scale, max_history, target_ab: as of `Carrying`. Published fusion checkpoints have learned with
            `flow_scale=8`, `max_history=None` and `target_ab="ground_truth"`.
        uncenter_ab: as of `encode_references`.
        match_size: side in pixels of what is matched; a multiple of 224 with the published backbone.

    Raises:
        WeightsError: a file is absent, which is told before anything is read, or does not fit.
        PlanError: an option has no such value.
    """

    def __init__(
        self,
        memflow_path: str | Path | None = None,
        swintexco_path: str | Path | None = None,
        memflow_ckpt: str | Path | None = None,
        swintexco_ckpt: str | Path | None = None,
        fusion_net: nn.Module | None = None,
        device: str | torch.device = "cpu",
        *,
        memflow: MemFlow | None = None,
        swin: nn.Module | str | Path | None = None,
        warpnet: WarpNet | None = None,
        memory_keys: KeysOfMemory = "own",
        train_temperature: float = TRAIN_TEMPERATURE,
        eval_temperature: float = SHARP_TEMPERATURE,
        flow_scale: float = 1.0,
        max_history: int | None = 1,
        target_ab: TargetColors = "previous",
        uncenter_ab: bool = True,
        match_size: int = 224,
    ) -> None:
        super().__init__()
        self.carrying = Carrying(flow_scale=flow_scale, max_history=max_history, target_ab=target_ab)
        self.train_temperature = train_temperature
        self.eval_temperature = eval_temperature
        self.uncenter_ab = uncenter_ab
        self.match_size = match_size
        networks = load_networks(
            memflow_ckpt if memflow is None else memflow,
            swintexco_ckpt,
            swin=swin,
            warpnet=warpnet,
            memory_keys=memory_keys,
        )
        self.memflow = networks.memflow
        self.swin = networks.swin
        self.warpnet = networks.warpnet
        self.colornet = networks.colornet
        self.fusion = FusionNetV1() if fusion_net is None else fusion_net
        for frozen in (self.memflow, self.swin, self.colornet):
            if frozen is not None:
                hold_still(frozen)
        self.reset_memory()
        self.to(device)

    def reset_memory(self) -> None:
        """Forget the sequence: the next frame that `forward` is given is a first one."""
        self._memory: Memory | None = None
        self._begun = False
        self._encoded: tuple[list[Image.Image], References] | None = None

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """What learns; `parameters` lists the same."""
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if parameter.requires_grad:
                yield name, parameter

    def get_parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for an optimizer: `swintexco`, which is the matching network, and `fusion`."""
        groups = {"swintexco": self.warpnet, "fusion": self.fusion}
        return [
            {"params": [p for p in network.parameters() if p.requires_grad], "name": name}
            for name, network in groups.items()
        ]

    @overload
    def forward_sequence(
        self,
        frames_lab: Sequence[Tensor],
        frames_pil: Sequence[Image.Image],
        references_pil: Sequence[Image.Image],
        return_memflow: Literal[False] = False,
    ) -> list[Tensor]: ...

    @overload
    def forward_sequence(
        self,
        frames_lab: Sequence[Tensor],
        frames_pil: Sequence[Image.Image],
        references_pil: Sequence[Image.Image],
        return_memflow: Literal[True],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]: ...

    def forward_sequence(
        self,
        frames_lab: Sequence[Tensor],
        frames_pil: Sequence[Image.Image],
        references_pil: Sequence[Image.Image],
        return_memflow: bool = False,
    ) -> list[Tensor] | tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Color a whole sequence from its first frame.

        Args:
            frames_lab: (3, H, W) each, of one size.
            frames_pil: the same frames, of any size; only their lightness is looked at.
            references_pil: of any size, one for each frame. The same object given several times is encoded once.
            return_memflow: whether what flows carried on is returned too.

        Returns:
            LAB of each frame, (3, H, W) with its own lightness. With `return_memflow` further the LAB that flows
            carried on, (3, H, W), and their confidence, (1, H, W) in [0, 1]; both are 0 for the first frame.

        Raises:
            DataError: there is no frame, numbers differ, or frames have different sizes.
        """
        self.reset_memory()
        _check_lists(frames_lab, frames_pil, references_pil)
        frames = torch.stack(list(frames_lab)).to(self._device)
        colors, similarity = self._matched(references_pil, frames_pil, (frames.shape[2], frames.shape[3]))
        colored = color_sequences(
            self.memflow,
            self.fusion,
            frames[None],
            matches=Matches(colors[None], similarity[None]),
            carrying=self.carrying,
        )
        self._memory, self._begun = colored.memory, True
        outputs = list(colored.outputs[0])
        return (outputs, list(colored.carried[0]), list(colored.confidences[0])) if return_memflow else outputs

    def forward(
        self, frame_t: Tensor | None, frame_t1: Tensor, reference_pil: Image.Image, target_pil: Image.Image
    ) -> Tensor:
        """`forward_single_frame`, where the first call after `reset_memory` is given the first frame."""
        return self.forward_single_frame(frame_t, frame_t1, reference_pil, target_pil, is_first=not self._begun)

    def forward_single_frame(
        self,
        frame_t: Tensor | None,
        frame_t1: Tensor,
        reference_pil: Image.Image,
        target_pil: Image.Image,
        is_first: bool = False,
    ) -> Tensor:
        """Color one frame; arguments and errors as of `forward_with_memflow`, of which it returns the first."""
        return self.forward_with_memflow(frame_t, frame_t1, reference_pil, target_pil, is_first)[0]

    def forward_with_memflow(
        self,
        frame_t: Tensor | None,
        frame_t1: Tensor,
        reference_pil: Image.Image,
        target_pil: Image.Image,
        is_first: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Color one frame, and tell what the flow carried on.

        Args:
            frame_t: the frame before as it was colored, (3, H, W) or (1, 3, H, W); not looked at for a first frame.
            frame_t1: the frame, in the same shape.
            reference_pil: of any size; while it stays the same object it is encoded once.
            target_pil: the frame as a picture, of any size.
            is_first: whether a sequence begins, so that nothing is carried on and what was before is forgotten.

        Returns:
            LAB in the frame's shape; the LAB carried on, likewise; its confidence, (1, H, W) or (1, 1, H, W).

        Raises:
            DataError: a frame is missing, or has another shape.
        """
        frame = self._frame(frame_t1)
        if is_first:
            self._memory, carried = None, nothing_carried(frame)
        elif frame_t is None:
            raise DataError("frame_t is None: every frame but the first needs the one before, as it was colored.")
        else:
            carried = self._carried(frame_t, frame)
        self._begun = True
        colors, similarity = self._matched([reference_pil], [target_pil], (frame.shape[2], frame.shape[3]))
        output = fuse(self.fusion, carried, frame[:, :1], colors, similarity)
        shape = frame_t1.shape[:-3]
        fused, lab, confidence = (x.reshape(*shape, *x.shape[1:]) for x in (output, carried.lab, carried.confidence))
        return fused, lab, confidence

    def memflow_inference(self, frame_t: Tensor, frame_t1: Tensor) -> tuple[Tensor, Tensor]:
        """Carry colors on to the next frame, and remember the pair; arguments as of `forward_with_memflow`.

        Returns:
            LAB (1, 3, H, W) and confidence (1, 1, H, W), without gradient.

        Raises:
            DataError: a frame has another shape.
        """
        carried = self._carried(frame_t, self._frame(frame_t1))
        return carried.lab, carried.confidence

    def swintexco_inference(self, reference_pil: Image.Image, target_pil: Image.Image) -> tuple[Tensor, Tensor]:
        """Colors of a reference for a picture; both of any size.

        Returns:
            a and b, (1, 2, S, S), and similarity, (1, 1, S, S) in [-1, 1], where S is `match_size`.
        """
        return self._matched([reference_pil], [target_pil], (self.match_size, self.match_size))

    @property
    def _device(self) -> torch.device:
        return self.warpnet.query.weight.device

    def _frame(self, frame: Tensor) -> Tensor:
        if frame.ndim not in (3, 4) or frame.shape[-3] != 3 or frame.shape[:-3] not in ((), (1,)):
            raise DataError(f"frame has shape {tuple(frame.shape)}, LAB (3, H, W) or (1, 3, H, W) is needed.")
        return frame.reshape(1, *frame.shape[-3:]).to(self._device)

    def _carried(self, before: Tensor, frame: Tensor) -> Carried:
        before = self._frame(before)
        if before.shape != frame.shape:
            sizes = " and ".join(f"{x.shape[2]} x {x.shape[3]}" for x in (before, frame))
            raise DataError(f"frames of {sizes} pixels follow each other; those of a sequence have one size.")
        carried = carry(self.memflow, before, frame, self._memory, carrying=self.carrying)
        self._memory = carried.memory
        return carried

    def _matched(
        self, references: Sequence[Image.Image], frames: Sequence[Image.Image], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Colors (N, 2, H, W) and similarity (N, 1, H, W) for N frames, each with its reference."""
        distinct = list({id(picture): picture for picture in references}.values())
        order = {id(picture): n for n, picture in enumerate(distinct)}
        found = match_pictures(
            self.swin,
            self.warpnet,
            torch.stack([self._lab(picture)[:1] for picture in frames]),
            references=self._references(distinct),
            which=torch.tensor([order[id(picture)] for picture in references], device=self._device),
            temperature=self.train_temperature if self.training else self.eval_temperature,
        )
        return colors_at(found, size)

    def _references(self, pictures: list[Image.Image]) -> References:
        if self._encoded is not None:
            known, encoded = self._encoded
            if len(known) == len(pictures) and all(one is other for one, other in zip(known, pictures, strict=True)):
                return encoded
        lab = torch.stack([self._lab(picture) for picture in pictures])
        encoded = encode_references(self.swin, lab, uncenter_ab=self.uncenter_ab)
        # The pictures are kept with it, so that no other object can come to stand in their place.
        self._encoded = (pictures, encoded)
        return encoded

    def _lab(self, picture: Image.Image) -> Tensor:
        """LAB of a picture at the size that is matched, (3, S, S)."""
        side = self.match_size
        resized = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        return lab_of_values(np.asarray(resized)).to(self._device)


def _check_lists(frames: Sequence[Tensor], pictures: Sequence[Any], references: Sequence[Any]) -> None:
    if not frames or {len(pictures), len(references)} != {len(frames)}:
        raise DataError(
            f"{len(frames)} frames, {len(pictures)} of them as pictures, {len(references)} references: there must be "
            "as many of each, and at least one."
        )
    wrong = next((x for x in frames if not isinstance(x, Tensor) or x.ndim != 3 or x.shape != frames[0].shape), None)
    if wrong is not None or frames[0].shape[0] != 3:
        shapes = ", ".join(str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in frames)
        raise DataError(f"frames_lab holds {shapes}; the frames of one sequence are (3, H, W) each, of one size.")
