"""Full precision under autocast, for what 16 bits would spoil.

That is cosines which a small temperature or a large scale multiplies, differences of near values, and places in pixels.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A block in which autocast does nothing on the tensor's device."""
    # Tensors without values, on which memory is estimated, know no autocast.
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)


def widened(x: Tensor) -> Tensor:
    """At least float32, whatever autocast left."""
    return x if x.dtype == torch.float64 else x.float()
