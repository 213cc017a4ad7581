"""Shapes that are told are those that torch works out; what torch refuses is not told."""

import subprocess
import sys

import pytest
import torch

from gradatim.engine.shape_rules import is_told_in_place, told

aten = torch.ops.aten
INT = torch.int64


def t(*shape, dtype=torch.float32, order=None, base=None):
    """A tensor of shapes alone; `order` lays its dimensions out in memory, `base` is what it is expanded from."""
    if base is not None:
        return torch.empty(base, dtype=dtype, device="meta").expand(shape)
    if order is None:
        return torch.empty(shape, dtype=dtype, device="meta")
    laid = torch.empty([shape[dim] for dim in order], dtype=dtype, device="meta")
    return laid.permute([order.index(dim) for dim in range(len(shape))])


POINTWISE = [
    (aten.add.Tensor, t(2, 5, 7), t(2, 5, 7)),
    (aten.add.Tensor, t(2, 5, 7), t(7)),
    (aten.add.Tensor, t(2, 1, 7), t(5, 1)),
    (aten.add.Tensor, t(4), t()),
    (aten.mul.Tensor, t(2, 5, 7, order=(1, 0, 2)), t(2, 5, 7)),
    (aten.mul.Tensor, t(2, 5, 7, order=(2, 0, 1)), t(5, 7)),
    (aten.mul.Tensor, t(2, 3, 8, 8, order=(0, 2, 3, 1)), t(3, 1, 1)),
    (aten.sub.Tensor, t(6, 5, base=(6, 1)), t(6, 5)),
    (aten.sub.Tensor, t(6, 5, dtype=INT), t(6, 5)),
    (aten.div.Tensor, t(6, dtype=INT), 2),
    (aten.mul.Scalar, t(6, 2, dtype=torch.float64), 0.5),
    (aten.pow.Tensor_Scalar, t(6, 2, dtype=INT), 2),
    (aten.gt.Scalar, t(3, 2), 0.5),
    (aten.where.self, t(3, 1, dtype=torch.bool), t(3, 2), t(2)),
    (aten.clamp.default, t(3, 2), 0, 1),
    (aten.maximum.default, t(3, 2), t(3, 2)),
    (aten.bitwise_or.Tensor, t(3, dtype=torch.bool), t(3, dtype=torch.bool)),
    (aten.leaky_relu.default, t(1, 4, 9, 9), 0.1),
    (aten.rsub.Scalar, t(0, 4), 1),
    *((function, t(3, 4, order=(1, 0))) for function in (aten.gelu.default, aten.relu.default, aten.elu.default)),
    *((function, t(3, 4)) for function in (aten.cos.default, aten.exp.default, aten.abs.default, aten.log.default)),
]
REDUCTIONS = [
    (aten.sum.default, t(2, 3)),
    (aten.mean.default, t(2, 3, 4)),
    (aten.sum.default, t(2, 3, dtype=torch.bool)),
    (aten.mean.dim, t(2, 3, 3, 4), [1]),
    (aten.mean.dim, t(2, 3, 4), [-1], True),
    (aten.sum.dim_IntList, t(2, 1, 9, 4), [0, 2]),
    (aten.sum.dim_IntList, t(9, 4, dtype=INT), [1], True),
    (aten.linalg_vector_norm.default, t(2, 9, 4), 2, [-1], True),
    (aten._softmax.default, t(2, 9, 4), -1, False),
    (aten._softmax.default, t(2, 9, 4, order=(0, 2, 1)), 1, False),
    (aten._safe_softmax.default, t(2, 4, 9, 9), -1),
    (aten._log_softmax.default, t(2, 9, 4), 1, False),
    (aten.zeros_like.default, t(2, 9, 4, order=(0, 2, 1))),
]
PRODUCTS = [
    (aten.addmm.default, t(7), t(4, 5), t(5, 7, order=(1, 0))),
    (aten.addmm.default, t(4, 7), t(4, 5), t(5, 7)),
    (aten.mm.default, t(4, 5, order=(1, 0)), t(5, 7, order=(1, 0))),
    (aten.bmm.default, t(6, 4, 5), t(6, 5, 7, order=(0, 2, 1))),
]
NETWORKS = [
    (aten.native_layer_norm.default, t(2, 3, 8), [8], t(8), t(8), 1e-5),
    (aten.native_layer_norm.default, t(2, 3, 8), [3, 8], None, None, 1e-5),
    (aten.native_layer_norm.default, t(2, 3, 8, order=(1, 0, 2)), [8], t(8), t(8), 1e-5),
    (aten.native_batch_norm.default, t(2, 3, 8, 8), t(3), t(3), t(3), t(3), True, 0.1, 1e-5),
    (aten.native_batch_norm.default, t(2, 3, 8, 8), t(3), t(3), t(3), t(3), False, 0.1, 1e-5),
    (aten.convolution.default, t(2, 3, 9, 8), t(6, 3, 3, 5), t(6), [2, 1], [1, 2], [1, 1], False, [0, 0], 1),
    (aten.convolution.default, t(2, 6, 9), t(4, 3, 3), None, [1], [0], [2], False, [0], 2),
    (aten.convolution.default, t(2, 3, 4, 9, 8), t(6, 3, 2, 3, 3), t(6), [2], [0], [1], False, [0], 1),
    (aten.max_pool2d_with_indices.default, t(2, 3, 9, 8), [3, 3], [2, 2], [1, 1]),
    (aten.max_pool2d_with_indices.default, t(2, 3, 9, 8), [2]),
    (aten.upsample_nearest2d.default, t(2, 3, 9, 8), [18, 16], 2.0, 2.0),
]
ARRANGED = [
    (aten._unsafe_view.default, t(6, 4), [2, -1, 4]),
    (aten.cat.default, [t(2, 3), t(2, 5)], 1),
    (aten.cat.default, [t(2, 3, 4, order=(2, 0, 1)), t(2, 3, 4, order=(0, 2, 1))], -1),
    (aten.cat.default, [t(2, 3)]),
    (aten.stack.default, [t(2, 3), t(2, 3)], -1),
    (aten.stack.default, [t(), t(), t()]),
    (aten.gather.default, t(5, 3), 1, t(5, 1, dtype=INT)),
    (aten.scatter.src, t(5, 3), 1, t(5, 1, dtype=INT), t(5, 1)),
    (aten.index.Tensor, t(5, 3), [t(2, 4, dtype=INT)]),
    (aten.index.Tensor, t(5, 3, 4), [t(2, 1, dtype=INT), t(2, 6, dtype=INT), t(2, 6, dtype=INT)]),
    (aten.nll_loss_forward.default, t(5, 3), t(5, dtype=INT), None, 1, -100),
    (aten.nll_loss_forward.default, t(5, 3), t(5, dtype=INT), None, 0, -100),
    (aten.new_ones.default, t(5, 3, dtype=INT), [2, 4]),
    (aten.new_full.default, t(5, 3), [2, 4], 7),
]


@pytest.mark.parametrize("call", [*POINTWISE, *REDUCTIONS, *PRODUCTS, *NETWORKS, *ARRANGED], ids=lambda call: call[0])
def test_shapes_are_those_that_torch_works_out(call):
    function, *args = call
    made = function(*args)

    outcome = told(function, args, {})

    assert outcome is not None
    alone, outlines = outcome
    assert alone is isinstance(made, torch.Tensor)
    for outline, expected in zip(outlines, (made,) if alone else made, strict=True):
        assert outline == (expected.shape, expected.stride(), expected.dtype)


@pytest.mark.parametrize(
    "call",
    [
        (aten.add.Tensor, t(2, 3), t(2, 4)),
        (aten.add.Tensor, t(2, 3), t(0, 2, 3), {"alpha": 1}),
        (aten.addmm.default, t(6), t(4, 5), t(5, 7)),
        (aten.mm.default, t(4, 5), t(6, 7)),
        (aten.bmm.default, t(2, 4, 5), t(3, 5, 7)),
        (aten.native_layer_norm.default, t(2, 8), [7], None, None, 1e-5),
        (aten.convolution.default, t(2, 3, 9), t(6, 4, 3), None, [1], [0], [1], False, [0], 1),
        (aten.convolution.default, t(2, 3, 2), t(6, 3, 3), None, [1], [0], [1], False, [0], 1),
        (aten.cat.default, [t(2, 3), t(3, 3)], 1),
        (aten.stack.default, [t(2, 3), t(2, 4)]),
        (aten.gather.default, t(5, 3), 1, t(6, 1, dtype=INT)),
    ],
    ids=lambda call: call[0],
)
def test_what_torch_refuses_is_not_told(call):
    function, *args = call
    kwargs = args.pop() if isinstance(args[-1], dict) else {}
    refused = not kwargs
    if refused:
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            function(*args)

    assert (told(function, args, kwargs) is None) is refused


def test_what_the_processor_cannot_compute_is_left_to_torch():
    eight_bits = t(2, 3, dtype=torch.float8_e4m3fn)

    assert told(aten.exp.default, (eight_bits,), {}) is None


def test_what_lies_elsewhere_is_not_told():
    assert told(aten.zeros_like.default, (t(2, 3),), {"device": torch.device("cpu")}) is None
    assert told(aten.new_ones.default, (t(2, 3), [4]), {"device": "cpu"}) is None
    assert told(aten.arange.default, (5,), {}) is None
    assert told(aten.arange.start, (2, 5), {"device": torch.device("meta")}) == (
        True,
        ((torch.Size([3]), (1,), torch.int64),),
    )


def test_what_is_written_in_place_keeps_its_shape():
    assert is_told_in_place(aten.add_.Tensor, (t(2, 3), t(3)))
    assert is_told_in_place(aten.lerp_.Scalar, (t(3), t(3), 0.1))
    assert not is_told_in_place(aten.add_.Tensor, (t(3), t(2, 3)))
    assert not is_told_in_place(aten.add_.Tensor, (t(3, dtype=INT), t(3)))
    assert not is_told_in_place(aten.add.Tensor, (t(3), t(3)))


@pytest.mark.parametrize("recipe", ["maefuse/paper", "ifvit/paper", "multigriddet/finetune"])
def test_plans_of_large_models_are_explained_without_the_compiler(recipe):
    script = f"""
import sys
from gradatim.engine.explain import explain
from gradatim.find import read_plan_document
told = explain(read_plan_document({recipe!r}))
assert all(stage["memory"]["total"] > 10**8 for stage in told["stages"])
print(*({{"torch._dynamo", "sympy"}} & sys.modules.keys()))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == ""
