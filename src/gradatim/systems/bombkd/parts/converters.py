"""Converters: translate the student's token sequence into a teacher's feature space.

Three kinds, with the sizes and arrays of the published code:

    a  resamples through a few latent tokens by cross-attention
    b  depthwise-separable convolutions with bounded activations; the published default
    c  one linear layer

Arrays have the names of published checkpoints. Each converter is called with (B, L, C) or (B, H, W, C) and a mask
(B, L) of valid tokens, and returns its tokens and their mask: None where every token is valid. What padding holds
never reaches a valid token.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.systems.bombkd.parts.tokens import flattened, to_length, without_padding

BatchStats = Literal["clip", "batch", "running"]
Converted = tuple[Tensor, Tensor | None]


class LatentConverter(nn.Module):
    """Kind a: latent tokens read the student's sequence; the sequence, or learned queries, read them back.

    Args:
        d_in: width of the student's tokens.
        d_out: width of the result; a multiple of `n_heads_dec`.
        target_len: tokens of the result; None keeps the student's.
        d_lat: width of a latent token; a multiple of `n_heads_enc`.
        n_lat: latent tokens.
        n_layers: self-attention blocks between the latent tokens.
        n_heads_enc: heads of attention to the student and between the latent tokens.
        n_heads_dec: heads of attention to the latent tokens.
        dropout: in all of them.
        same_io: add the result, projected back to `d_in`, to the input; `target_len` is then not used.
        keep_spatial: a map (B, H, W, C) stays one.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        target_len: int | None = None,
        d_lat: int = 384,
        n_lat: int = 256,
        n_layers: int = 1,
        n_heads_enc: int = 6,
        n_heads_dec: int = 8,
        dropout: float = 0.0,
        same_io: bool = False,
        keep_spatial: bool = True,
    ) -> None:
        super().__init__()
        self.target_len = None if same_io else target_len
        self.same_io = same_io
        self.keep_spatial = keep_spatial
        same = same_io and d_in == d_out
        self.latents = nn.Parameter(torch.empty(n_lat, d_lat))
        if self.target_len:
            self.query_embed = nn.Parameter(torch.empty(self.target_len, d_out))
        self.in_proj = nn.Identity() if same else nn.Linear(d_in, d_out, bias=False)
        self.kv_proj_in = nn.Linear(d_out, d_lat, bias=False)
        self.enc_xattn = nn.MultiheadAttention(d_lat, n_heads_enc, dropout=dropout, batch_first=True)
        self.lat_blocks = nn.ModuleList(LatentBlock(d_lat, n_heads_enc, dropout) for _ in range(n_layers))
        self.kv_proj_lat = nn.Linear(d_lat, d_out, bias=False)
        self.dec_xattn = nn.MultiheadAttention(d_out, n_heads_dec, dropout=dropout, batch_first=True)
        self.norm_q, self.norm_kv, self.norm_out = (nn.LayerNorm(d_out) for _ in range(3))
        self.norm_lat = nn.LayerNorm(d_lat)
        self.ffn = nn.Sequential(
            nn.Linear(d_out, 2 * d_out), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * d_out, d_out)
        )
        if same_io:
            self.out_proj = nn.Identity() if same else nn.Linear(d_out, d_in, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the latent tokens and queries; the layers keep the framework's start."""
        nn.init.normal_(self.latents, std=0.02)
        if self.target_len:
            nn.init.normal_(self.query_embed, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Converted:
        """Translate; see the module's docstring."""
        h = self.in_proj(flattened(x))
        memory = self.kv_proj_lat(self._read(h, mask))
        if self.target_len:
            query, mask = self.query_embed.expand(len(h), -1, -1), None
        else:
            query = h
        y: Tensor = self.dec_xattn(self.norm_q(query), memory, memory, need_weights=False)[0] + query
        y = self.norm_out(y + self.ffn(y))
        if self.same_io:
            y = self.out_proj(y) + flattened(x)
        if x.ndim == 4 and self.keep_spatial and not self.target_len:
            y = y.reshape(*x.shape[:3], -1)
        return y, mask

    def _read(self, h: Tensor, mask: Tensor | None) -> Tensor:
        kv = self.kv_proj_in(self.norm_kv(h))
        z: Tensor = self.norm_lat(self.latents).expand(len(h), -1, -1)
        padding = None if mask is None else ~mask
        z = self.enc_xattn(z, kv, kv, key_padding_mask=padding, need_weights=False)[0]
        for block in self.lat_blocks:
            z = block(z)
        return z


class LatentBlock(nn.Module):
    """Transformer block that normalizes after each sum: self-attention, then two layers around a ReLU.

    Args:
        width: of a token.
        heads: of attention.
        dropout: after attention, between the layers and after them.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(width, 2 * width)
        self.linear2 = nn.Linear(2 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        """Mix tokens; (B, N, D) to the same shape."""
        z = self.norm1(z + self.dropout(self.self_attn(z, z, z, need_weights=False)[0]))
        mixed: Tensor = self.norm2(z + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(z))))))
        return mixed


class BoundedRMSNorm(nn.Module):
    """Root mean square norm over channels, whose weight counts only within ±2; computed in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize; (..., C) to the same shape."""
        wide = x.float()
        scale = wide.square().mean(dim=-1, keepdim=True).add(1e-6).rsqrt()
        return (wide * scale * self.weight.float().clamp(-2, 2)).to(x.dtype)


class BoundedActivation(nn.Module):
    """alpha * tanh(beta * x / rms(x)) with learned alpha and beta of each channel; computed in float32.

    The root mean square of a channel is taken over tokens, and which tokens is an option:

        clip     those of the same clip: a clip's result depends on nothing else. For new training.
        batch    those of the whole batch, in use too: the published code, in which a clip's result depends on its
                 neighbors
        running  those of the batch while training, whose running mean is kept; in use, that mean

    Args:
        width: channels.
        alpha: start of the bound.
        beta: start of the slope.
        batch_stats: as above.
    """

    mean_square: Tensor

    def __init__(self, width: int, *, alpha: float = 2.0, beta: float = 0.6, batch_stats: BatchStats = "clip") -> None:
        super().__init__()
        self.batch_stats = batch_stats
        self.alpha = nn.Parameter(torch.full((width,), alpha))
        self.beta = nn.Parameter(torch.full((width,), beta))
        if batch_stats == "running":
            self.register_buffer("mean_square", torch.ones(width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Bound each channel; (B, L, C), with valid tokens (B, L), to the same shape."""
        wide = x.float()
        scale = (self._mean_square(wide, mask) + 1e-6).rsqrt().clamp_max(10)
        return (self.alpha.float() * torch.tanh(self.beta.float() * wide * scale)).to(x.dtype)

    def _mean_square(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, 1, C) of each clip, or (C,) of all."""
        if self.batch_stats == "running" and not self.training:
            return self.mean_square
        squares = without_padding(x, mask).square().sum(dim=1)
        counts = x.new_full((len(x), 1), x.shape[1]) if mask is None else mask.sum(dim=1, keepdim=True)
        if self.batch_stats == "clip":
            return (squares / counts).unsqueeze(1)
        mean = squares.sum(dim=0) / counts.sum()
        if self.batch_stats == "running":
            self.mean_square.lerp_(mean.detach(), 0.1)
        return mean


class ConvolutionConverter(nn.Module):
    """Kind b: projection, resampling, then two residual branches whose outputs are bounded and start near zero.

    Args:
        d_in: width of the student's tokens.
        d_out: width of the result.
        target_len: tokens of the result; None keeps the student's.
        k: odd length of the depthwise kernels, in tokens.
        layerscale_init: start of both branches' scales.
        dropout: on both branches.
        conv_alpha0, conv_beta0, mlp_alpha0, mlp_beta0: starts of the bounded activations of the branches.
        batch_stats: see `BoundedActivation`.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        target_len: int | None = None,
        k: int = 7,
        layerscale_init: float = 1e-3,
        dropout: float = 0.0,
        conv_alpha0: float = 2.5,
        conv_beta0: float = 0.8,
        mlp_alpha0: float = 1.8,
        mlp_beta0: float = 0.8,
        batch_stats: BatchStats = "clip",
    ) -> None:
        super().__init__()
        self.target_len = target_len
        self.proj = nn.Linear(d_in, d_out, bias=False)
        self.dw1, self.dw2 = (nn.Conv1d(d_out, d_out, k, padding=k // 2, groups=d_out) for _ in range(2))
        self.pw1, self.pw2 = (nn.Conv1d(d_out, d_out, 1) for _ in range(2))
        self.norm0, self.norm1, self.norm2 = (BoundedRMSNorm(d_out) for _ in range(3))
        self.bound0 = BoundedActivation(d_out, alpha=2.2, beta=0.7, batch_stats=batch_stats)
        self.bound1 = BoundedActivation(d_out, alpha=conv_alpha0, beta=conv_beta0, batch_stats=batch_stats)
        self.bound2 = BoundedActivation(d_out, alpha=mlp_alpha0, beta=mlp_beta0, batch_stats=batch_stats)
        self.gamma1, self.gamma2 = (nn.Parameter(torch.full((d_out,), layerscale_init)) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(d_out, 2 * d_out), nn.SiLU(), nn.Linear(2 * d_out, d_out))
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the convolutions' weights; both branches begin at zero."""
        for layer in (self.dw1, self.pw1, self.dw2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        for array in (*self.pw2.parameters(), *self.mlp[2].parameters()):
            nn.init.zeros_(array)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Converted:
        """Translate; see the module's docstring."""
        h, mask = to_length(self.bound0(self.norm0(self.proj(flattened(x))), mask), mask, self.target_len)
        h = h + self.dropout(self.bound1(self._convolve(self.norm1(h), mask), mask)) * self.gamma1
        h = h + self.dropout(self.bound2(self.mlp(self.norm2(h)), mask)) * self.gamma2
        return h, mask

    def _convolve(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """Both separable convolutions, each of which sees zeros beyond a clip's end; (B, L, C) to the same shape."""
        for depthwise, pointwise in ((self.dw1, self.pw1), (self.dw2, self.pw2)):
            mixed = F.silu(depthwise(without_padding(y, mask).transpose(1, 2)))
            y = pointwise(mixed).transpose(1, 2)
        return y


class LinearConverter(nn.Module):
    """Kind c: one linear layer, then resampling.

    Args:
        d_in: width of the student's tokens.
        d_out: width of the result.
        target_len: tokens of the result; None keeps the student's.
    """

    def __init__(self, d_in: int, d_out: int, *, target_len: int | None = None) -> None:
        super().__init__()
        self.target_len = target_len
        self.proj = nn.Linear(d_in, d_out)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Converted:
        """Translate; see the module's docstring."""
        return to_length(self.proj(flattened(x)), mask, self.target_len)
