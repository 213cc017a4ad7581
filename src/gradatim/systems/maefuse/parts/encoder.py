"""The masked autoencoder's encoder, without class token: images to tokens."""

from torch import Tensor, nn, no_grad, zeros

from gradatim.errors import DataError
from gradatim.vision.positions import Grid, sine_cosine_table
from gradatim.vision.transformer import Block, initialize


class Encoder(nn.Module):
    """Vision transformer from image to normalized tokens.

    Args:
        grid: (rows, columns) of patches; fixes the size of the images.
        patch_size: side of a patch, in pixels.
        width: D, size of a token.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_ratio: hidden size of a block's feed-forward network, as a multiple of `width`.

    Source:
        He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners"; MaeFuse (arXiv 2404.11016) leaves the class
        token out and hides no patch.
    """

    pos_embed: Tensor

    def __init__(
        self, grid: Grid, patch_size: int, *, width: int, depth: int, heads: int, mlp_ratio: float = 4.0
    ) -> None:
        super().__init__()
        self.grid = grid
        self.patch_size = patch_size
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.register_buffer("pos_embed", zeros(1, grid[0] * grid[1], width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.reset_parameters()

    @no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh weights and write the position table; also completes a part that was built on the meta device."""
        initialize(self)
        self.patch_embed.reset_parameters()  # for the bias, which keeps the framework's start
        nn.init.xavier_uniform_(self.patch_embed.weight.view(self.patch_embed.out_channels, -1))
        self.pos_embed.copy_(sine_cosine_table(self.pos_embed.shape[2], self.grid))

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode images, or only some patches of them.

        Args:
            image: (B, 3, H, W) in ImageNet units, of the size that the encoder was built for.
            keep: (B, K) int64, tokens to encode, in any order; the others are not looked at. None: all.

        Returns:
            Tokens after the last norm, (B, N, D), or (B, K, D) in the order of `keep`.

        Raises:
            DataError: the image has another size.
        """
        self._check_size(image)
        tokens = self.patch_embed(image).flatten(2).transpose(1, 2) + self.pos_embed
        if keep is not None:
            tokens = tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
        for block in self.blocks:
            tokens = block(tokens)
        encoded: Tensor = self.norm(tokens)
        return encoded

    def _check_size(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        built = (self.grid[0] * self.patch_size, self.grid[1] * self.patch_size)
        if (height, width) != built:
            raise DataError(
                f"encoder: the image is {height} x {width} pixels, the model was built for {built[0]} x {built[1]} "
                f"(height x width). Set the model's `image_size: [{height}, {width}]`, "
                f"or let the data be resized with `size: [{built[0]}, {built[1]}]`."
            )
