"""The fusion head in two parts: one compares the images' tokens (CFM), one merges them (MFM).

Both add the same position table to the tokens they are given. Which tokens attend to one another is an option,
`attention_axis`, because the published weights were trained with an axis that nobody would choose:

    tokens   over the tokens of one sample: what cross-attention normally means. For new training.
    batch    over the samples of a batch, at one token position: the authors' code, whose attention takes the batch
             for the sequence. A sample's result depends on the others of its batch.
    sample   what `batch` is at one sample, for any batch size: with one key the softmax is 1, so attention is its
             value and output layers, and CFM has no influence on the fused tokens. For the published weights,
             which were used so.
"""

import math
from typing import Literal

from torch import Tensor, nn, no_grad, zeros
from torch.nn import functional as F

from gradatim.vision.positions import Grid, sine_cosine_table
from gradatim.vision.transformer import FeedForward, join_heads, split_heads

AttentionAxis = Literal["tokens", "batch", "sample"]


class CrossAttention(nn.Module):
    """Multi-head attention from one token set to another; `qkv` packs the three layers in this order.

    Args:
        width: size of a token; a multiple of `heads`.
        heads: number of heads.
        axis: which tokens attend to one another; see the module's docstring.
    """

    def __init__(self, width: int, heads: int, axis: AttentionAxis) -> None:
        super().__init__()
        self.heads = heads
        self.axis = axis
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def reset_parameters(self) -> None:
        """Draw fresh weights as the framework's own attention does, which the authors use."""
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.kaiming_uniform_(self.proj.weight, a=math.sqrt(5))
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.proj.bias)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        """Read from `source` what `query` asks for; (B, N, D) both, and the result."""
        mixed: Tensor = self.proj(self._mix(query, source))
        return mixed

    def _mix(self, query: Tensor, source: Tensor) -> Tensor:
        width = query.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        if self.axis == "sample":
            return F.linear(source, weight[2 * width :], bias[2 * width :])
        if self.axis == "batch":
            query, source = query.transpose(0, 1), source.transpose(0, 1)
        asked = F.linear(query, weight[:width], bias[:width])
        keys, values = F.linear(source, weight[width:], bias[width:]).chunk(2, dim=-1)
        asked, keys, values = (split_heads(tokens, self.heads) for tokens in (asked, keys, values))
        mixed = join_heads(F.scaled_dot_product_attention(asked, keys, values))
        return mixed.transpose(0, 1) if self.axis == "batch" else mixed


class ComparativeFusion(nn.Module):
    """CFM: each image's tokens ask the other's, and the answers are added.

    Args:
        grid: (rows, columns) of tokens.
        width: size of a token; a multiple of `heads`.
        heads: attention heads.
        attention_axis: see the module's docstring.

    Source:
        MaeFuse (arXiv 2404.11016), comparative fusion module. The authors add the table to the tokens in place;
        here the tokens stay as they are.
    """

    pos_embed: Tensor

    def __init__(self, grid: Grid, width: int, *, heads: int = 16, attention_axis: AttentionAxis = "tokens") -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("pos_embed", zeros(1, grid[0] * grid[1], width))
        self.attn = CrossAttention(width, heads, attention_axis)
        self.reset_parameters()

    @no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh weights and write the position table; also completes a part that was built on the meta device."""
        self.attn.reset_parameters()
        self.pos_embed.copy_(sine_cosine_table(self.pos_embed.shape[2], self.grid))

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Pattern of what the images have in common and apart; tokens (B, N, D) each -> (B, N, D)."""
        visible = visible + self.pos_embed
        infrared = infrared + self.pos_embed
        pattern: Tensor = self.attn(infrared, visible) + self.attn(visible, infrared)
        return pattern


class MergingFusion(nn.Module):
    """MFM: the pattern asks both images' tokens, and a feed-forward network finishes the sum.

    Args:
        grid: (rows, columns) of tokens.
        width: size of a token; a multiple of `heads`.
        heads: attention heads.
        attention_axis: see the module's docstring.

    Source:
        MaeFuse (arXiv 2404.11016), merging fusion module. Its norm has the framework's eps of 1e-5, unlike the
        encoder's.
    """

    pos_embed: Tensor

    def __init__(self, grid: Grid, width: int, *, heads: int = 16, attention_axis: AttentionAxis = "tokens") -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("pos_embed", zeros(1, grid[0] * grid[1], width))
        self.attn = CrossAttention(width, heads, attention_axis)
        self.mlp = FeedForward(width, 4 * width)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.reset_parameters()

    @no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh weights and write the position table; also completes a part that was built on the meta device."""
        self.attn.reset_parameters()
        self.mlp.fc1.reset_parameters()
        self.mlp.fc2.reset_parameters()
        self.norm.reset_parameters()
        self.pos_embed.copy_(sine_cosine_table(self.pos_embed.shape[2], self.grid))

    def forward(self, pattern: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
        """Fused tokens in the encoder's space; pattern and tokens (B, N, D) each -> (B, N, D)."""
        visible = visible + self.pos_embed
        infrared = infrared + self.pos_embed
        merged = self.attn(pattern, visible) + self.attn(pattern, infrared)
        fused: Tensor = self.norm(merged + self.mlp(merged))
        return fused
