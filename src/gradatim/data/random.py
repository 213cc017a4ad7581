"""Counted randomness: a seed is a function of what it is for, never of what was drawn before."""

import numpy as np
import xxhash


def keyed_seed(*keys: str | int) -> int:
    """A 63-bit seed of names and numbers, such as (seed, stage, epoch, index)."""
    text = "/".join(f"{type(key).__name__[0]}{key}" for key in keys)
    return xxhash.xxh3_64_intdigest(text.encode()) >> 1


def keyed_generator(*keys: str | int) -> np.random.Generator:
    """A NumPy generator of its own for each key."""
    return np.random.Generator(np.random.PCG64(keyed_seed(*keys)))
