"""Pickle files of arrays: what is read, and that nothing else is, nor run."""

import collections
import datetime
import io
import os
import pickle
import struct

import numpy as np
import pytest
import torch

from gradatim.errors import FormatError
from gradatim.weights.formats.restricted_pickle import Builder, dump_pickle, load_pickle


def message(path) -> str:
    with pytest.raises(FormatError) as error:
        load_pickle(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def written(tmp_path, value, protocol=4):
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def same(first, second) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_come_back_as_they_were(tmp_path, protocol):
    random = np.random.default_rng(0)
    array = random.normal(size=(3, 4)).astype(np.float32)
    value = [
        {"path": "a/ä.mp4", "label": 3, "x": array, "half": array.astype(np.float16), "none": None, "yes": True},
        (1.5, b"bytes", [np.float32(2.5), np.int64(-7), np.bool_(True)], "text"),
        {
            "fortran": np.asfortranarray(array),
            "empty": np.zeros((0, 5)),
            "point": np.array(3),
            "big": array.astype(">f8"),
        },
        {"names": np.array(["b", "ccc"]), "bytes": np.array([b"xy", b"z"]), "view": array[:, ::2], 4: array > 0},
        {"complex": array.astype(np.complex64), "wide": np.arange(5, dtype=np.uint16)},
    ]
    assert same(load_pickle(written(tmp_path, value, protocol)), value)


def test_an_array_that_stands_twice_is_one_array_and_may_be_changed(tmp_path):
    array = np.arange(4.0)
    first, second = load_pickle(written(tmp_path, [array, array]))
    first[0] = 9
    assert second[0] == 9


def test_further_names_are_read_by_builders_that_are_handed_in_and_only_then(tmp_path):
    path = written(tmp_path, {"when": datetime.date(2020, 1, 2)})

    def builders(module, name):
        return Builder(lambda content: list(content)) if (module, name) == ("datetime", "date") else None

    assert load_pickle(path, builders=builders) == {"when": [7, 228, 1, 2]}
    assert "'datetime.date'" in message(path)


def test_a_name_of_ours_is_not_handed_to_further_builders(tmp_path):
    path = written(tmp_path, np.arange(3))
    assert same(load_pickle(path, builders=lambda module, name: Builder(lambda *_: "wrong")), np.arange(3))


def test_a_list_that_holds_itself_is_read(tmp_path):
    value = [1]
    value.append(value)
    found = load_pickle(written(tmp_path, value))
    assert found[1] is found


class Trap:
    def __reduce__(self):
        return os.system, ("touch /tmp/should-not-exist",)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Trap(), "'posix.system'"),
        ([{"x": Trap()}], "'posix.system'"),
        (collections.OrderedDict(a=1), "'collections.OrderedDict'"),
        (datetime.date(2020, 1, 1), "'datetime.date'"),
        (print, "'builtins.print'"),
        (np.random.default_rng, "numpy.random"),
        (torch.zeros(2), "'torch."),
        ({1, 2}, "'set'"),
        (frozenset((1,)), "'frozenset'"),
        (bytearray(b"a"), "bytearray'"),
        (np.array([1, "a", None], dtype=object), "an array of objects"),
        (np.zeros(2, dtype=[("a", "f4")]), "an array type"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "an array type"),
        (np.rec.array([(1,)], dtype=[("a", "i4")]), "'numpy.rec"),
        (np.ma.masked_array([1, 2]), "'numpy.ma"),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path, value, named):
    found = message(written(tmp_path, value))
    assert "refused, because it holds" in found
    assert named in found


def test_crafted_states_of_arrays_and_types_are_refused_and_reach_no_array(tmp_path):
    def crafted(*parts) -> bytes:
        return b"\x80\x02" + b"".join(parts) + b"."

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"c_codecs\nencode\nU\x01bX\x06\x00\x00\x00latin1\x86R\x87R"
    )
    double = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R"
    cases = {
        "state of another form": crafted(double, b"K\x01b"),
        "another byte order": crafted(double, b"(K\x03X\x01\x00\x00\x00?NNNK\xffK\xffK\x00tb"),
        "an array without a state": crafted(array),
        "too few bytes": crafted(array, b"(K\x01K\x09\x85", double, b"I00\nU\x08abcdefghtb"),
        "a shape of text": crafted(array, b"(K\x01U\x01a\x85", double, b"I00\nU\x08abcdefghtb"),
        "objects": crafted(b"cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R"),
        "a call of ndarray": crafted(b"cnumpy\nndarray\nK\x01\x85R"),
        "a persistent id": crafted(b"K\x01Q"),
        "a change of a function": crafted(b"c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb"),
        "an attribute of a builder": crafted(double, b"}X\x05\x00\x00\x00dtypeK\x01sb"),
    }
    for name, content in cases.items():
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(content)
        message(path)


def test_truncated_files_and_other_files_are_told(tmp_path):
    path = written(tmp_path, [{"x": np.arange(100.0)}])
    whole = path.read_bytes()
    for share in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:share])
        assert "truncated, damaged, or not a pickle file" in message(path)
    path.write_bytes(b"\x89PNG" + struct.pack("<Q", 7))
    assert "not a pickle file" in message(path)
    assert "No such file" in message(tmp_path / "none.pkl")


def test_random_damage_raises_no_foreign_error(tmp_path):
    path = written(tmp_path, [{"path": "a", "x": np.arange(6.0), "label": 1}] * 2)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load_pickle(path)
        except FormatError:
            refused += 1
    assert refused > 50


def test_what_is_written_is_a_usual_pickle(tmp_path):
    value = [{"path": "a", "x": np.arange(3, dtype=np.float16)}]
    dump_pickle(tmp_path / "a.pkl", value)
    assert same(pickle.load(io.BytesIO((tmp_path / "a.pkl").read_bytes())), value)
    assert same(load_pickle(tmp_path / "a.pkl"), value)
