"""Anomaly scores: how far fusion moves the student's tokens, seen through one projection."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.bombkd.parts.tokens import masked_mean


class ProjectionHead(nn.Module):
    """Two layers behind a norm, on each token.

    Args:
        width: D, of a token.
        d_lat: width of the result.
    """

    def __init__(self, width: int, d_lat: int = 128) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, d_lat))

    def forward(self, tokens: Tensor) -> Tensor:
        """Project; (..., D) -> (..., d_lat)."""
        projected: Tensor = self.proj(self.norm(tokens))
        return projected


def token_scores(student: Tensor, fused: Tensor) -> Tensor:
    """Squared distance of each token to itself after fusion, both projected; (B, L, d) each -> (B, L)."""
    return (student.float() - fused.float()).square().sum(dim=2)


def clip_score(
    student: Tensor, fused: Tensor, mask: Tensor | None = None, *, reduce: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Anomaly score of each clip.

    Args:
        student: projected tokens of the student, (B, L, d).
        fused: projected tokens after fusion, same shape.
        mask: (B, L), valid tokens; None: all.
        reduce: over a clip's tokens.

    Returns:
        (B,), 0 or more.
    """
    scores = token_scores(student, fused).unsqueeze(2)
    if reduce == "mean":
        return masked_mean(scores, mask).squeeze(1)
    return (scores if mask is None else scores * mask.unsqueeze(2)).sum(dim=(1, 2))


def time_scores(student: Tensor, fused: Tensor, layout: tuple[str, int, int, int]) -> Tensor:
    """Anomaly score of each time step of clips: the mean over the places of that time.

    Args:
        student: projected tokens of the student, (B, L, d).
        fused: projected tokens after fusion, same shape.
        layout: order of the tokens, "thw" or "hwt", then their number in time, height and width.

    Returns:
        (B, T').

    Raises:
        DataError: the layout has another number of tokens.
    """
    order, times, height, width = layout
    scores = token_scores(student, fused)
    if scores.shape[1] != times * height * width:
        raise DataError(f"{scores.shape[1]} tokens are not {times} x {height} x {width} (time x height x width).")
    if order == "thw":
        return scores.reshape(-1, times, height * width).mean(dim=2)
    return scores.reshape(-1, height * width, times).mean(dim=1)


def frame_scores(scores: Tensor, frames: int) -> Tensor:
    """Scores of time steps (B, T'), interpolated to frames: (B, frames)."""
    return F.interpolate(scores.unsqueeze(1), size=frames, mode="linear").squeeze(1)
