"""Layers that all parts of the detector are made of, as Keras computes them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1
EPSILON = 1e-3
KEPT = 0.99


class BatchNorm(nn.Module):
    """Batch normalization whose running variance follows the biased variance of a batch, as in Keras.

    PyTorch's own takes the unbiased one, which is larger by n / (n - 1) for n values a channel: a third at the coarse
    end of a small image.

    Args:
        width: channels.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if not self.training:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPSILON)
        count = x.numel() // x.shape[1]
        if count < 2:
            # One value a channel has no variance: Keras normalizes it to zero, and torch refuses.
            mean, var = x.detach().mean((0, 2, 3)), torch.zeros_like(self.running_var)
            y = (x - x.mean((0, 2, 3), keepdim=True)) * self.weight[:, None, None] + self.bias[:, None, None]
        else:
            mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            # With a momentum of 1 the buffers become the batch's own mean and unbiased variance.
            y = functional.batch_norm(x, mean, var, self.weight, self.bias, training=True, momentum=1.0, eps=EPSILON)
            var = var * ((count - 1) / count)
        with torch.no_grad():
            self.running_mean.lerp_(mean, 1 - KEPT)
            self.running_var.lerp_(var, 1 - KEPT)
        return y


class ConvNormAct(nn.Module):
    """Convolution without bias, batch normalization, leaky ReLU.

    Args:
        inside, outside: channels.
        kernel: side of the kernel, 1 or 3.
        stride: 1, or 2 with zeros put before the first row and column only.
    """

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2 if stride == 1 else 0, bias=False)
        self.norm = BatchNorm(outside)
        nn.init.xavier_uniform_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        if self.conv.stride[0] == 2:
            x = functional.pad(x, (1, 0, 1, 0))
        return functional.leaky_relu(self.norm(self.conv(x)), SLOPE)
