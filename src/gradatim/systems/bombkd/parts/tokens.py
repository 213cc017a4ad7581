"""Token sequences of unequal length in one batch: resampling, means, and their masks.

A mask is (B, L) bool, True where a token is valid; the valid tokens of a clip come first and there is at least one.
None stands for a batch without padding and is the faster way everywhere.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def resample(tokens: Tensor, length: int, *, mask: Tensor | None = None, target_mask: Tensor | None = None) -> Tensor:
    """Resample sequences to another length, linearly, with half-pixel centers and no smoothing.

    Args:
        tokens: (B, L, C).
        length: tokens of the result.
        mask: (B, L), valid tokens; each clip is resampled from its own length.
        target_mask: (B, length), valid tokens of the result; each clip is resampled to its own length.

    Returns:
        (B, length, C). Beyond a clip's own length its last token is repeated.
    """
    if mask is target_mask and tokens.shape[1] == length:
        return tokens
    if mask is None and target_mask is None:
        return F.interpolate(tokens.transpose(1, 2), size=length, mode="linear").transpose(1, 2)
    batch, padded, width = tokens.shape
    source = _lengths(mask, batch, padded, tokens.device)
    target = _lengths(target_mask, batch, length, tokens.device)
    # The same operations in the same precision as in `F.interpolate`, so that padding changes nothing.
    steps = torch.arange(length, device=tokens.device, dtype=torch.float32)
    place = ((source / target).unsqueeze(1) * (steps + 0.5) - 0.5).clamp_min(0)
    last = (source - 1).unsqueeze(1)
    left = torch.minimum(place.floor(), last)
    right = torch.minimum(left + 1, last)
    share = (place - left).clamp(0, 1).unsqueeze(-1).to(tokens.dtype)
    low, high = (tokens.gather(1, index.long().unsqueeze(-1).expand(-1, -1, width)) for index in (left, right))
    return low * (1 - share) + high * share


def to_length(tokens: Tensor, mask: Tensor | None, length: int | None) -> tuple[Tensor, Tensor | None]:
    """Sequences of `length` tokens, all of them valid then; without a length tokens and mask as they are."""
    return (resample(tokens, length, mask=mask), None) if length else (tokens, mask)


def _lengths(mask: Tensor | None, batch: int, length: int, device: torch.device) -> Tensor:
    """Valid tokens of each clip, (B,) float32."""
    if mask is None:
        return torch.full((batch,), float(length), device=device)
    return mask.sum(dim=1, dtype=torch.float32)


def masked_mean(tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the valid tokens; (B, L, C) -> (B, C)."""
    if mask is None:
        return tokens.mean(dim=1)
    weights = mask.to(tokens.dtype)
    return torch.einsum("blc,bl->bc", tokens, weights) / weights.sum(dim=1, keepdim=True)


def flattened(tokens: Tensor) -> Tensor:
    """Sequences (B, L, C) as they are; maps (B, H, W, C) row by row."""
    return tokens.flatten(1, 2) if tokens.ndim == 4 else tokens


def without_padding(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The same tokens with zeros in place of padding."""
    return tokens if mask is None else tokens.masked_fill(~mask.unsqueeze(-1), 0)
