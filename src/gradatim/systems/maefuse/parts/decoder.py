"""The masked autoencoder's decoder, fed with all tokens: tokens to pixels."""

from torch import Tensor, nn, no_grad, zeros

from gradatim.vision.positions import Grid, sine_cosine_table
from gradatim.vision.transformer import Block, initialize


class Decoder(nn.Module):
    """Vision transformer from tokens to the pixels of each patch.

    Args:
        grid: (rows, columns) of patches.
        patch_size: side of a patch, in pixels.
        token_width: size of an incoming token.
        width: size of a token inside the decoder.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_ratio: hidden size of a block's feed-forward network, as a multiple of `width`.

    Source:
        He et al. 2022; MaeFuse (arXiv 2404.11016) has four blocks where the published decoder has eight, and
        predicts every patch.
    """

    pos_embed: Tensor

    def __init__(
        self,
        grid: Grid,
        patch_size: int,
        *,
        token_width: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.patch_size = patch_size
        self.embed = nn.Linear(token_width, width)
        self.register_buffer("pos_embed", zeros(1, grid[0] * grid[1], width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, patch_size * patch_size * 3)
        self.reset_parameters()

    @no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh weights and write the position table; also completes a part that was built on the meta device."""
        initialize(self)
        self.pos_embed.copy_(sine_cosine_table(self.pos_embed.shape[2], self.grid))

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict pixels in ImageNet units, unbounded; (B, N, token_width) -> (B, N, patch_size² * 3)."""
        tokens = self.embed(tokens) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        pixels: Tensor = self.head(self.norm(tokens))
        return pixels
