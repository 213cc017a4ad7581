"""Heads that turn tokens into class scores: attention pooling with two layers, and the probes of a student alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.systems.bombkd.parts.tokens import masked_mean


class LinearHead(nn.Linear):
    """Class scores of the mean token.

    Args:
        in_features: width of a token.
        out_features: classes.
    """

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores (B, classes) of tokens (B, L, D) with valid ones (B, L), or of vectors (B, D)."""
        return super().forward(masked_mean(tokens, mask) if tokens.ndim == 3 else tokens)


class AdvancedClassificationHead(nn.Module):
    """Class scores of a learned mixture of mean pooling and attention pooling.

    Args:
        width: D, of a token.
        classes: number of classes.
        hidden_mult: width between both layers, as a multiple of `width`.
        dropout: between both layers.
        attn_drop: on the attention weights.
        mix_init: start of the mixture, before the sigmoid.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        hidden_mult: int = 1,
        dropout: float = 0.3,
        attn_drop: float = 0.1,
        mix_init: float = 0.5,
    ) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.mix_gate = nn.Parameter(torch.tensor(mix_init))
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden_mult * width)
        self.fc2 = nn.Linear(hidden_mult * width, classes)
        self.dropout = nn.Dropout(dropout)
        self.attn_drop = nn.Dropout(attn_drop)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores (B, classes) of tokens (B, L, D) with valid ones (B, L), or of vectors (B, D)."""
        pooled = self._pooled(tokens, mask) if tokens.ndim == 3 else tokens
        scores: Tensor = self.fc2(self.dropout(F.gelu(self.fc1(self.norm(pooled)))))
        return scores

    def _pooled(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        query = F.normalize(self.query, dim=0, eps=1e-12)
        scores = (tokens @ query) * self.logit_scale.exp()
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = self.attn_drop(scores.softmax(dim=1))
        attended = torch.einsum("blc,bl->bc", tokens, weights)
        share = self.mix_gate.sigmoid()
        return (1 - share) * masked_mean(tokens, mask) + share * attended
