"""The generic transformer over two images: pre-norm blocks, learned positions, weights of its own for each image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.systems.ifvit.parts.tokens import full_attention, mask_tokens, to_grid, to_tokens
from gradatim.vision.transformer import initialize, join_heads, split_heads

_EPS = 1e-6
_POSITIONS_STD = 0.02


class SiameseBlock(nn.Module):
    """Attention to a source, then a feed-forward network, each on normalized tokens and added to its input.

    Args:
        width: channels; a multiple of `heads`.
        heads: of the attention.
        hidden: size between the linear layers.
        dropout: share that is dropped of attention weights, of both outputs and between the linear layers.
        crosses: whether the source is the other image, which then has a norm of its own.
    """

    def __init__(self, width: int, heads: int, hidden: int, *, dropout: float, crosses: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.norm_source = nn.LayerNorm(width, eps=_EPS) if crosses else None
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, source: Tensor, x_mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens after they looked at `source`; (B, N, C), (B, M, C), masks (B, N), (B, M) -> (B, N, C)."""
        asking = self.norm1(x)
        told = asking if self.norm_source is None else self.norm_source(source)
        query, key, value = (
            split_heads(one, self.heads) for one in (self.query(asking), self.key(told), self.value(told))
        )
        dropped = self.drop.p if self.training else 0.0
        mixed = full_attention(query, key, value, query_mask=x_mask, source_mask=source_mask, dropout=dropped)
        x = x + self.drop(self.out(join_heads(mixed)))
        hidden = self.drop(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))
        changed: Tensor = x + self.drop(self.fc2(hidden))
        return changed


class SiameseLayer(nn.Module):
    """Four blocks: each image looks at itself, then the first at the second, then the second at the new first."""

    def __init__(self, width: int, heads: int, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.self_first = SiameseBlock(width, heads, hidden, dropout=dropout, crosses=False)
        self.self_second = SiameseBlock(width, heads, hidden, dropout=dropout, crosses=False)
        self.cross_first = SiameseBlock(width, heads, hidden, dropout=dropout, crosses=True)
        self.cross_second = SiameseBlock(width, heads, hidden, dropout=dropout, crosses=True)

    def forward(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None, second_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Both images' tokens after they saw themselves and each other; (B, N, C), (B, M, C) -> the same."""
        first = self.self_first(first, first, first_mask, first_mask)
        second = self.self_second(second, second, second_mask, second_mask)
        first = self.cross_first(first, second, first_mask, second_mask)
        second = self.cross_second(second, first, second_mask, first_mask)
        return first, second


class SiameseTransformer(nn.Module):
    """Transformer with learned positions; Xavier-uniform weights, positions N(0, 0.02) to begin with.

    Args:
        layers: how many, of four blocks each.
        width: channels inside; a multiple of `heads`.
        heads: of the attention.
        hidden: size between the linear layers of a block.
        grid: (h, w) of the learned tables; other grids get them bicubically interpolated.
        channels: of the features; projected where they are not `width`.
        dropout: see `SiameseBlock`.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        *,
        hidden: int,
        grid: tuple[int, int],
        channels: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.grid = grid
        fits = channels == width
        self.project_first: nn.Module = nn.Identity() if fits else nn.Linear(channels, width)
        self.project_second: nn.Module = nn.Identity() if fits else nn.Linear(channels, width)
        self.positions_first = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        self.positions_second = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        self.layers = nn.ModuleList(SiameseLayer(width, heads, hidden, dropout=dropout) for _ in range(layers))
        for table in (self.positions_first, self.positions_second):
            nn.init.normal_(table, std=_POSITIONS_STD)
        initialize(self)

    def forward(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None = None, second_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features of two images after they saw each other.

        Args:
            first, second: (B, channels, h, w), of any size each.
            first_mask, second_mask: (B, h, w) bool, true where a cell counts.

        Returns:
            (B, width, h, w) of both.
        """
        a_size, b_size = (first.shape[2], first.shape[3]), (second.shape[2], second.shape[3])
        a = self.project_first(to_tokens(first)) + self._table(self.positions_first, a_size)
        b = self.project_second(to_tokens(second)) + self._table(self.positions_second, b_size)
        a_mask, b_mask = mask_tokens(first_mask), mask_tokens(second_mask)
        for layer in self.layers:
            a, b = layer(a, b, a_mask, b_mask)
        return to_grid(a, a_size), to_grid(b, b_size)

    def _table(self, table: Tensor, size: tuple[int, int]) -> Tensor:
        """Positions of a grid, (1, h * w, width)."""
        if size == self.grid:
            return table
        return to_tokens(F.interpolate(to_grid(table, self.grid), size=size, mode="bicubic", align_corners=False))
