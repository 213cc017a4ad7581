"""Computing with shapes alone, on tensors of the meta device, at the price of each kind of call once."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from gradatim.engine.shape_rules import Outcome, is_told_in_place, told

_KNOWN: dict[Hashable, Outcome | None] = {}
_PURE: dict[Any, bool] = {}
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class RememberedShapes(TorchDispatchMode):
    """What an operation makes of shapes it has met before is taken from memory.

    Torch works the shapes of many operations out in Python, in milliseconds each; a network of equal blocks, which
    every stage of a plan runs through again, asks for the same few hundred of them thousands of times.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; True would load the compiler, to keep it away from this method."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not _is_pure(func):
            return args[0] if is_told_in_place(func, args) else func(*args, **kwargs)
        key = (func, _key(args), _key(tuple(kwargs.items())))
        if None in key:
            return func(*args, **kwargs)
        if key not in _KNOWN:
            _KNOWN[key] = told(func, args, kwargs)
            if _KNOWN[key] is None:
                result = func(*args, **kwargs)
                _KNOWN[key] = _outcome(result)
                return result
        known = _KNOWN[key]
        if known is None:
            return func(*args, **kwargs)
        alone, outcome = known
        made = [torch.empty_strided(shape, stride, dtype=dtype, device="meta") for shape, stride, dtype in outcome]
        return made[0] if alone else tuple(made)


def remembered(device: str) -> AbstractContextManager[object]:
    """A block that remembers shapes where tensors are nothing but shapes."""
    return RememberedShapes() if device == "meta" else nullcontext()


def _is_pure(func: Any) -> bool:
    """Whether results are new tensors whose shapes follow from those of the arguments."""
    if not isinstance(func, OpOverload):
        return False
    if func not in _PURE:
        values = (*func._schema.arguments, *func._schema.returns)
        random = torch.Tag.nondeterministic_seeded in func.tags
        _PURE[func] = not random and not any(value.alias_info for value in values)
    return _PURE[func]


def _key(value: Any) -> Hashable:
    """What shapes depend on in an argument; None where that cannot be told."""
    if isinstance(value, Tensor):
        return ("tensor", value.shape, value.stride(), value.dtype) if value.is_meta else None
    if isinstance(value, (list, tuple)):
        parts = tuple([_key(one) for one in value])
        return None if None in parts else parts
    # One, 1.0 and True are equal as keys, but no equal arguments.
    return (type(value), value) if isinstance(value, _PLAIN) else None


def _outcome(result: Any) -> Outcome | None:
    """Shapes of a result of one tensor or several; None for any other."""
    alone = isinstance(result, Tensor)
    tensors = (result,) if alone else result
    if not isinstance(tensors, tuple) or not all(isinstance(one, Tensor) and one.is_meta for one in tensors):
        return None
    return alone, tuple((one.shape, one.stride(), one.dtype) for one in tensors)
