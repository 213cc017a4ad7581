"""Readers of weight files, chosen by content and never by suffix.

A format is a name, a test of the file's first bytes and a reader; a further one is one more module here and one more
line in `FORMATS`.
"""

from gradatim.weights.formats.base import Format, Weights
from gradatim.weights.formats.darknet_file import DARKNET
from gradatim.weights.formats.flax_pickle import FLAX
from gradatim.weights.formats.keras_file import KERAS
from gradatim.weights.formats.npz import NPZ
from gradatim.weights.formats.safetensors_file import SAFETENSORS
from gradatim.weights.formats.torch_file import TORCH

FORMATS: tuple[Format, ...] = (SAFETENSORS, NPZ, KERAS, DARKNET, FLAX, TORCH)

__all__ = ["FORMATS", "Format", "Weights"]
