"""Files of weights from the command line: looked into, converted, and asked where they come from."""

import json

import numpy as np
import pytest
import torch

from commandline import gradatim, worked
from gradatim import load_model
from gradatim.weights import file_digest, header_of, read_weights
from tiny import HEADS, parts

TRAINED = {
    "encoder": ["pretrain", "pixels"],
    "decoder": ["pretrain", "pixels", "decoder", "joint"],
    "cfm": ["cfm-mean", "joint"],
    "mfm": ["mfm-mean", "joint"],
    "mask_token": ["pretrain"],
}
"""Stages of maefuse/demo that train each part."""


def write(kind, path):
    """A file of some arrays in each format that is read."""
    arrays = {"encoder.a": torch.ones(2, 3), "decoder.b": torch.zeros(4)}
    if kind == "npz":
        np.savez(path.with_suffix(".npz"), **{name: array.numpy() for name, array in arrays.items()})
        return path.with_suffix(".npz")
    if kind == "legacy torch":
        torch.save(arrays, path, _use_new_zipfile_serialization=False)
    elif kind == "torch":
        torch.save({"model": {f"module.{name}": array for name, array in arrays.items()}, "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(arrays, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy torch", "npz"])
def test_inspect_tells_what_a_file_of_any_format_holds(kind, place, tmp_path):
    file = write(kind, tmp_path / "weights.bin")

    told = worked("inspect", file, "--json").json

    assert told["format"] == kind.removeprefix("legacy ")
    assert told["arrays"] == 2
    assert told["values"] == 10
    assert told["names"] == {"encoder.a": ["float32", [2, 3]], "decoder.b": ["float32", [4]]}
    assert len(told["notes"]) == (2 if kind == "torch" else 0)
    assert "encoder.a" in worked("inspect", file, "--arrays").out


@pytest.mark.parametrize(
    ("file", "layout"),
    [
        ("checkpoint-50.pth", "mae"), ("fusion.pth", "head"), ("checkpoint75.pth", "whole"),
        ("final_new_60.pth", "whole"), ("mae_visualize_vit_large.pth", "facebook"),
    ],
)  # fmt: skip
def test_inspect_knows_the_layouts_of_the_authors_files(file, layout, place):
    assert f"maefuse/{layout}" in worked("inspect", file, "--json").json["layouts"]
    assert f"maefuse/{layout}" in worked("inspect", file, "--system", "maefuse").out


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "an empty file"), (b"hello, this is text", "not a file of weights"), (b"PK\x03\x04half", "truncated")],
)  # fmt: skip
def test_inspect_says_what_is_wrong_with_a_file(content, says, place, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)

    answer = gradatim("inspect", tmp_path / "x.pth")

    assert answer.code == 1
    assert says in answer.err


@pytest.mark.parametrize("file", ["final_new_60.pth", "checkpoint75.pth"])
def test_convert_writes_the_authors_whole_model_with_lineage_and_the_right_attention(file, place, tmp_path):
    out = tmp_path / "maefuse.safetensors"

    told = worked("convert", file, out, *HEADS, "--json").json

    model, expected = load_model(out), parts(attention_axis="sample")
    assert model.settings.attention_axis == "sample"
    assert set(told["parts"]) == {"encoder", "decoder", "cfm", "mfm"}
    for name, part in model.parts.items():
        assert all(torch.equal(array, expected[name].state_dict()[key]) for key, array in part.state_dict().items())
    origins = json.loads(worked("lineage", out, "--json").out)
    for one in origins.values():
        assert one["origin"]["detail"]["file_digest"] == file_digest(place / file)
        assert one["origin"]["detail"]["layout"] == "whole"
    assert gradatim("convert", file, out, *HEADS).code == 1
    assert worked("convert", file, out, *HEADS, "--force").code == 0


def test_convert_of_a_run_is_its_model(place, tmp_path):
    out = tmp_path / "model.safetensors"

    worked("convert", "runs/maefuse-1", out)

    one, other = read_weights(out), read_weights("runs/maefuse-1/model.safetensors")
    assert one.arrays.keys() == other.arrays.keys()
    assert all(torch.equal(array, other.arrays[name]) for name, array in one.arrays.items())
    assert header_of(one)["lineage"] == header_of(other)["lineage"]


def test_lineage_names_every_stage_of_every_part_and_equals_the_header(place):
    told = worked("lineage", "runs/maefuse-1/model.safetensors", "--json").json

    assert told == header_of(read_weights("runs/maefuse-1/model.safetensors"))["lineage"]
    assert told == worked("lineage", "runs/maefuse-1", "--json").json
    assert {name: [p["stage"] for p in one["passages"]] for name, one in told.items()} == TRAINED
    text = worked("lineage", "runs/maefuse-1/model.safetensors").out
    for one in told.values():
        assert one["origin"]["kind"] == "fresh"
        assert all(p["digest"] in text and p["key"] in text and p["run"] == "runs/maefuse-1" for p in one["passages"])


def test_lineage_of_a_stage_that_began_from_files_goes_back_to_each_of_them(place, tmp_path):
    """A mode that takes encoder and decoder from the authors' file and both fusion parts from a run of ours."""
    words = [
        "run", "maefuse/train_decoder_MFM", "--set", "sources.resume.checkpoint=checkpoint-50.pth",
        "--set", "sources.all_weight={run: runs/maefuse-1}",
        *(word for part in ("encoder", "decoder") for word in
          ("--set", f"stages.train_decoder_MFM.init.{part}={{source: resume}}")),
        "--set", "model={image_size: 16, patch_size: 8, width: 16, depth: 1, heads: 2, decoder_width: 16, "
        "decoder_depth: 1, decoder_heads: 2, fusion_heads: 2}",
        "--set", "defaults.data={root: pairs, size: 16}", "--set", "defaults.batch_size=2",
        "--set", "stages.train_decoder_MFM.steps=1", "--out", tmp_path / "run", "--quiet",
    ]  # fmt: skip
    worked(*words)

    told = worked("lineage", tmp_path / "run/model.safetensors", "--json").json
    text = worked("lineage", tmp_path / "run/model.safetensors").out

    before = worked("lineage", "runs/maefuse-1", "--json").json
    for part in ("encoder", "decoder"):
        assert told[part]["origin"]["kind"] == "checkpoint"
        assert told[part]["origin"]["detail"]["file_digest"] == file_digest(place / "checkpoint-50.pth")
    for part in ("cfm", "mfm"):
        assert told[part]["origin"]["kind"] == "run"
        assert {k: v for k, v in told[part]["before"].items() if k != "digest"}.keys() <= before[part].keys()
        assert told[part]["before"]["passages"] == before[part]["passages"]
        assert told[part]["origin"]["digest"] == before[part]["digest"]
    assert [p["stage"] for p in told["mfm"]["passages"]] == ["train_decoder_MFM"]
    assert told["cfm"]["passages"] == []
    assert text.count("stage joint of runs/maefuse-1") == 2
