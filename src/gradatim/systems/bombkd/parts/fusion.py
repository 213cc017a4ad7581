"""Residual gated fusion: the student's tokens plus the gated, projected tokens of each converter."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gradatim.errors import PlanError
from gradatim.systems.bombkd.parts.classifier import AdvancedClassificationHead, LinearHead
from gradatim.systems.bombkd.parts.tokens import resample

Head = Literal["linear", "advanced", "none"]


class Fused(NamedTuple):
    """What the fusion makes.

    Args:
        tokens: (B, L, D).
        gates: (B, L, n), share of each teacher at each of the student's tokens, in [0, 1].
        logits: (B, classes); None without a head.
    """

    tokens: Tensor
    gates: Tensor
    logits: Tensor | None


class ResidualGatedFusion(nn.Module):
    """Adds to the student's tokens those of each teacher, through a low-rank projection and a gate a token.

    Args:
        width: D, of the student's tokens.
        teacher_widths: of each teacher's tokens, in order.
        low_rank: highest rank of the projections.
        classes: of the head; not used without one.
        head: `linear` on the mean token, `advanced` (see `AdvancedClassificationHead`), or `none`.
        teacher_scale: factor of the teachers' sum. None: 1 / sqrt(number of teachers). 1 for the original's
            checkpoints that lack the field `advance_cls_head`.
        dropout, attn_drop: of the advanced head.

    Raises:
        PlanError: a head without classes, or no teacher.
    """

    def __init__(
        self,
        width: int,
        teacher_widths: Sequence[int],
        *,
        low_rank: int = 256,
        classes: int = 0,
        head: Head = "linear",
        teacher_scale: float | None = None,
        dropout: float = 0.3,
        attn_drop: float = 0.1,
    ) -> None:
        super().__init__()
        if not teacher_widths:
            raise PlanError("fusion: there is no teacher to fuse; name at least one in `teachers`.")
        if head != "none" and classes < 1:
            raise PlanError(f"fusion: head {head!r} needs the number of classes; set `classes`, or `head: none`.")
        self.teacher_scale = len(teacher_widths) ** -0.5 if teacher_scale is None else teacher_scale
        self.teacher_projections = nn.ModuleList(
            nn.Sequential(nn.Linear(d, rank, bias=False), nn.Linear(rank, width, bias=False))
            for d in teacher_widths
            for rank in [min(low_rank, d, width)]
        )
        self.gating_networks = nn.ModuleList(
            nn.Sequential(nn.Linear(d + width, width), nn.GELU(), nn.Linear(width, 1)) for d in teacher_widths
        )
        if head == "linear":
            self.head: nn.Module | None = LinearHead(width, classes)
        elif head == "advanced":
            self.head = AdvancedClassificationHead(width, classes, dropout=dropout, attn_drop=attn_drop)
        else:
            self.head = None

    def forward(
        self,
        student: Tensor,
        translated: Sequence[Tensor],
        mask: Tensor | None = None,
        translated_masks: Sequence[Tensor | None] | None = None,
    ) -> Fused:
        """Fuse and classify.

        Args:
            student: (B, L, D).
            translated: (B, L_i, d_i) of each teacher, in order.
            mask: (B, L), valid tokens of the student; None: all.
            translated_masks: (B, L_i) of each teacher; None: all valid.
        """
        total = torch.zeros_like(student)
        gates = []
        masks = translated_masks or [None] * len(translated)
        for index, (tokens, own) in enumerate(zip(translated, masks, strict=True)):
            gate = self._gate(index, student, tokens, mask, own)
            projected = gate * self.teacher_projections[index](tokens)
            total = total + resample(projected, student.shape[1], mask=own, target_mask=mask)
            gates.append(resample(gate, student.shape[1], mask=own, target_mask=mask))
        fused = student + self.teacher_scale * total
        logits = None if self.head is None else self.head(fused, mask)
        return Fused(fused, torch.cat(gates, dim=2), logits)

    def _gate(self, index: int, student: Tensor, tokens: Tensor, mask: Tensor | None, own: Tensor | None) -> Tensor:
        """Gate of each of a teacher's tokens, (B, L_i, 1)."""
        beside = resample(student, tokens.shape[1], mask=mask, target_mask=own)
        gate: Tensor = self.gating_networks[index](torch.cat([tokens, beside], dim=2)).sigmoid()
        return gate


class LinearProbe(nn.Module):
    """Classifier of the student alone: one linear layer on the mean token.

    Args:
        width: D, of the student's tokens.
        classes: number of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = LinearHead(width, classes)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Fused:
        """Classify tokens (B, L, D) with valid ones (B, L); the tokens stay as they are and the gate is closed."""
        return Fused(tokens, tokens.new_zeros(*tokens.shape[:2], 1), self.head(tokens, mask))


class SelfResidualProbe(nn.Module):
    """Classifier of the student alone: its tokens, gated and projected, are added to themselves.

    Args:
        width: D, of the student's tokens.
        classes: number of classes.
        low_rank: highest rank of the projection.
    """

    def __init__(self, width: int, classes: int, *, low_rank: int = 256) -> None:
        super().__init__()
        self.fusion = ResidualGatedFusion(width, [width], low_rank=low_rank, classes=classes)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Fused:
        """Fuse tokens (B, L, D), with valid ones (B, L), with themselves, and classify."""
        fused: Fused = self.fusion(tokens, [tokens], mask, [mask])
        return fused
