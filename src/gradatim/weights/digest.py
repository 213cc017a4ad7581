"""Digests of arrays, parts and files: XXH3, 128 bits, written as 32 hexadecimal digits.

Equal digests stand for equal bits: dtype, shape and bytes all count, so a NaN equals itself and 0.0 is not -0.0.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash
from torch import Tensor, nn

_CHUNK = 1 << 22


def array_digest(array: Tensor) -> str:
    """Digest of one array; it may lie on any device and have any strides."""
    array = array.detach().cpu().contiguous()
    hasher = xxhash.xxh3_128(f"{array.dtype}{tuple(array.shape)}".encode())
    if array.numel():
        hasher.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def arrays_digest(arrays: Mapping[str, Tensor]) -> str:
    """Digest of named arrays, whatever their order."""
    hasher = xxhash.xxh3_128()
    for name in sorted(arrays):
        hasher.update(f"{name}={array_digest(arrays[name])};".encode())
    return hasher.hexdigest()


def part_digest(part: nn.Module) -> str:
    """Digest of a part's parameters and persistent buffers."""
    return arrays_digest(part.state_dict())


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    hasher = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def text_digest(*texts: str) -> str:
    """Digest of texts in their order."""
    hasher = xxhash.xxh3_128()
    for text in texts:
        hasher.update(f"{len(text)}:{text}".encode())
    return hasher.hexdigest()
