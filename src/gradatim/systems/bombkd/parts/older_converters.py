"""Converters that existed before the published code and of which no checkpoint is public."""

import torch
from torch import Tensor, nn

from gradatim.systems.bombkd.parts.tokens import flattened, to_length


class TokenLearner(nn.Module):
    """Sums the sequence up in a few learned tokens, which learned queries then read.

    Args:
        d_in: width of the student's tokens.
        d_out: width of the result; a multiple of `heads`.
        target_len: tokens of the result.
        hidden: width of the network that scores tokens.
        tokens: learned tokens in between.
        heads: of attention.
    """

    def __init__(
        self, d_in: int, d_out: int, *, target_len: int, hidden: int = 256, tokens: int = 256, heads: int = 8
    ) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(d_in, hidden), nn.GELU(), nn.Linear(hidden, tokens))
        self.in_proj = nn.Linear(d_in, d_out, bias=False)
        self.query_embed = nn.Parameter(torch.empty(target_len, d_out))
        self.dec = nn.MultiheadAttention(d_out, heads, batch_first=True)
        self.out_norm = nn.LayerNorm(d_out)
        nn.init.normal_(self.query_embed, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        """Translate; (B, L, d_in) with valid tokens (B, L) -> (B, target_len, d_out)."""
        x = flattened(x)
        scores = self.score(x)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        learned = scores.softmax(dim=1).transpose(1, 2) @ self.in_proj(x)
        query = self.query_embed.expand(len(x), -1, -1)
        return self.out_norm(self.dec(query, learned, learned, need_weights=False)[0]), None


class OrthogonalConverter(nn.Module):
    """Multiplies tokens with the orthogonal matrix that is nearest to a learned one.

    Args:
        d_in: width of the student's tokens.
        d_out: width of the result.
        target_len: tokens of the result; None keeps the student's.
    """

    def __init__(self, d_in: int, d_out: int, *, target_len: int | None = None) -> None:
        super().__init__()
        self.target_len = target_len
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        nn.init.orthogonal_(self.weight)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Translate; (B, L, d_in) with valid tokens (B, L) -> (B, L', d_out) and its mask."""
        # In float32, since the decomposition knows no 16 bits.
        left, _, right = torch.linalg.svd(self.weight.float(), full_matrices=False)
        y = flattened(x) @ (left @ right).T.to(x.dtype)
        return to_length(y, mask, self.target_len)


class ResidualConverter(nn.Module):
    """Two layers around a GELU, added to the input or to its projection.

    Args:
        d_in: width of the student's tokens.
        d_out: width of the result.
        target_len: tokens of the result; None keeps the student's.
        hidden: width between the layers.
    """

    def __init__(self, d_in: int, d_out: int, *, target_len: int | None = None, hidden: int = 512) -> None:
        super().__init__()
        self.target_len = target_len
        self.norm = nn.LayerNorm(d_in)
        self.mlp = nn.Sequential(nn.Linear(d_in, hidden), nn.GELU(), nn.Linear(hidden, d_out))
        self.skip = nn.Identity() if d_in == d_out else nn.Linear(d_in, d_out, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Translate; (B, L, d_in) with valid tokens (B, L) -> (B, L', d_out) and its mask."""
        x = flattened(x)
        return to_length(self.mlp(self.norm(x)) + self.skip(x), mask, self.target_len)
