"""Our own files: a header that tells everything, and complete or absent."""

import json

import pytest
import torch
from torch import nn

from gradatim import files
from gradatim.errors import FormatError
from gradatim.weights import header_of, parts_of, read_weights, transfer, write_weights
from gradatim.weights.formats import Weights

HEADER = {"system": "toy", "model": {"width": 3}, "lineage": {"a": {"origin": {"kind": "fresh"}}}}


def test_what_is_written_reads_back_with_its_header_and_feeds_its_parts(tmp_path):
    source, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    source.running_mean += 2

    write_weights(tmp_path / "f.safetensors", {"a": source.state_dict(), "b": {"x": torch.ones(2).bfloat16()}}, HEADER)
    weights = read_weights(tmp_path / "f.safetensors")
    transfer(weights, {"a": target})

    assert header_of(weights) == HEADER
    assert {name: set(state) for name, state in parts_of(weights).items()} == {
        "a": set(source.state_dict()),
        "b": {"x"},
    }
    assert torch.equal(target.running_mean, source.running_mean)
    assert weights.arrays["b.x"].dtype == torch.bfloat16


def test_arrays_that_share_memory_or_lie_crosswise_are_each_written(tmp_path):
    base = torch.arange(6.0).view(2, 3)

    write_weights(tmp_path / "f", {"a": {"x": base, "y": base, "z": base.t()}}, {})

    arrays = read_weights(tmp_path / "f").arrays
    assert torch.equal(arrays["a.x"], base)
    assert torch.equal(arrays["a.y"], base)
    assert torch.equal(arrays["a.z"], base.t())


@pytest.mark.parametrize("moment", ["writing", "syncing", "renaming"])
def test_a_failure_at_any_moment_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, moment):
    write_weights(tmp_path / "f", {"a": {"x": torch.zeros(2)}}, {})
    before = (tmp_path / "f").read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left")

    def half(arrays, path, metadata):
        path.write_bytes(b"half")
        fail()

    with monkeypatch.context() as patch:
        if moment == "writing":
            patch.setattr("gradatim.weights.write.save_file", half)
        elif moment == "syncing":
            patch.setattr("gradatim.files.os.fsync", fail)
        else:
            patch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(OSError, match="no space left"):
            write_weights(tmp_path / "f", {"a": {"x": torch.ones(2)}}, {})

    assert (tmp_path / "f").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_is_synced_before_it_takes_its_place(tmp_path, monkeypatch):
    done = []
    sync, replace = files.os.fsync, files.Path.replace
    monkeypatch.setattr("gradatim.files.os.fsync", lambda handle: (done.append("sync"), sync(handle))[1])
    monkeypatch.setattr("pathlib.Path.replace", lambda self, to: (done.append("rename"), replace(self, to))[1])

    write_weights(tmp_path / "deep" / "f", {"a": {"x": torch.zeros(2)}}, {})

    assert done == ["sync", "rename", "sync"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["f"]


def test_a_foreign_file_has_no_header_and_a_damaged_one_is_said(tmp_path):
    def weights(metadata):
        return Weights(path=tmp_path / "f", format="safetensors", arrays={}, metadata=metadata)

    assert header_of(weights({"format": "pt"})) == {}
    for text in ("{", "[]", "3"):
        with pytest.raises(FormatError, match="its gradatim header is damaged"):
            header_of(weights({"gradatim": text}))


def test_json_and_text_take_their_place_in_one_step_too(tmp_path):
    files.write_json(tmp_path / "a.json", {"é": [1, tmp_path]})
    files.write_text(tmp_path / "a.txt", "é\n")

    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"é": [1, str(tmp_path)]}
    assert (tmp_path / "a.txt").read_text("utf-8") == "é\n"
    assert len(list(tmp_path.iterdir())) == 2
