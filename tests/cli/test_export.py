"""`gradatim export`: a run as ONNX, and what is refused."""

import json

import pytest

from commandline import gradatim, worked
from tiny_multigriddet import CLASSES

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_a_run_becomes_a_file_with_the_names_of_its_classes(place, tmp_path):
    out = tmp_path / "model.onnx"

    answer = worked("export", "detector", "--onnx", "-o", out, "--size", "32x64", "--raw")

    told = {one.key: one.value for one in onnx.load(str(out)).metadata_props}
    assert json.loads(told["classes"]) == list(CLASSES)
    assert json.loads(told["image_size"]) == [32, 64]
    assert "digest" in json.loads(told["lineage"])["predict"]
    assert "input 32 x 64; differs from the model by at most: coarse" in answer.out
    again = gradatim("export", "detector", "--onnx", "-o", out)
    assert again.code == 1
    assert "say --force" in again.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["detector"], "say --onnx"),
        (["detector", "--onnx", "--size", "100"], "multiples of 32"),
        (["runs/maefuse-1", "--onnx"], "is a model of maefuse, not of multigriddet"),
        (["gone.h5", "--onnx"], "gone.h5"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_refused_writes_nothing(words, says, place, tmp_path):
    answer = gradatim("export", *words, "-o", tmp_path / "model.onnx")

    assert answer.code == 1
    assert says in answer.err
    assert not list(tmp_path.glob("*.onnx"))
