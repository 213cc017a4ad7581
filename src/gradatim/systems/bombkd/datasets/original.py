"""How the published program samples and batches clips: for comparisons with it, not for training.

Both have faults that are mended elsewhere: a video without a frame count in its header gives its first frames only,
and frames of unequal size are padded before the backbones resize them, so that a clip's pixels depend on its batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.data.video import frame_indices


def original_indices(total: int, n: int) -> NDArray[np.int64]:
    """Frame numbers (n,) that are asked for: spread evenly, but the first `n` where the count is 0 or less."""
    return frame_indices(total, n) if total > 0 else np.arange(n, dtype=np.int64)


def padded_batch(clips: Sequence[Tensor]) -> Tensor:
    """Clips (T, C, H, W) of any sizes side by side, zeros behind the end, below and at the right: (B, T, C, H, W)."""
    largest = [max(sizes) for sizes in zip(*(clip.shape for clip in clips), strict=True)]
    batch = clips[0].new_zeros((len(clips), *largest))
    for row, clip in zip(batch, clips, strict=True):
        row[tuple(slice(0, size) for size in clip.shape)] = clip
    return batch


def padded_tokens(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Token sequences (N_i, D) side by side, zeros behind the end.

    Returns:
        (B, N, D) of the sequences' own type, and their lengths (B,) int64.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths
