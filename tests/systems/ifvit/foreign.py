"""Tiny files as other programs write them: names and shapes of LoFTR's and of IFViT's code, values drawn."""

import pickle
import sys
import types

import numpy as np
import torch

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "merge")


def _drawn(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def loftr_file(*, layers=2, width=8, prefix="matcher.loftr_coarse.", seed=0):
    """LoFTR's coarse transformer, and an array of its fine stage."""
    shapes = {}
    for layer in range(layers):
        root = f"{prefix}layers.{layer}"
        shapes |= {f"{root}.{name}.weight": (width, width) for name in _PROJECTIONS}
        shapes |= {f"{root}.mlp.0.weight": (2 * width, 2 * width), f"{root}.mlp.2.weight": (width, 2 * width)}
        shapes |= {f"{root}.norm{n}.{array}": (width,) for n in (1, 2) for array in ("weight", "bias")}
    return _drawn(shapes, seed)


def _dense(root, inside, outside):
    return {f"{root}/kernel": (inside, outside), f"{root}/bias": (outside,)}


def legacy_file(name="loftr_transformer", *, layers=2, width=8, seed=0):
    """A transformer of IFViT's code."""
    shapes = {}
    for layer in range(layers):
        for image in (0, 1):
            root = f"params/{name}/layers.{layer}.{image}"
            for projection in _PROJECTIONS:
                shapes |= _dense(f"{root}/{projection}", width, width)
            shapes |= _dense(f"{root}/mlp.0", 2 * width, 2 * width) | _dense(f"{root}/mlp.2", 2 * width, width)
            shapes |= {f"{root}/norm{n}/{array}": (width,) for n in (1, 2) for array in ("scale", "bias")}
    return _drawn(shapes, seed)


def matcher_file(*, tied, width=8):
    """Both transformers of Module 2, the embedding and the centers of 3 classes."""
    whole = legacy_file("loftr_transformer_global", width=width)
    local = legacy_file("loftr_transformer_local", width=width, seed=0 if tied else 1)
    shapes = _dense("params/EmbeddingHead_0/Dense_0", width, 4) | {"arcface_params/arcface/params/weight": (4, 3)}
    return {**whole, **local, **_drawn(shapes, 2)}


def tree_of(arrays):
    """Arrays by path as the dicts of dicts that a file holds, NumPy's."""
    tree = {}
    for path, array in arrays.items():
        *groups, name = path.split("/")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = np.asarray(array)
    return tree


class _Named:
    """Pickles as a call of a name that exists while it is written only."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def _fake(monkeypatch, module, name, made):
    made.__module__, made.__qualname__, made.__name__ = module, name, name
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if path not in sys.modules or end == len(parts):
            monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    setattr(sys.modules[module], name, made)
    return made


def dump(path, monkeypatch, build):
    """Write what `build` makes of the classes that JAX's files refer to; none of them is there afterwards.

    Args:
        path: the file.
        monkeypatch: pytest's.
        build: (jax array, optimizer's record, frozen dict) -> content; the three are functions.
    """
    with monkeypatch.context() as patch:
        reconstruct = _fake(patch, "jax._src.array", "_reconstruct_array", lambda *arguments: None)
        frozen = _fake(patch, "flax.core.frozen_dict", "FrozenDict", type("FrozenDict", (dict,), {}))
        state = _fake(patch, "optax._src.transform", "ScaleByAdamState", type("ScaleByAdamState", (tuple,), {}))
        state.__reduce_ex__ = lambda self, protocol: (sys.modules["copyreg"].__newobj__, (state, *self))

        def jax_array(array):
            fun, arguments, content = array.__reduce__()
            return _Named(reconstruct, fun, arguments, content, {"weak_type": False})

        content = build(jax_array, lambda *fields: state(fields), lambda tree: _Named(frozen, tree))
        path.write_bytes(pickle.dumps(content, protocol=4))
    return path
