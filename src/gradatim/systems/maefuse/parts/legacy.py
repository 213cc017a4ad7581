"""Earlier heads of MaeFuse's authors, which their training and test do not reach.

They are here for people who hold weights of them. Arrays that the authors create but never use are left out. Names in
the authors' code: MeanFusion `cross_fusion_mean`, PlainFusion `cross_fusion_FFN_re`, ConvPyramid `FPN`, ConvStack
`Feature_Net`, UnscaledAttention `SelfAttention`, SegmentationHead `Seg_module`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.systems.maefuse.parts.fusion import AttentionAxis, CrossAttention
from gradatim.vision.positions import Grid, sine_cosine_table
from gradatim.vision.transformer import Block, FeedForward, join_heads, split_heads


class MeanFusion(nn.Module):
    """The mean of both token sets asks each of them; (B, N, D) twice -> (B, N, D).

    Args:
        grid: (rows, columns) of tokens.
        width: size of a token; a multiple of `heads`.
        heads: attention heads.
        attention_axis: as in the present head.
    """

    pos_embed: Tensor

    def __init__(self, grid: Grid, width: int, *, heads: int = 16, attention_axis: AttentionAxis = "tokens") -> None:
        super().__init__()
        self.register_buffer("pos_embed", sine_cosine_table(width, grid).unsqueeze(0))
        self.attn = CrossAttention(width, heads, attention_axis)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Fused tokens, neither normalized nor added to anything."""
        visible = visible + self.pos_embed
        infrared = infrared + self.pos_embed
        mean = (visible + infrared) / 2
        fused: Tensor = self.mlp(self.attn(mean, visible) + self.attn(mean, infrared))
        return fused


class PlainFusion(nn.Module):
    """The present head, compare and merge in one, without its residual and norm; (B, N, D) twice -> (B, N, D).

    Args:
        grid: (rows, columns) of tokens.
        width: size of a token; a multiple of `heads`.
        heads: attention heads.
        attention_axis: as in the present head.
    """

    pos_embed: Tensor

    def __init__(self, grid: Grid, width: int, *, heads: int = 16, attention_axis: AttentionAxis = "tokens") -> None:
        super().__init__()
        self.register_buffer("pos_embed", sine_cosine_table(width, grid).unsqueeze(0))
        self.compare = CrossAttention(width, heads, attention_axis)
        self.merge = CrossAttention(width, heads, attention_axis)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Fused tokens."""
        visible = visible + self.pos_embed
        infrared = infrared + self.pos_embed
        pattern = self.compare(infrared, visible) + self.compare(visible, infrared)
        fused: Tensor = self.mlp(self.merge(pattern, visible) + self.merge(pattern, infrared))
        return fused


class ConvPyramid(nn.Module):
    """Four convolutional stages with one shortcut, all at one size; (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: C. The authors name two numbers, but theirs runs only where they are equal.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = _stage(channels, channels)
        self.down2 = _stage(channels, channels)
        self.up2 = _stage(channels, channels)
        self.up1 = _stage(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Filtered features; despite the stages' names nothing is resampled."""
        first = self.down1(features)
        filtered: Tensor = self.up1(self.up2(self.down2(first)) + first)
        return filtered


class ConvStack(nn.Module):
    """Three stages at twice the channels and a last convolution; (B, C, H, W) -> (B, C, H, W), not negative.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            _stage(channels, 2 * channels), _stage(2 * channels, 2 * channels), _stage(2 * channels, 2 * channels)
        )
        self.last = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Filtered features."""
        return F.relu(self.last(self.stages(features)))


class UnscaledAttention(nn.Module):
    """Self-attention without the scale by the head's width and without an output layer; (B, N, D) -> (B, N, D).

    Args:
        width: size of a token; a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width)
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mixed tokens."""
        layers = (self.queries, self.keys, self.values)
        query, key, value = (split_heads(layer(tokens), self.heads) for layer in layers)
        return join_heads(F.scaled_dot_product_attention(query, key, value, scale=1.0))


class SegmentationHead(nn.Module):
    """Four blocks from the encoder's tokens to pixels of 16 × 16 patches; (B, N, D) -> (B, N, 768).

    Args:
        grid: (rows, columns) of tokens.
        width: D.
    """

    pos_embed: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        # The authors never fill their table: it stays at zero unless a file brings one.
        self.register_buffer("pos_embed", torch.zeros(1, grid[0] * grid[1], 512))
        self.embed = nn.Linear(width, 512)
        self.blocks = nn.Sequential(*(Block(512, 16, eps=1e-5) for _ in range(4)))
        self.norm = nn.LayerNorm(512, eps=1e-5)
        self.head = nn.Linear(512, 768)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pixels of each patch."""
        pixels: Tensor = self.head(self.norm(self.blocks(self.embed(tokens) + self.pos_embed)))
        return pixels


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, ReLU, then batch norm, in the authors' order."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs))
