"""Batch normalization as Keras and Flax compute it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

KEPT = 0.99
"""Share of the running statistics that a batch leaves as they were, by both libraries' default."""


class BatchNorm(nn.Module):
    """Batch normalization whose running variance follows the biased variance of a batch.

    PyTorch's own takes the unbiased one, which is larger by n / (n - 1) for n values a channel: a third at the coarse
    end of a small image.

    Args:
        width: channels.
        epsilon: added to the variance; 1e-3 in Keras, 1e-5 in Flax.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same; in train mode the running statistics take in this batch."""
        if not self.training:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.epsilon
            )  # fmt: skip
        count = x.numel() // x.shape[1]
        if count < 2:
            # One value a channel has no variance: Keras and Flax normalize it to zero, and torch refuses.
            mean, var = x.detach().mean((0, 2, 3)), torch.zeros_like(self.running_var)
            y = (x - x.mean((0, 2, 3), keepdim=True)) * self.weight[:, None, None] + self.bias[:, None, None]
        else:
            mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            # With a momentum of 1 the buffers become the batch's own mean and unbiased variance.
            y = functional.batch_norm(
                x, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=self.epsilon
            )  # fmt: skip
            var = var * ((count - 1) / count)
        with torch.no_grad():
            self.running_mean.lerp_(mean, 1 - KEPT)
            self.running_var.lerp_(var, 1 - KEPT)
        return y
