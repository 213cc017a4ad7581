"""Layers that all parts of the detector are made of, as Keras computes them."""

from torch import Tensor, nn
from torch.nn import functional

from gradatim.vision.batch_norm import BatchNorm

SLOPE = 0.1
EPSILON = 1e-3


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
        self.norm = BatchNorm(outside, epsilon=EPSILON)
        nn.init.xavier_uniform_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) -> (B, outside, H / stride, W / stride)."""
        if self.conv.stride[0] == 2:
            x = functional.pad(x, (1, 0, 1, 0))
        return functional.leaky_relu(self.norm(self.conv(x)), SLOPE)
