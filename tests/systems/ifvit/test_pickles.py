"""Checkpoints of JAX programs: what is read without JAX, and that nothing in them is run."""

import json
import os
import pickle
import sys

import numpy as np
import pytest
import torch

from gradatim.errors import FormatError
from gradatim.weights import read_weights
from systems.ifvit.foreign import dump, legacy_file, tree_of

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def refusal(path) -> str:
    with pytest.raises(FormatError) as error:
        read_weights(path)
    return str(error.value)


def test_a_training_state_is_read_without_jax(tmp_path, monkeypatch):
    def build(jax_array, record, frozen):
        params = frozen({"Dense_0": {"kernel": jax_array(ARRAY)}})
        stats = {"BatchNorm_0": {"mean": jax_array(ARRAY[0])}}
        optimizer = (record(jax_array(ARRAY), {"kernel": jax_array(ARRAY)}), record())
        state = {"params": params, "batch_stats": stats, "opt_state": optimizer, "step": jax_array(ARRAY[0, :1])}
        return {"state": state, "metadata": {"epoch": 3, "config": {"num_heads": 8}}, "timestamp": "today"}

    weights = read_weights(dump(tmp_path / "c.pkl", monkeypatch, build))

    assert not any(name.split(".")[0] in ("jax", "flax", "optax") for name in sys.modules)
    assert weights.format == "flax"
    assert weights.arrays.keys() == {"params/Dense_0/kernel", "batch_stats/BatchNorm_0/mean"}
    assert torch.equal(weights.arrays["params/Dense_0/kernel"], torch.from_numpy(ARRAY))
    assert json.loads(weights.metadata["fields"]) == {"epoch": 3, "config": {"num_heads": 8}, "timestamp": "today"}
    assert weights.notes == ("not read: 'opt_state' and 'step'",)


def test_params_may_lie_at_the_top(tmp_path):
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps({"params": {"w": ARRAY}, "batch_stats": {}, "metadata": {"epoch": 1}}))

    weights = read_weights(path)

    assert list(weights.arrays) == ["params/w"]
    assert json.loads(weights.metadata["fields"]) == {"epoch": 1}


def test_half_precision_of_jax_is_widened_without_loss(tmp_path):
    bfloat16 = pytest.importorskip("ml_dtypes", reason="writes the file").bfloat16
    path = tmp_path / "c.pkl"
    values = np.array([1.5, -2.25, 3e38, 0.0], dtype=bfloat16)
    path.write_bytes(pickle.dumps({"params": {"w": values, "one": values[:1].reshape(())}, "batch_stats": {}}))

    arrays = read_weights(path).arrays

    assert arrays["params/w"].dtype == torch.float32
    assert np.array_equal(arrays["params/w"].numpy(), values.astype(np.float32))
    assert float(arrays["params/one"]) == 1.5


def test_a_file_without_running_statistics_says_so_and_what_to_do(tmp_path):
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps({"state": {"params": tree_of(legacy_file(layers=1))["params"], "step": 4}}))

    (left, missing) = read_weights(path).notes

    assert left == "not read: 'step'"
    assert "no `batch_stats`" in missing
    assert "allow_missing: ['.*running_.*']" in missing


class Trap:
    """Would leave a file behind if it were built."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("place", ["params", "opt_state", "metadata"])
@pytest.mark.parametrize("named", ["posix.system", "builtins.eval", "builtins.getattr"])
def test_a_call_anywhere_in_a_file_is_refused_by_name_and_not_run(tmp_path, monkeypatch, place, named):
    monkeypatch.chdir(tmp_path)
    call = {
        "posix.system": Trap(os.system, "touch trapped"),
        "builtins.eval": Trap(eval, "open('trapped', 'w')"),
        "builtins.getattr": Trap(getattr, {}, "update"),
    }[named]
    content = {"state": {"params": {"w": ARRAY}, "opt_state": ()}, "metadata": {}}
    (content["state"] if place != "metadata" else content)[place] = {"x": call}
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps(content))

    assert f"'{named}'" in refusal(path)
    assert not (tmp_path / "trapped").exists()


def crafted(*parts) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def test_a_file_cannot_change_what_stands_for_its_classes(tmp_path):
    path = tmp_path / "c.pkl"
    for name in (b"coptax._src.base\nEmptyState\n", b"cflax.core.frozen_dict\nFrozenDict\n"):
        path.write_bytes(crafted(name, b"N}X\x07\x00\x00\x00__new__K\x01s\x86b"))
        assert "an attempt to change a" in refusal(path)


def test_names_of_known_packages_give_no_way_to_others(tmp_path):
    path = tmp_path / "c.pkl"
    for module, name in (
        (b"optax._src.base", b"sys.modules"),
        (b"optax", b"os.system"),
        (b"flax.core", b"freeze"),
        (b"jax._src.array", b"make_array"),
        (b"ml_dtypes", b"finfo"),
    ):
        texts = [b"\x8c" + bytes([len(text)]) + text for text in (module, name)]
        path.write_bytes(crafted(*texts, b"\x93"))
        assert f"'{module.decode()}.{name.decode()}'" in refusal(path)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.array([1, None], dtype=object), "an array of objects"),
        (np.array(["a"]), "params/w is no array of numbers"),
        ("text", "params/w is no array of numbers"),
        ([ARRAY, ARRAY[0]], "params/w is no array of numbers"),
        ({1, 2}, "set"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_by_name(tmp_path, value, named):
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps({"params": {"w": value}}))
    assert named in refusal(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(tmp_path, monkeypatch, share):
    def build(jax_array, record, frozen):
        return {"state": {"params": {"w": jax_array(np.zeros(1000))}, "opt_state": record()}}

    path = dump(tmp_path / "c.pkl", monkeypatch, build)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(path).startswith(f"{path}: truncated, damaged")


@pytest.mark.parametrize(
    ("content", "inside"), [({"model": {"w": ARRAY}}, "'model'"), ([ARRAY], "list"), ({"state": {}}, "nothing")]
)
def test_a_pickle_without_params_says_what_it_holds(tmp_path, content, inside):
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps(content))
    assert refusal(path) == f"{path}: a pickle file without `params`; it holds {inside}"


def test_a_tree_that_holds_itself_is_refused(tmp_path):
    tree = {"w": ARRAY}
    tree["again"] = tree
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps({"params": tree}))
    assert "nested too deeply" in refusal(path)


def test_old_files_of_pytorch_are_still_read_as_such(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"state_dict": {"w": torch.ones(2)}}, path, _use_new_zipfile_serialization=False)
    assert read_weights(path).format == "torch"
