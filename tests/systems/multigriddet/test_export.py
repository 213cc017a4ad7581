"""A detector as ONNX: the same numbers in another program, names in its metadata, nothing in place that is wrong."""

import json
import sys

import numpy as np
import pytest
import torch

from annotated import brought_back
from gradatim.data.image import Picture
from gradatim.errors import MissingExtraError, WeightsError
from gradatim.systems.multigriddet import export
from gradatim.systems.multigriddet.data import to_tensor
from gradatim.systems.multigriddet.export import Network, differences, export_onnx
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.predict import Search, find_objects
from pictures import picture
from tiny_multigriddet import ANCHORS, CLASSES, parts

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZE = (64, 96)


def built():
    # The exporter takes its time for every block; two in a row are as good as eight.
    return {name: part.eval().requires_grad_(False) for name, part in parts(blocks=[1, 2, 1, 1, 1]).items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A decoded and a raw file; not to be changed."""
    folder = tmp_path_factory.mktemp("onnx")
    for name, raw in (("decoded", False), ("raw", True)):
        export_onnx(folder / f"{name}.onnx", built(), size=SIZE, names=CLASSES, raw=raw, lineage={"neck": {"a": 1}})
    return folder


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [one.name for one in session.get_outputs()], session.run(None, {"image": image})


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_pictures_gives_boxes_scores_and_classes(files, count):
    image = torch.rand(count, 3, *SIZE)

    names, (boxes, scores, classes) = run(files / "decoded.onnx", image.numpy())

    cells = (2 * 3) * (1 + 4 + 16)
    assert names == ["boxes", "scores", "classes"]
    assert (boxes.shape, scores.shape, classes.shape) == ((count, cells, 4), (count, cells), (count, cells))
    ours = Network(built())(image)
    np.testing.assert_allclose(boxes, ours[0], atol=1e-3)
    np.testing.assert_allclose(scores, ours[1], atol=1e-5)
    np.testing.assert_array_equal(classes, ours[2])


def test_its_best_box_is_the_one_that_detect_finds(files):
    shown: Picture = picture(0, (40, 90))
    place = Letterbox((40, 90), SIZE)
    image = to_tensor(place.picture(shown))[None]

    _, (boxes, scores, classes) = run(files / "decoded.onnx", image.numpy())

    network = Network(built())
    (found,) = find_objects(network.maps(image), network.anchors, [place], Search(confidence=0.01, suppression="none"))
    best = int(scores[0].argmax())
    back = brought_back(boxes[0, best], place)[0].clip(0, [90, 40, 90, 40])
    np.testing.assert_allclose(back, found.boxes[0], atol=1e-3)
    assert classes[0, best] == found.classes[0]


def test_raw_maps_are_the_networks_own(files):
    image = torch.rand(2, 3, *SIZE)

    names, maps = run(files / "raw.onnx", image.numpy())

    assert names == ["coarse", "middle", "fine"]
    for one, ours in zip(maps, Network(built()).maps(image), strict=True):
        np.testing.assert_allclose(one, ours, atol=1e-4)


def test_metadata_tell_classes_anchors_and_lineage_and_nothing_of_this_machine(files):
    model = onnx.load(str(files / "decoded.onnx"))

    told = {one.key: one.value for one in model.metadata_props}
    assert json.loads(told["classes"]) == list(CLASSES)
    assert json.loads(told["anchors"]) == ANCHORS
    assert json.loads(told["image_size"]) == list(SIZE)
    assert json.loads(told["lineage"]) == {"neck": {"a": 1}}
    assert b"/src/gradatim/" not in (files / "decoded.onnx").read_bytes()
    assert sorted(path.name for path in files.iterdir()) == ["decoded.onnx", "raw.onnx"]


def test_a_file_of_other_weights_does_not_pass(files):
    other = built()
    other["predict"].convs[2].bias += 0.01

    found = differences(files / "decoded.onnx", Network(other), SIZE)
    raw = differences(files / "raw.onnx", Network(other, raw=True), SIZE)

    assert found["scores"] > 1e-4
    assert raw["fine"] > 1e-4 > raw["coarse"]


def test_what_computes_other_numbers_is_not_put_in_place(files, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(export, "_convert", lambda network, to, *_: to.write_bytes((files / "raw.onnx").read_bytes()))
    other = built()
    other["predict"].convs[0].bias += 0.01

    with pytest.raises(WeightsError, match=r"(?s)not written.*coarse: "):
        export_onnx(path, other, size=SIZE, names=CLASSES, raw=True)

    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_without_onnxruntime_the_line_to_install_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=r"gradatim\[onnx\]"):
        export_onnx(tmp_path / "model.onnx", built(), size=SIZE, names=CLASSES)
    assert not list(tmp_path.iterdir())
