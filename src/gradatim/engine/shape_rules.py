"""What common operations make of shapes, told at once.

Torch works most of them out in Python on the meta device, and loads its compiler and a computer algebra system for the
first: about a second. Here shapes of matrix products and the like follow from their definition. What changes no size,
or reduces some, is computed for real on stand-ins of a few numbers: their types and the order of their strides are
the result's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

Outline = tuple[torch.Size, tuple[int, ...], torch.dtype]
Outcome = tuple[bool, tuple[Outline, ...]]
"""Whether the result is one tensor alone, and shape, strides and type of each."""

_aten = torch.ops.aten


def told(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome | None:
    """What an operation without side effects returns for tensors of the meta device; None where no rule covers it.

    Arguments that an operation would refuse are never told, so that torch raises its own error.
    """
    place = kwargs.get("device")
    if place is not None and torch.device(place).type != "meta":
        return None
    if func in _RULES:
        named = {name: value for name, value in kwargs.items() if name not in _PLACEMENT}
        return _RULES[func](*args, **named)
    if torch.Tag.pointwise in func.tags:
        return _pointwise(func, args, kwargs)
    if func in _REDUCTIONS:
        return _reduced(func, args, kwargs)
    if func in _RANGES and place is not None:
        made = func(*args, **{**kwargs, "device": "cpu"})
        return True, (_dense(made.shape, made.dtype),)
    return None


def is_told_in_place(func: OpOverload, args: Sequence[Any]) -> bool:
    """Whether an operation writes into its first argument, value by value, and may return that as it is."""
    if torch.Tag.pointwise not in func.tags or not func._schema.name.endswith("_"):
        return False
    first, *others = args
    tensors = [one for one in others if isinstance(one, Tensor)]
    return (
        isinstance(first, Tensor)
        and all(one.dtype == first.dtype for one in tensors)
        and _broadcast((first, *tensors)) == first.shape
    )


def _dense(shape: Sequence[int], dtype: torch.dtype, order: Sequence[int] | None = None) -> Outline:
    """A tensor without gaps.

    Args:
        shape, dtype: of it.
        order: its dimensions from that of the largest stride to that of the smallest; theirs where left out.
    """
    strides, step = [0] * len(shape), 1
    for dim in reversed(range(len(shape)) if order is None else order):
        strides[dim] = step
        step *= max(shape[dim], 1)
    return torch.Size(shape), tuple(strides), dtype


def _order(tensor: Tensor) -> list[int]:
    """Dimensions from that of the largest stride to that of the smallest."""
    strides = tensor.stride()
    return sorted(range(len(strides)), key=lambda dim: -strides[dim])


def _like(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """A tensor of ones on the CPU, of other sizes; its strides are ordered alike, and 0 where they are."""
    _, strides, _ = _dense(sizes, tensor.dtype, _order(tensor))
    still = [
        0 if stride == 0 and size > 1 else own
        for stride, size, own in zip(tensor.stride(), sizes, strides, strict=True)
    ]
    return torch.ones(math.prod(max(size, 1) for size in sizes), dtype=tensor.dtype).as_strided(tuple(sizes), still)


def _computed(
    func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], stand_in: Callable[[Tensor], Tensor]
) -> Any:
    """The result for stand-ins; None where the processor has no such kernel, or refuses."""

    def put_in(value: Any) -> Any:
        if isinstance(value, torch.device):
            return torch.device("cpu")
        return stand_in(value) if isinstance(value, Tensor) else value

    try:
        return func(*map(put_in, args), **{name: put_in(value) for name, value in kwargs.items()})
    except (RuntimeError, NotImplementedError):
        return None


def _broadcast(tensors: Sequence[Tensor]) -> torch.Size | None:
    """The shape that tensors have in common; None where they have none."""
    common = []
    for sizes in zip_longest(*(reversed(one.shape) for one in tensors), fillvalue=1):
        others = {*sizes} - {1}
        if len(others) > 1:
            return None
        common.append(others.pop() if others else 1)
    return torch.Size(reversed(common))


def _pointwise(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome | None:
    """Sizes above 1 stand for 2: what broadcasts stays what broadcasts."""
    tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
    shape = _broadcast(tensors) if tensors else None
    if shape is None or any(isinstance(one, (list, tuple)) for one in args):
        return None

    def stand_in(tensor: Tensor) -> Tensor:
        return _like(tensor, [min(size, 2) for size in tensor.shape])

    made = _computed(func, args, kwargs, stand_in)
    if not isinstance(made, Tensor) or [min(size, 2) for size in shape] != list(made.shape):
        return None
    return True, (_dense(shape, made.dtype, _order(made)),)


def _reduced(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome | None:
    """The sizes of one tensor stand for 2, 3, 4 and so on, each of which is known again in the result."""
    first, *others = args
    if any(isinstance(one, Tensor) for one in (*others, *kwargs.values())) or 0 in first.shape:
        return None
    sizes = [1 if size == 1 else 2 + dim for dim, size in enumerate(first.shape)]
    back = {1: 1, **dict(zip(sizes, first.shape, strict=True))}
    made = _computed(func, args, kwargs, lambda tensor: _like(tensor, sizes))
    if not isinstance(made, Tensor) or not set(made.shape) <= set(back):
        return None
    return True, (_dense([back[size] for size in made.shape], made.dtype, _order(made)),)


def _product(first: Tensor, second: Tensor) -> Outcome | None:
    """Matrix products, of batches too."""
    (*batch, rows, inner), (*others, same, columns) = first.shape, second.shape
    if inner != same or batch != others or first.dtype != second.dtype:
        return None
    return True, (_dense((*batch, rows, columns), first.dtype),)


def _added_product(bias: Tensor, first: Tensor, second: Tensor) -> Outcome | None:
    found = _product(first, second)
    if found is None or bias.dtype != first.dtype or bias.shape not in ((second.shape[1],), found[1][0][0]):
        return None
    return found


def _unsafe_view(tensor: Tensor, sizes: Sequence[int]) -> Outcome:
    made = tensor.view(sizes)
    return True, ((made.shape, made.stride(), made.dtype),)


def _layer_norm(tensor: Tensor, sizes: Sequence[int], weight: Any, bias: Any, _: float) -> Outcome | None:
    tensors = [one for one in (tensor, weight, bias) if one is not None]
    count = len(sizes)
    if list(tensor.shape[-count:]) != list(sizes) or any(one.dtype != torch.float32 for one in tensors):
        return None
    if any(one.shape != tensor.shape[-count:] for one in tensors[1:]):
        return None
    statistic = _dense((*tensor.shape[:-count], *[1] * count), tensor.dtype)
    return False, (_dense(tensor.shape, tensor.dtype), statistic, statistic)


def _batch_norm(
    tensor: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: float
) -> Outcome | None:
    tensors = [one for one in (weight, bias, mean, variance) if one is not None]
    channels = tensor.shape[1] if tensor.dim() > 1 else 0
    if not tensor.is_contiguous() or tensor.dtype != torch.float32:
        return None
    if any(one.shape != (channels,) or one.dtype != tensor.dtype for one in tensors):
        return None
    statistic = _dense((channels,), tensor.dtype)
    return False, (_dense(tensor.shape, tensor.dtype), statistic, statistic)


def _convolution(
    tensor: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _: Sequence[int],
    groups: int,
) -> Outcome | None:
    planes = weight.dim() - 2
    if transposed or tensor.dim() != weight.dim() or tensor.shape[1] != weight.shape[1] * groups:
        return None
    if not (tensor.is_contiguous() and weight.is_contiguous()) or tensor.dtype != weight.dtype:
        return None
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype):
        return None
    sizes = _windows(tensor.shape[2:], weight.shape[2:], *(_each(v, planes) for v in (stride, padding, dilation)))
    if weight.shape[0] % groups or min(sizes, default=1) < 1:
        return None
    return True, (_dense((tensor.shape[0], weight.shape[0], *sizes), tensor.dtype),)


def _max_pool(
    tensor: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    up: bool = False,
) -> Outcome | None:
    if up or tensor.dim() != 4 or not tensor.is_contiguous():
        return None
    sizes = _windows(
        tensor.shape[2:], _each(kernel, 2), _each(stride or kernel, 2), _each(padding, 2), _each(dilation, 2)
    )
    if min(sizes) < 1:
        return None
    shape = (*tensor.shape[:2], *sizes)
    return False, (_dense(shape, tensor.dtype), _dense(shape, torch.int64))


def _each(values: Sequence[int], count: int) -> Sequence[int]:
    return values if len(values) == count else [*values] * count


def _windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Places of a window along each dimension."""
    return [
        (size + 2 * pad - apart * (width - 1) - 1) // step + 1
        for size, width, step, pad, apart in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]


def _upsample(tensor: Tensor, sizes: Sequence[int], *_: Any) -> Outcome | None:
    if sizes is None or tensor.dim() != len(sizes) + 2 or not tensor.is_contiguous():
        return None
    return True, (_dense((*tensor.shape[:2], *sizes), tensor.dtype),)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Outcome | None:
    first = tensors[0]
    # Pictures may have their channels last, in the result too; an empty vector joins anything.
    if any(not one.numel() or (one.dim() in (4, 5) and not one.is_contiguous()) for one in tensors):
        return None
    if not _are_alike(tensors) or not -first.dim() <= dim < first.dim():
        return None
    at = dim % first.dim()
    if any(one.shape[:at] != first.shape[:at] or one.shape[at + 1 :] != first.shape[at + 1 :] for one in tensors):
        return None
    length = sum(one.shape[at] for one in tensors)
    return True, (_dense((*first.shape[:at], length, *first.shape[at + 1 :]), first.dtype),)


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Outcome | None:
    first = tensors[0]
    if not _are_alike(tensors) or any(one.shape != first.shape for one in tensors):
        return None
    if not -first.dim() - 1 <= dim <= first.dim() or not all(one.is_contiguous() for one in tensors):
        return None
    at = dim % (first.dim() + 1)
    return True, (_dense((*first.shape[:at], len(tensors), *first.shape[at:]), first.dtype),)


def _are_alike(tensors: Sequence[Tensor]) -> bool:
    first = tensors[0]
    return all(one.dim() == first.dim() and one.dtype == first.dtype for one in tensors)


def _gather(tensor: Tensor, dim: int, index: Tensor) -> Outcome | None:
    if index.dim() != tensor.dim() or index.dtype != torch.int64 or not -tensor.dim() <= dim < tensor.dim():
        return None
    at = dim % tensor.dim()
    if any(small > size for n, (small, size) in enumerate(zip(index.shape, tensor.shape, strict=True)) if n != at):
        return None
    return True, (_dense(index.shape, tensor.dtype),)


def _scatter(tensor: Tensor, dim: int, index: Tensor, source: Tensor) -> Outcome | None:
    if not tensor.is_contiguous() or tensor.dtype != source.dtype or index.dtype != torch.int64:
        return None
    if not tensor.dim() == index.dim() == source.dim() or not -tensor.dim() <= dim < tensor.dim():
        return None
    at = dim % tensor.dim()
    sizes = zip(index.shape, source.shape, tensor.shape, strict=True)
    if any(own > given or (own > whole and n != at) for n, (own, given, whole) in enumerate(sizes)):
        return None
    return True, (_dense(tensor.shape, tensor.dtype),)


def _index(tensor: Tensor, indices: Sequence[Tensor | None]) -> Outcome | None:
    """Places along the first dimensions."""
    places = [one for one in indices if one is not None and one.dtype == torch.int64 and one.is_contiguous()]
    shape = _broadcast(places)
    if len(places) != len(indices) or len(places) > tensor.dim() or not tensor.is_contiguous() or shape is None:
        return None
    return True, (_dense((*shape, *tensor.shape[len(places) :]), tensor.dtype),)


def _nll_loss(tensor: Tensor, target: Tensor, weight: Tensor | None, reduction: int, _: int) -> Outcome | None:
    if tensor.dim() != 2 or target.shape != tensor.shape[:1] or weight is not None or target.dtype != torch.int64:
        return None
    total = _dense((), tensor.dtype)
    return False, (total if reduction else _dense(target.shape, tensor.dtype), total)


def _new(tensor: Tensor, sizes: Sequence[int], *_: Any, dtype: torch.dtype | None = None) -> Outcome:
    return True, (_dense(sizes, dtype or tensor.dtype),)


_RULES: Mapping[Any, Callable[..., Outcome | None]] = {
    _aten.addmm.default: _added_product,
    _aten.mm.default: _product,
    _aten.bmm.default: _product,
    _aten._unsafe_view.default: _unsafe_view,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.convolution.default: _convolution,
    _aten.max_pool2d_with_indices.default: _max_pool,
    _aten.upsample_nearest2d.default: _upsample,
    _aten.cat.default: _cat,
    _aten.stack.default: _stack,
    _aten.gather.default: _gather,
    _aten.scatter.src: _scatter,
    _aten.index.Tensor: _index,
    _aten.nll_loss_forward.default: _nll_loss,
    _aten.new_ones.default: _new,
    _aten.new_zeros.default: _new,
    _aten.new_full.default: _new,
}
_PLACEMENT = {"device", "layout", "pin_memory"}
"""Arguments that shapes do not depend on."""
_REDUCTIONS = {
    _aten.sum.default,
    _aten.sum.dim_IntList,
    _aten.mean.default,
    _aten.mean.dim,
    _aten.linalg_vector_norm.default,
    _aten._softmax.default,
    _aten._safe_softmax.default,
    _aten._log_softmax.default,
    _aten.zeros_like.default,
}
_RANGES = {_aten.arange.default, _aten.arange.start, _aten.arange.start_step}
