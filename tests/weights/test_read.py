"""Files are read by what they hold, whatever they are called; what is no file of weights is refused by name."""

import argparse
import json
import os
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gradatim.errors import FormatError
from gradatim.weights import read_weights

ARRAYS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1, 2]), "b": torch.tensor(0.5)}


def as_safetensors(path, arrays=ARRAYS):
    save_file(arrays, path, metadata={"k": "v"})


def as_torch(path, content=ARRAYS):
    torch.save(content, path)


def as_legacy(path, content=ARRAYS):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_npz(path, arrays=ARRAYS):
    with path.open("wb") as file:
        np.savez(file, **{name: array.numpy() for name, array in arrays.items()})


WRITERS = {"safetensors": as_safetensors, "torch": as_torch, "legacy": as_legacy, "npz": as_npz}


def refusal(path):
    with pytest.raises(FormatError) as error:
        read_weights(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz", "bin", "txt"])
@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_is_known_by_its_content_whatever_the_suffix(tmp_path, kind, suffix):
    WRITERS[kind](tmp_path / f"file.{suffix}")

    weights = read_weights(tmp_path / f"file.{suffix}")

    assert weights.format == {"legacy": "torch"}.get(kind, kind)
    assert weights.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert weights.arrays[name].dtype == array.dtype
        assert torch.equal(weights.arrays[name], array)


def test_text_that_a_safetensors_file_carries_is_kept(tmp_path):
    as_safetensors(tmp_path / "f")

    assert read_weights(tmp_path / "f").metadata == {"k": "v"}


@pytest.mark.parametrize("write", [as_torch, as_legacy])
def test_a_namespace_of_options_beside_the_weights_is_fine(tmp_path, write):
    write(tmp_path / "f", {"model": ARRAYS, "args": argparse.Namespace(lr=1e-4, out="x"), "epoch": 3})

    weights = read_weights(tmp_path / "f")

    assert weights.arrays.keys() == ARRAYS.keys()
    assert weights.notes == ("arrays lie under 'model'",)


class Trap:
    """Would create a file when it is unpickled by a loader that runs what it reads."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Foreign:
    """A class that only its program has."""


@pytest.mark.parametrize("write", [as_torch, as_legacy])
def test_a_pickle_that_would_run_something_is_refused_by_name_and_not_run(tmp_path, write):
    write(tmp_path / "f", {"model": ARRAYS, "args": Trap(tmp_path / "sprung")})

    message = refusal(tmp_path / "f")

    assert "holds an object of class 'posix.mkdir'" in message
    assert "save its `state_dict()` alone" in message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("write", [as_torch, as_legacy])
def test_a_foreign_class_is_named(tmp_path, write):
    write(tmp_path / "f", {"model": ARRAYS, "args": Foreign()})

    assert f"refused, because it holds an object of class '{__name__}.Foreign'" in refusal(tmp_path / "f")


def test_a_whole_module_is_refused_and_not_built(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "f")

    assert "class 'torch.nn.modules.linear.Linear'" in refusal(tmp_path / "f")


def test_objects_in_an_npz_are_refused_and_not_run(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.array([Trap(tmp_path / "sprung")], dtype=object))

    assert "an .npz archive with an array that cannot be read" in refusal(tmp_path / "f.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_cut_anywhere_is_refused_with_one_sentence(tmp_path, kind, share):
    WRITERS[kind](tmp_path / "whole", {f"layer.{i}": torch.rand(8, 8) for i in range(9)})
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: max(1, int(share * len(content)))])

    message = refusal(tmp_path / "cut")

    assert "\n" not in message
    assert len(message) < 250


def test_a_flipped_bit_in_an_npz_is_found(tmp_path):
    as_npz(tmp_path / "f", {"a": torch.full((64, 64), 0.5)})
    content = bytearray((tmp_path / "f").read_bytes())
    content[content.index(b"\x00\x00\x00\x3f" * 20) + 41] ^= 1
    (tmp_path / "f").write_bytes(content)

    assert "Bad CRC-32" in refusal(tmp_path / "f")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of weights (safetensors, npz, keras, darknet, flax, torch): an empty file"),
        (
            b"epoch,loss\n1,0.5\n",
            "not a file of weights (safetensors, npz, keras, darknet, flax, torch): it begins with b'epoch,lo'",
        ),
        (
            b"<!DOCTYPE html>",
            "not a file of weights (safetensors, npz, keras, darknet, flax, torch): it begins with b'<!DOCTYP'",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`",
        ),
    ],
)
def test_what_is_no_file_of_weights_says_how_it_begins(tmp_path, content, message):
    (tmp_path / "f.pth").write_bytes(content)

    assert refusal(tmp_path / "f.pth") == message


def test_json_is_not_taken_for_a_header(tmp_path):
    (tmp_path / "f.json").write_text('        {"weight": [1, 2, 3]}')

    assert "safetensors" in refusal(tmp_path / "f.json")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    assert refusal(tmp_path / "none.pth") == "no such file"
    assert refusal(tmp_path) == "is a folder, not a file"


def test_one_array_of_numpy_and_a_foreign_archive_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.txt", "not a photo")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass

    assert "it begins with b'\\x93NUMPY" in refusal(tmp_path / "a.npy")
    assert "not a PyTorch file of weights" in refusal(tmp_path / "photos.zip")
    assert refusal(tmp_path / "empty.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list, not a state dict"),
        (torch.zeros(2), "holds one tensor without a name, not a state dict"),
        ({"epoch": 3, "args": {"lr": 1}}, "no state dict in it; its keys are 'epoch', 'args'"),
        ({}, "no state dict in it; its keys are nothing"),
        ({"model": {}}, "no state dict in it; its keys are 'model'"),
    ],
)
def test_a_torch_file_without_a_state_dict_says_what_it_holds(tmp_path, content, message):
    torch.save(content, tmp_path / "f")

    assert refusal(tmp_path / "f") == message


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "teacher_only"])
def test_a_nested_state_dict_is_found_and_said(tmp_path, key):
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}
    torch.save({"epoch": 3, key: ARRAYS, "optimizer": optimizer}, tmp_path / "f")

    weights = read_weights(tmp_path / "f")

    assert weights.arrays.keys() == ARRAYS.keys()
    assert weights.notes == (f"arrays lie under {key!r}",)


def test_a_loose_tensor_beside_the_state_dict_does_not_hide_it(tmp_path):
    torch.save({"model": ARRAYS, "best_loss": torch.tensor(0.5)}, tmp_path / "f")

    weights = read_weights(tmp_path / "f")

    assert weights.arrays.keys() == ARRAYS.keys()
    assert weights.notes == ("arrays lie under 'model'", "not read: the arrays of 'best_loss'")


def test_of_two_state_dicts_the_plain_one_is_taken_and_the_other_is_said(tmp_path):
    torch.save({"model_ema": {"a": torch.ones(1)}, "model": {"a": torch.zeros(1)}}, tmp_path / "f")

    weights = read_weights(tmp_path / "f")

    assert float(weights.arrays["a"]) == 0
    assert weights.notes == ("arrays lie under 'model'", "not read: the arrays of 'model_ema'")


@pytest.mark.parametrize(
    ("prefix", "notes"),
    [
        ("module.", ["module."]),
        ("module.module.", ["module.", "module."]),
        ("_orig_mod.", ["_orig_mod."]),
        ("model.", ["model."]),
        ("state_dict.module._orig_mod.", ["state_dict.", "module.", "_orig_mod."]),
    ],
)
def test_known_prefixes_are_taken_off_every_name_and_said(tmp_path, prefix, notes):
    as_torch(tmp_path / "f", {prefix + name: array for name, array in ARRAYS.items()})

    weights = read_weights(tmp_path / "f")

    assert weights.arrays.keys() == ARRAYS.keys()
    assert weights.notes == tuple(f"prefix {one!r} taken off every name" for one in notes)


def test_a_prefix_that_not_every_name_has_stays(tmp_path):
    as_torch(tmp_path / "f", {"module.a": torch.zeros(1), "b": torch.zeros(1)})

    weights = read_weights(tmp_path / "f")

    assert set(weights.arrays) == {"module.a", "b"}
    assert weights.notes == ()


def test_our_own_names_keep_their_prefix(tmp_path):
    save_file({"model.weight": torch.zeros(1)}, tmp_path / "f", metadata={"gradatim": "{}"})

    assert set(read_weights(tmp_path / "f").arrays) == {"model.weight"}


def test_several_groups_of_arrays_are_read_under_their_names_with_the_fields_beside_them(tmp_path):
    content = {"one": {"a": torch.zeros(1)}, "two": {"a": torch.ones(1)}, "kind": "b", "lens": {"x": 3}, "epoch": 2}
    torch.save(content, tmp_path / "f")
    weights = read_weights(tmp_path / "f")

    assert list(weights.arrays) == ["one.a", "two.a"]
    assert json.loads(weights.metadata["fields"]) == {"kind": "b", "lens": {"x": 3}, "epoch": 2}
    assert "groups 'one', 'two'" in weights.notes[0]
