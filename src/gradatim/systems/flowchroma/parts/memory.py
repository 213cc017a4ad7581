"""Memory of past pairs of frames, and the attention that looks into it.

Letters: B batch, T pairs, C channels, h w cells of the grid.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

KeysOfMemory = Literal["own", "values"]
"""What is compared with a query to find a remembered value: the pair's own key, or that very value."""


@dataclass(frozen=True)
class Memory:
    """What is kept of past pairs, the oldest first.

    Args:
        keys, values: (B, T, C, h, w).
    """

    keys: Tensor
    values: Tensor

    def __len__(self) -> int:
        """Number of pairs."""
        return self.keys.shape[1]


def remembered(memory: Memory | None, key: Tensor, value: Tensor, *, limit: int | None = 1) -> Memory:
    """A memory with a further pair in it.

    Args:
        memory: what was there before; None for nothing.
        key, value: of the pair, (B, C, h, w).
        limit: pairs that are kept, the newest; None for all. At least 1.
    """
    assert limit is None or limit > 0
    keys, values = key[:, None], value[:, None]
    if memory is not None:
        keys, values = torch.cat([memory.keys, keys], dim=1), torch.cat([memory.values, values], dim=1)
    kept = slice(None) if limit is None else slice(-limit, None)
    return Memory(keys[:, kept], values[:, kept])


def drawn(memory: Memory, count: int, generator: torch.Generator) -> Memory:
    """Some of the pairs, for each sample of the batch others; all where there are no more than `count`."""
    if len(memory) <= count:
        return memory
    order = torch.rand(memory.keys.shape[:2], generator=generator, device=generator.device).argsort(dim=1)
    chosen = order[:, :count].to(memory.keys.device)
    samples = torch.arange(len(chosen), device=chosen.device)[:, None]
    return Memory(memory.keys[samples, chosen], memory.values[samples, chosen])


def gather(query: Tensor, keys: Tensor, values: Tensor, *, train_tokens: float) -> Tensor:
    """Values of all cells of all pairs, weighed by how well their keys suit a query.

    Args:
        query: (B, C, h, w).
        keys, values: (B, T, C, h, w).
        train_tokens: mean number of keys that the weights were trained with, above 1; softmax over N keys is
            sharpened by log(N) / log(train_tokens), which keeps its entropy about the same.

    Returns:
        (B, C, h, w).

    Source:
        MemFlow (Dong and Fu 2024, arXiv 2404.04808).
    """
    queries_BNC = query.flatten(2).transpose(1, 2)
    keys_BMC, values_BMC = (x.permute(0, 1, 3, 4, 2).flatten(1, 3) for x in (keys, values))
    scale = query.shape[1] ** -0.5 * math.log(keys_BMC.shape[1]) / math.log(train_tokens)
    # Heads of their own axis, of which there is one: fused kernels ask for it.
    found_BNC = F.scaled_dot_product_attention(
        queries_BNC[:, None], keys_BMC[:, None], values_BMC[:, None], scale=scale
    )[:, 0]
    return found_BNC.transpose(1, 2).reshape(query.shape)
