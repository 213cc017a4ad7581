"""The loss that fusion networks learn by: one mean over the frames of a sequence.

LAB is normalized (`color`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradatim.errors import DataError
from gradatim.systems.flowchroma.color_losses import (
    Features,
    Proposal,
    absolute,
    adaptive_temporal,
    contextual_reference,
    perceptual,
)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Loss of one frame by its terms, which are weighted; a term that the frame does not have is absent.

    Args:
        l1: distance to the true colors.
        perceptual: distance in features.
        contextual: to the reference, of a first frame.
        temporal: steadiness, of the other frames.
    """

    l1: Tensor
    perceptual: Tensor | None = None
    contextual: Tensor | None = None
    temporal: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Their sum."""
        terms = (self.l1, self.perceptual, self.contextual, self.temporal)
        return torch.stack([term for term in terms if term is not None]).sum()


@dataclass(frozen=True, kw_only=True)
class FusionLoss:
    """Loss of fused frames.

    Args:
        vgg: for the perceptual term (`color_losses.perceptual`), which is left out without it.
        swin: for the contextual term (`color_losses.contextual_reference`), likewise.
        l1, perceptual, contextual, temporal: weights.
        smooth: weight of the distance to the frame before within the temporal term.
        uncenter_ab: as of `contextual_reference`.
    """

    vgg: Features | None = None
    swin: Features | None = None
    l1: float = 1.0
    perceptual: float = 0.05
    contextual: float = 0.015
    temporal: float = 0.5
    smooth: float = 0.3
    uncenter_ab: bool = True

    def first(self, lab: Tensor, target: Tensor, reference: Tensor | None = None) -> Terms:
        """Terms of a first frame.

        Args:
            lab, target: predicted and true, (B, 3, H, W).
            reference: (B, 3, H', W'); without it the contextual term is left out.
        """
        term = None
        if self.swin is not None and reference is not None and self.contextual:
            found = contextual_reference(self.swin, lab, reference, uncenter_ab=self.uncenter_ab)
            term = self.contextual * found
        colors, true = lab[:, 1:], target[:, 1:]
        return Terms(l1=self.l1 * absolute(colors, true), perceptual=self._perceptual(colors, true), contextual=term)

    def later(self, now: Proposal, target: Tensor, before: Proposal) -> Terms:
        """Terms of any other frame.

        Args:
            now: of the frame, (B, 2, H, W).
            target: true colors, (B, 2, H, W).
            before: of the frame before.
        """
        return Terms(
            l1=self.l1 * absolute(now.colors, target),
            perceptual=self._perceptual(now.colors, target),
            temporal=self.temporal * adaptive_temporal(now, before, smooth=self.smooth).total,
        )

    def __call__(
        self,
        outputs: Sequence[Tensor],
        frames: Sequence[Tensor],
        flowed: Sequence[Tensor],
        confidences: Sequence[Tensor] | None = None,
        references: Sequence[Tensor] | None = None,
        embed_net: Features | None = None,
    ) -> Tensor:
        """Mean loss of a sequence's frames, where the outputs are; each list holds one entry for each frame.

        Loops that were written for FlowChroma give all of them by their places.

        Args:
            outputs, frames: predicted and true, (3, H, W) or (B, 3, H, W).
            flowed: what flows carried over, likewise; 0 for the first frame.
            confidences: of the flows, (1, H, W) or (B, 1, H, W) in [0, 1]. If absent, flows are sure of themselves,
                but for the first frame, to which none leads.
            references: of the colors, (3, H', W') or (B, 3, H', W'); only the first is looked at.
            embed_net: in place of `swin`.

        Raises:
            DataError: there is no frame, or numbers of entries differ.
        """
        if embed_net is not None:
            return replace(self, swin=embed_net)(outputs, frames, flowed, confidences, references)
        if confidences is None:
            confidences = [torch.full_like(lab[..., :1, :, :], float(n > 0)) for n, lab in enumerate(outputs)]
        counts = {len(each) for each in (outputs, frames, flowed, confidences)}
        if counts != {len(outputs)} or not outputs:
            raise DataError(
                f"{len(outputs)} outputs, {len(frames)} frames, {len(flowed)} flows' colors and {len(confidences)} "
                "confidences: there must be as many of each, and at least one."
            )
        device = outputs[0].device
        proposals = [
            Proposal(_batch(lab)[:, 1:], _batch(carried)[:, 1:], _batch(sure))
            for lab, carried, sure in zip(outputs, flowed, confidences, strict=True)
        ]
        targets = [_batch(frame).to(device) for frame in frames]
        reference = _batch(references[0]).to(device) if references else None
        losses = [self.first(_batch(outputs[0]), targets[0], reference).total]
        for n in range(1, len(outputs)):
            losses.append(self.later(proposals[n], targets[n][:, 1:], proposals[n - 1]).total)
        return torch.stack(losses).mean()

    def _perceptual(self, colors: Tensor, target: Tensor) -> Tensor | None:
        if self.vgg is None or not self.perceptual:
            return None
        return self.perceptual * perceptual(self.vgg, colors, target)


def _batch(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x[None]
