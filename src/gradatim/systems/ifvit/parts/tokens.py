"""Grids of features as rows of tokens, tables of positions, and attention between two such rows.

Letters: B batch, N and M tokens, C channels, h w cells of the grid, H heads, K width of a head. Token n of a grid lies
in row n // w and column n % w.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

AttentionKind = Literal["linear", "full"]
LoFTRPositions = Literal["outdoor", "fixed"]
_FLOOR = 1e-6
_MASKED = -1e9


def to_tokens(grid: Tensor) -> Tensor:
    """Cells row by row, (B, C, h, w) -> (B, N, C)."""
    return grid.flatten(2).transpose(1, 2)


def to_grid(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `to_tokens`, (B, N, C) -> (B, C, h, w) for a `size` of (h, w)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *size)


def mask_tokens(mask: Tensor | None) -> Tensor | None:
    """A mask of cells as one of tokens, (B, h, w) -> (B, N); None stays None."""
    return None if mask is None else mask.flatten(1)


def loftr_positions(width: int, size: tuple[int, int], kind: LoFTRPositions) -> Tensor:
    """LoFTR's table, (width, h, w) in [-1, 1], float32 on the CPU.

    Channels 4k to 4k + 3 hold sin(x w), cos(x w), sin(y w) and cos(y w) of the frequency w_k; x and y count from 1.

    Args:
        width: channels; a multiple of 4.
        size: (h, w).
        kind: `fixed` has the frequencies of Vaswani et al. 2017, w_k = 10000^(-4k / width). `outdoor` has those that
            the released weights were trained with, w_k = e^(-2k): there a floor division took the place of a
            division.
    """
    k = torch.arange(width // 4, dtype=torch.float64, device="cpu")
    frequencies = torch.exp(-2 * k) if kind == "outdoor" else torch.exp(-4 * k * math.log(10000.0) / width)
    y, x = (torch.arange(1, side + 1, dtype=torch.float64, device="cpu") for side in size)
    across = (frequencies[:, None] * x)[:, None, :].expand(-1, size[0], -1)
    down = (frequencies[:, None] * y)[:, :, None].expand(-1, -1, size[1])
    table = torch.stack([across.sin(), across.cos(), down.sin(), down.cos()], dim=1)
    return table.flatten(0, 1).float()


def sine_positions(width: int, size: tuple[int, int]) -> Tensor:
    """IFViT's own table, (width, h, w) in [-1, 1], float32 on the CPU: sines alone.

    The first half of the channels holds sin(y w_k), the second sin(x w_k), w_k = 10000^(-2k / width); x and y count
    from 0. The original computes cosines too and cuts them off.

    Args:
        width: channels; a multiple of 2.
        size: (h, w).
    """
    half = width // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device="cpu") / half)
    y, x = (torch.arange(side, dtype=torch.float64, device="cpu") for side in size)
    down = (frequencies[:, None] * y).sin()[:, :, None].expand(-1, -1, size[1])
    across = (frequencies[:, None] * x).sin()[:, None, :].expand(-1, size[0], -1)
    return torch.cat([down, across]).float()


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    query_mask: Tensor | None = None,
    source_mask: Tensor | None = None,
) -> Tensor:
    """Attention whose weights are products of elu + 1 of queries and keys; (B, H, N, K).

    Args:
        query: (B, H, N, K).
        key, value: (B, H, M, K).
        query_mask: (B, N) bool; queries where it is false get 0.
        source_mask: (B, M) bool; keys where it is false are not seen.

    Source:
        Katharopoulos et al. 2020, Eq. 7; 1e-6 is added to the sum of the weights.
    """
    query_BHNK, key_BHMK, value_BHMK = F.elu(query) + 1, F.elu(key) + 1, value
    if query_mask is not None:
        query_BHNK = query_BHNK * query_mask[:, None, :, None]
    if source_mask is not None:
        key_BHMK = key_BHMK * source_mask[:, None, :, None]
        value_BHMK = value_BHMK * source_mask[:, None, :, None]
    mixed_BHNK = query_BHNK @ (key_BHMK.transpose(2, 3) @ value_BHMK)
    weight_BHN1 = query_BHNK @ key_BHMK.sum(dim=2).unsqueeze(-1)
    return mixed_BHNK / (weight_BHN1 + _FLOOR)


def full_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    query_mask: Tensor | None = None,
    source_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention with softmax weights; (B, H, N, K).

    Args:
        query: (B, H, N, K).
        key, value: (B, H, M, K).
        query_mask: (B, N) bool; queries where it is false get 0.
        source_mask: (B, M) bool; keys where it is false weigh nothing, or all the same where none is true.
        dropout: share of the weights that is dropped.
    """
    unseen = None
    if source_mask is not None:
        # A large number and not infinity: a row without any key keeps finite weights.
        unseen = query.new_zeros(source_mask.shape).masked_fill(~source_mask, _MASKED)[:, None, None, :]
    mixed_BHNK = F.scaled_dot_product_attention(query, key, value, attn_mask=unseen, dropout_p=dropout)
    return mixed_BHNK if query_mask is None else mixed_BHNK * query_mask[:, None, :, None]
