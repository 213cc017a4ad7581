"""Pre-norm vision transformer: attention, feed-forward network, block.

Letters: B batch, N tokens, D width, H heads, K width of one head. Attention goes through the fused kernel, so
N × N weights are never stored. No dropout and no layer scale: the networks built from these have none.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention; one layer `qkv` makes queries, keys and values, in this order.

    Args:
        width: size of a token; a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens with one another, (B, N, D) -> (B, N, D)."""
        query_BHNK, key_BHNK, value_BHNK = (split_heads(part, self.heads) for part in self.qkv(tokens).chunk(3, dim=-1))
        mixed_BHNK = F.scaled_dot_product_attention(query_BHNK, key_BHNK, value_BHNK)
        mixed: Tensor = self.proj(join_heads(mixed_BHNK))
        return mixed


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU between them, each token on its own.

    Args:
        width: size of a token.
        hidden: size between the layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Change each token, (..., D) -> (..., D)."""
        changed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return changed


class Block(nn.Module):
    """Attention, then a feed-forward network, each on normalized tokens and added to its input.

    Args:
        width: size of a token; a multiple of `heads`.
        heads: number of attention heads.
        mlp_ratio: hidden size of the feed-forward network, as a multiple of `width`.
        eps: added to the variance in both norms.
    """

    def __init__(self, width: int, heads: int, *, mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = FeedForward(width, int(width * mlp_ratio))

    def forward(self, tokens: Tensor) -> Tensor:
        """One layer of the transformer, (B, N, D) -> (B, N, D)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Give each head its slice of every token, (B, N, H * K) -> (B, H, N, K)."""
    batch, count, width = tokens.shape
    return tokens.reshape(batch, count, heads, width // heads).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """Put the heads' slices back side by side, (B, H, N, K) -> (B, N, H * K)."""
    return tokens.transpose(1, 2).flatten(2)


def initialize(module: nn.Module) -> None:
    """Start all linear layers and norms in `module` as a masked autoencoder's; changes `module`.

    Source:
        Masked autoencoders (He et al. 2022, appendix A): Xavier-uniform weights, zero biases. `qkv` is one matrix
        here, so its bound is that of the packed shape, as in the authors' code.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
