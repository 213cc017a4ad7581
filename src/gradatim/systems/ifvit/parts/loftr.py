"""Transformers that alternate between looking at one's own image and at the other: LoFTR's, and IFViT's reading of it.

Both have layers of four projections, an attention and a feed-forward network of a token beside its message. They
differ in nearly all else, so that weights of one mean nothing in the other:

    LoFTR     one layer for both images; the second looks at what the first has become; norms on the message
    legacy    a layer for each image; both look at what the other was before; norms on the token and on the sum
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.systems.ifvit.parts.tokens import (
    AttentionKind,
    LoFTRPositions,
    full_attention,
    linear_attention,
    loftr_positions,
    mask_tokens,
    sine_positions,
    to_grid,
    to_tokens,
)
from gradatim.vision.transformer import join_heads, split_heads

Pair = tuple[Tensor, Tensor]


class _Layer(nn.Module):
    """What layers of both kinds hold.

    Args:
        width: channels; a multiple of `heads`.
        heads: of the attention.
        bias: whether the linear layers have one.
        eps: added to the variance in both norms.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.merge = nn.Linear(width, width, bias=bias)
        self.fc1 = nn.Linear(2 * width, 2 * width, bias=bias)
        self.fc2 = nn.Linear(2 * width, width, bias=bias)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        for layer in self.children():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if bias:
                    nn.init.zeros_(layer.bias)

    def _heads(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of `x`, keys and values of `source`, by head."""
        query, key, value = self.query(x), self.key(source), self.value(source)
        return split_heads(query, self.heads), split_heads(key, self.heads), split_heads(value, self.heads)

    def _fed(self, x: Tensor, message: Tensor) -> Tensor:
        """The feed-forward network of a token beside its message."""
        fed: Tensor = self.fc2(F.relu(self.fc1(torch.cat([x, message], dim=2))))
        return fed


class LoFTRLayer(_Layer):
    """x + LN2(MLP([x; LN1(merge(attention))])), without biases and with linear attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, bias=False, eps=1e-5)

    def forward(
        self, x: Tensor, source: Tensor, x_mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens after they looked at `source`; (B, N, C), (B, M, C), masks (B, N), (B, M) -> (B, N, C)."""
        mixed = linear_attention(*self._heads(x, source), query_mask=x_mask, source_mask=source_mask)
        message = self.norm1(self.merge(join_heads(mixed)))
        seen: Tensor = x + self.norm2(self._fed(x, message))
        return seen


class LegacyLayer(_Layer):
    """LN2(x + MLP([LN1(x); merge(attention)])), with biases.

    Args:
        width: channels; a multiple of `heads`.
        heads: of the attention.
        attention: `linear`, which does not mind the mask of the queries, or `full`.
    """

    def __init__(self, width: int, heads: int, *, attention: AttentionKind) -> None:
        super().__init__(width, heads, bias=True, eps=1e-6)
        self.attention = attention

    def forward(
        self, x: Tensor, source: Tensor, x_mask: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens after they looked at `source`; (B, N, C), (B, M, C), masks (B, N), (B, M) -> (B, N, C)."""
        heads = self._heads(x, source)
        if self.attention == "linear":
            mixed = linear_attention(*heads, source_mask=source_mask)
        else:
            mixed = full_attention(*heads, query_mask=x_mask, source_mask=source_mask)
        seen: Tensor = self.norm2(x + self._fed(self.norm1(x), self.merge(join_heads(mixed))))
        return seen


class LegacyPair(nn.Module):
    """A layer for each image, which look at the same time.

    Args:
        width, heads, attention: see `LegacyLayer`.
        crosses: whether they look at the other image.
    """

    def __init__(self, width: int, heads: int, *, attention: AttentionKind, crosses: bool) -> None:
        super().__init__()
        self.crosses = crosses
        self.first = LegacyLayer(width, heads, attention=attention)
        self.second = LegacyLayer(width, heads, attention=attention)

    def forward(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None = None, second_mask: Tensor | None = None
    ) -> Pair:
        """Tokens of both images, (B, N, C), (B, M, C), masks (B, N), (B, M) -> the same shapes."""
        if self.crosses:
            told, told_mask, other, other_mask = second, second_mask, first, first_mask
        else:
            told, told_mask, other, other_mask = first, first_mask, second, second_mask
        return self.first(first, told, first_mask, told_mask), self.second(second, other, second_mask, other_mask)


def is_cross(layer: int) -> bool:
    """Whether a layer, counted from 0, looks at the other image; layers alternate, their own image first."""
    return layer % 2 == 1


class _Alternating(nn.Module):
    """Two grids as tokens with positions, through the layers, and back; interface of the two transformers."""

    layers: nn.ModuleList

    def forward(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None = None, second_mask: Tensor | None = None
    ) -> Pair:
        """Features of two images after they saw each other.

        Args:
            first, second: (B, C, h, w), of any size each.
            first_mask, second_mask: (B, h, w) bool, true where a cell counts.

        Returns:
            Features of both, shaped as they came.
        """
        a_size, b_size = (first.shape[2], first.shape[3]), (second.shape[2], second.shape[3])
        a = to_tokens(first + self.table(first.shape[1], a_size).to(first))
        b = to_tokens(second + self.table(second.shape[1], b_size).to(second))
        a, b = self.mix(a, b, mask_tokens(first_mask), mask_tokens(second_mask))
        return to_grid(a, a_size), to_grid(b, b_size)

    def table(self, width: int, size: tuple[int, int]) -> Tensor:
        """Positions, (width, h, w)."""
        raise NotImplementedError

    def mix(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None = None, second_mask: Tensor | None = None
    ) -> Pair:
        """The layers alone, without positions; (B, N, C), (B, M, C), masks (B, N), (B, M) -> the same shapes."""
        raise NotImplementedError


class LoFTRTransformer(_Alternating):
    """LoFTR's coarse transformer (Sun et al. 2021); Xavier-uniform weights to begin with.

    Args:
        layers: how many; even ones (from 0) look at their own image, odd ones at the other.
        width: channels; a multiple of `heads` and of 4.
        heads: of the attention.
        positions: table that is added to the features; see `loftr_positions`.
    """

    def __init__(self, layers: int, width: int, heads: int, *, positions: LoFTRPositions = "outdoor") -> None:
        super().__init__()
        self.positions = positions
        self.layers = nn.ModuleList(LoFTRLayer(width, heads) for _ in range(layers))

    def table(self, width: int, size: tuple[int, int]) -> Tensor:
        """Positions, (width, h, w)."""
        return loftr_positions(width, size, self.positions)

    def mix(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None = None, second_mask: Tensor | None = None
    ) -> Pair:
        """The layers alone, without positions; (B, N, C), (B, M, C), masks (B, N), (B, M) -> the same shapes."""
        for number, layer in enumerate(self.layers):
            if is_cross(number):
                first = layer(first, second, first_mask, second_mask)
                second = layer(second, first, second_mask, first_mask)
            else:
                first = layer(first, first, first_mask, first_mask)
                second = layer(second, second, second_mask, second_mask)
        return first, second


class LegacyTransformer(_Alternating):
    """The transformer of IFViT's published code; Xavier-uniform weights and biases of 0 to begin with.

    Args:
        layers: how many; even ones (from 0) look at their own image, odd ones at the other.
        width: channels; a multiple of `heads` and of 2.
        heads: of the attention.
        attention: `linear` or `full`.
    """

    def __init__(self, layers: int, width: int, heads: int, *, attention: AttentionKind = "linear") -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            LegacyPair(width, heads, attention=attention, crosses=is_cross(number)) for number in range(layers)
        )

    def table(self, width: int, size: tuple[int, int]) -> Tensor:
        """Positions, (width, h, w)."""
        return sine_positions(width, size)

    def mix(
        self, first: Tensor, second: Tensor, first_mask: Tensor | None = None, second_mask: Tensor | None = None
    ) -> Pair:
        """The layers alone, without positions; (B, N, C), (B, M, C), masks (B, N), (B, M) -> the same shapes."""
        for pair in self.layers:
            first, second = pair(first, second, first_mask, second_mask)
        return first, second
