"""The learned token that stands where a patch is hidden; only masked pretraining uses it."""

import torch
from torch import Tensor, nn


class MaskToken(nn.Module):
    """Fill the places of hidden patches with one learned token.

    Args:
        width: size of the encoder's tokens.

    Source:
        He et al. 2022. There the token has the decoder's width and is put in behind the decoder's first layer; here
        it has the encoder's, so the decoder is the same one that fusion uses.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the token from a normal distribution of deviation 0.02."""
        nn.init.normal_(self.token, std=0.02)

    def forward(self, kept_tokens: Tensor, keep: Tensor, count: int) -> Tensor:
        """Put encoded tokens back to their places among `count`.

        Args:
            kept_tokens: (B, K, D).
            keep: (B, K) int64, the place of each.
            count: N, tokens of a whole image.

        Returns:
            (B, N, D); the learned token wherever `keep` names no place.
        """
        batch, _, width = kept_tokens.shape
        everywhere = self.token.to(kept_tokens.dtype).expand(batch, count, width)
        return everywhere.scatter(1, keep.unsqueeze(-1).expand(-1, -1, width), kept_tokens)
