"""Swin transformer V2 that reads features of a picture at four scales, as SwinTExCo matches them.

This is the variant "CR": its position bias comes from a small network of log-spaced offsets, it normalizes after each
branch, and once more after the last block of a stage.

Letters: B pictures, N windows, M cells of a window, D width, h w cells of the map.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.vision.precision import full_precision, widened
from gradatim.vision.transformer import FeedForward, join_heads, split_heads

PATCH = 4
"""Side of a patch in pixels."""
_SHARPEST = 100.0
_OTHER_REGION = -100.0


class PositionBias(nn.Module):
    """What a head adds to a score for where the key lies, seen from the query: a network of the offset.

    Args:
        heads: numbers that come out.
        hidden: size between the layers.

    Source:
        Swin V2 (Liu et al. 2022, arXiv 2111.09883), log-spaced continuous position bias; the offsets are in cells.
    """

    def __init__(self, heads: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, hidden)
        self.fc2 = nn.Linear(hidden, heads)

    def forward(self, window: tuple[int, int]) -> Tensor:
        """Bias of all pairs of a window's cells, (heads, M, M): queries down, keys across."""
        rows, columns = (torch.arange(1 - side, side, device=self.fc1.weight.device) for side in window)
        offsets = torch.cartesian_prod(rows, columns).to(self.fc1.weight.dtype)
        bias = self.fc2(F.relu(self.fc1(offsets.sign() * offsets.abs().log1p())))
        y, x = (torch.arange(side, device=bias.device) for side in window)
        cells = torch.cartesian_prod(y, x)
        down, across = (cells[:, None] - cells).unbind(dim=2)
        at = (down + window[0] - 1) * (2 * window[1] - 1) + across + window[1] - 1
        pairs: Tensor = bias[at].permute(2, 0, 1)
        return pairs


class WindowAttention(nn.Module):
    """Attention among the cells of each window by cosines, which each head sharpens as it learns.

    Args:
        width: size of a token; a multiple of `heads`.
        heads: number of heads.
        hidden: of the position bias's network.
    """

    def __init__(self, width: int, heads: int, *, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.full((heads,), 10.0).log())
        self.position = PositionBias(heads, hidden)

    def forward(self, windows: Tensor, window: tuple[int, int], regions: Tensor | None) -> Tensor:
        """Mix the tokens of each window.

        Args:
            windows: (B, N, M, D).
            window: (height, width) of one.
            regions: (N, M, M), added to the scores; keeps apart what the shift brought together. None without shift.

        Returns:
            (B, N, M, D).
        """
        queries, keys, values = (
            split_heads(widened(x.flatten(0, 1)), self.heads) for x in self.qkv(windows).chunk(3, dim=-1)
        )
        with full_precision(windows):
            scale = self.log_scale.clamp(max=math.log(_SHARPEST)).exp().view(-1, 1, 1)
            bias = widened(self.position(window))[None]
            if regions is not None:
                bias = (bias + regions[:, None]).repeat(len(windows), 1, 1, 1)
            queries, keys = F.normalize(queries, dim=-1) * scale, F.normalize(keys, dim=-1)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=1.0)
        out: Tensor = self.proj(join_heads(mixed).view(windows.shape).to(windows.dtype))
        return out


class SwinBlock(nn.Module):
    """Window attention, then a feed-forward network, each normalized and then added to its input.

    Args:
        width: size of a token; a multiple of `heads`.
        heads: number of heads.
        window: side of a window in cells.
        shifted: whether windows lie half a window further down and right, where there is more than one.
        last: whether the sum is normalized once more.
        hidden: of the position bias's network.
    """

    def __init__(self, width: int, heads: int, *, window: int, shifted: bool, last: bool, hidden: int) -> None:
        super().__init__()
        self.window = window
        self.shifted = shifted
        self.attn = WindowAttention(width, heads, hidden=hidden)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, 4 * width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3: nn.Module = nn.LayerNorm(width) if last else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) -> the same; h and w are multiples of the window."""
        x = x + self.norm1(self._attended(x))
        changed: Tensor = self.norm3(x + self.norm2(self.mlp(x)))
        return changed

    def _attended(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        window = (self.window, self.window)
        shift = tuple(self.window // 2 if self.shifted and side > self.window else 0 for side in (height, width))
        regions = None
        if any(shift):
            x = x.roll((-shift[0], -shift[1]), dims=(1, 2))
            regions = shifted_regions((height, width), self.window, (shift[0], shift[1]), x.device)
        mixed = joined(self.attn(cut(x, self.window), window, regions), (height, width), self.window)
        return mixed.roll(shift, dims=(1, 2)) if any(shift) else mixed


def cut(x: Tensor, window: int) -> Tensor:
    """Windows of a map, row by row, (B, h, w, D) -> (B, N, window², D)."""
    batch, height, width, depth = x.shape
    parts = x.view(batch, height // window, window, width // window, window, depth)
    return parts.transpose(2, 3).reshape(batch, -1, window * window, depth)


def joined(windows: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """Undo `cut` for a map of `size` (h, w)."""
    batch, depth = windows.shape[0], windows.shape[-1]
    parts = windows.view(batch, size[0] // window, size[1] // window, window, window, depth)
    return parts.transpose(2, 3).reshape(batch, *size, depth)


def shifted_regions(size: tuple[int, int], window: int, shift: tuple[int, int], device: torch.device) -> Tensor:
    """What keeps cells apart that lie in one window only since the map was rolled.

    Args:
        size: (h, w) of the map.
        window: side of a window.
        shift: cells that the map was rolled up and left.

    Returns:
        (N, window², window²), 0 for pairs that belong together and -100 for others.
    """
    y, x = (torch.arange(side, device=device) >= side - by for side, by in zip(size, shift, strict=True))
    region = (2 * y[:, None].int() + x.int())[None, :, :, None]
    cells_NM = cut(region, window)[0, :, :, 0]
    apart = cells_NM[:, :, None] != cells_NM[:, None]
    return _OTHER_REGION * apart.float()


class PatchMerging(nn.Module):
    """Four neighbors become one token of twice the width.

    Args:
        width: of a token that comes in.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, h / 2, w / 2, 2 D)."""
        batch, height, width, depth = x.shape
        # The upper left, lower left, upper right and lower right neighbor: the published weights count so.
        fours = x.view(batch, height // 2, 2, width // 2, 2, depth).permute(0, 1, 3, 4, 2, 5).flatten(3)
        merged: Tensor = self.reduction(self.norm(fours))
        return merged


class SwinPyramid(nn.Module):
    """Features of a picture at four scales.

    Args:
        width: of the first stage's tokens; each further stage has twice that of the one before.
        depths: blocks of each stage; (2, 2, 18, 2) is the small network, the default the tiny one.
        heads: of each stage; their widths are to be multiples of them.
        window: side of a window in cells.
        hidden: of the position biases' networks.

    Source:
        Swin V2 (Liu et al. 2022, arXiv 2111.09883) as `swinv2_cr_tiny_ns_224` of timm has it, which SwinTExCo
        (Expert Systems with Applications 260, 2025, 125437) matches. Pictures are not normalized by ImageNet's mean:
        the networks behind this one were trained so.
    """

    def __init__(
        self,
        *,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        hidden: int = 384,
    ) -> None:
        super().__init__()
        self.multiple = PATCH * window * 2 ** (len(depths) - 1)
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.norm = nn.LayerNorm(width)
        widths = tuple(width * 2**stage for stage in range(len(depths)))
        self.merges = nn.ModuleList(PatchMerging(before) for before in widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    SwinBlock(size, count, window=window, shifted=n % 2 == 1, last=n == depth - 1, hidden=hidden)
                    for n in range(depth)
                )
            )
            for size, depth, count in zip(widths, depths, heads, strict=True)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Features at each stage, enlarged twice.

        Args:
            picture: RGB in [0, 1], (B, 3, H, W); H and W are multiples of 224, which `multiple` holds.

        Returns:
            (B, 96, H / 2, W / 2), (B, 192, H / 4, W / 4), (B, 384, H / 8, W / 8) and (B, 768, H / 16, W / 16).

        Raises:
            DataError: the picture has another size.
        """
        if any(side % self.multiple or not side for side in picture.shape[2:]):
            height, width = picture.shape[2:]
            raise DataError(
                f"picture is {height} x {width}, both sides must be multiples of {self.multiple} "
                "for windows to fill it at every scale; resize it first."
            )
        x = self.norm(self.patches(picture).permute(0, 2, 3, 1))
        features = []
        for stage, blocks in enumerate(self.stages):
            x = blocks(x if stage == 0 else self.merges[stage - 1](x))
            features.append(F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2.0))
        return tuple(features)
