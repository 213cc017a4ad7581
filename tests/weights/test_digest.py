"""Equal digests stand for equal bits."""

import pytest
import torch
from torch import nn

from gradatim.weights import array_digest, arrays_digest, file_digest, part_digest, text_digest

BASE = torch.arange(6.0).view(2, 3)


def test_equal_bits_have_equal_digests_whatever_their_strides():
    assert array_digest(BASE) == array_digest(BASE.clone()) == array_digest(BASE.t().contiguous().t())
    assert len(array_digest(BASE)) == 32
    assert int(array_digest(BASE), 16) >= 0


@pytest.mark.parametrize(
    "other",
    [
        BASE.view(3, 2),
        BASE.view(6),
        BASE.double(),
        BASE.int(),
        BASE.view(torch.int32),
        BASE + torch.tensor([[0, 0, 0], [0, 0, 5e-7]]),
        BASE[:, :2],
    ],
)
def test_shape_type_and_every_bit_count(other):
    assert array_digest(other) != array_digest(BASE)


def test_every_single_flipped_bit_is_seen():
    array = torch.zeros(3)
    bits = array.view(torch.int32)
    seen = {array_digest(array)}
    for place in range(3):
        for bit in range(32):
            bits[place] ^= -(1 << 31) if bit == 31 else 1 << bit
            seen.add(array_digest(array))
            bits[place] = 0
    assert len(seen) == 97


def test_a_nan_equals_itself_and_zeros_of_two_signs_differ():
    assert array_digest(torch.tensor([float("nan")])) == array_digest(torch.tensor([float("nan")]))
    assert array_digest(torch.tensor([0.0])) != array_digest(torch.tensor([-0.0]))


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.bfloat16, torch.float16, torch.int64, torch.complex64, torch.uint8]
)
def test_every_type_has_a_digest(dtype):
    assert array_digest(torch.ones(2, 3).to(dtype)) != array_digest(torch.zeros(2, 3).to(dtype))


def test_arrays_without_values_or_axes_have_one():
    digests = {array_digest(torch.zeros(shape)) for shape in ((), (0,), (1,), (0, 2), (2, 0))}

    assert len(digests) == 5


def test_named_arrays_do_not_depend_on_their_order_but_on_their_names():
    a, b = torch.zeros(1), torch.ones(1)

    assert arrays_digest({"a": a, "b": b}) == arrays_digest({"b": b, "a": a})
    assert arrays_digest({"a": a, "b": b}) != arrays_digest({"a": b, "b": a})
    assert arrays_digest({"a": a}) != arrays_digest({"a": a, "b": b})


def test_a_parts_buffers_count_and_its_modes_do_not():
    part = nn.BatchNorm1d(3)
    before = part_digest(part)

    assert part_digest(part.eval().requires_grad_(False)) == before
    part.running_mean += 1
    assert part_digest(part) != before


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    for name, content in (("a", b"x" * 5_000_000), ("b", b"x" * 5_000_000), ("c", b"x" * 4_999_999 + b"y")):
        (tmp_path / name).write_bytes(content)

    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")


def test_texts_are_told_apart_where_they_are_cut():
    assert text_digest("ab", "c") != text_digest("a", "bc") != text_digest("abc")
    assert text_digest("a", "b") != text_digest("b", "a")
