"""Pictures from the command line: fused, measured, and refused before any work starts."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from commandline import gradatim, worked
from gradatim.data.image import image_size
from pictures import pair_root, picture, save
from tiny import DEMO, HEADS, sets

RUN = "runs/maefuse-1"


def fuse(model, root, out, *more):
    return gradatim("fuse", model, "--visible", root / "vi", "--infrared", root / "ir", "-o", out, *more)


# -- good pictures ----------------------------------------------------------------------------------


def test_folders_are_fused_at_their_size_with_the_names_of_their_pairs(place, tmp_path):
    answer = fuse(RUN, place / "pairs", tmp_path / "fused", "--json")

    written = sorted((tmp_path / "fused").iterdir())
    assert answer.code == 0, answer.err
    assert sorted(answer.json["written"]) == [str(path) for path in written]
    assert [path.name for path in written] == sorted(path.name for path in (place / "pairs/vi").iterdir())
    assert all(image_size(path) == (48, 64) for path in written)


def test_two_files_make_one_file(place, tmp_path):
    name = sorted((place / "pairs/vi").iterdir())[0].name

    answer = gradatim(
        "fuse", f"{RUN}/model.safetensors", "--visible", f"pairs/vi/{name}", "--infrared", f"pairs/ir/{name}",
        "--out", tmp_path / "one.png", "--mode", "resize",
    )  # fmt: skip

    assert answer.code == 0, answer.err
    assert image_size(tmp_path / "one.png") == (48, 64)


@pytest.mark.parametrize("mode", ["native", "resize", "original", "record"])
def test_the_authors_file_fuses_in_every_mode(mode, place, tmp_path):
    pytest.importorskip("cv2")

    answer = fuse("final_new_60.pth", place / "pairs", tmp_path / "fused", "--mode", mode, *HEADS)

    assert answer.code == 0, answer.err
    assert len(list((tmp_path / "fused").iterdir())) == 5


def test_a_part_that_is_missing_is_named(place, tmp_path):
    answer = fuse("checkpoint-50.pth", place / "pairs", tmp_path / "fused", *HEADS)

    assert answer.code == 1
    assert "cfm" in answer.err
    assert "mfm" in answer.err
    assert not (tmp_path / "fused").exists()


def test_evaluate_measures_a_run_a_file_and_a_folder(place, tmp_path):
    run = worked("evaluate", RUN, "--json").json
    file = worked("evaluate", f"{RUN}/model.safetensors", "--data", "pairs", "-o", tmp_path / "fused", "--json").json
    folder = worked("evaluate", tmp_path / "fused", "--data", "pairs", "--json").json
    table = worked("evaluate", RUN, "--per-image").out

    assert len(run["rows"]) == 1 * 3
    assert len(file["rows"]) == 5 * 3
    assert file == folder
    held = {row["name"] for row in run["rows"]}
    ours = {(row["name"], row["method"]): row["values"] for row in file["rows"]}
    for row in run["rows"]:
        assert row["values"] == ours[row["name"], row["method"]]
    assert list(file["means"]) == ["fused", "average", "maximum"]
    assert len(file["means"]["fused"]) == 12
    assert all(name in table for name in (*file["means"]["fused"], *held))


def test_evaluate_of_a_folder_with_a_stranger_in_it_says_so(place, tmp_path):
    save(tmp_path / "fused" / "stranger.png", picture())

    answer = gradatim("evaluate", tmp_path / "fused", "--data", "pairs")

    assert answer.code == 1
    assert "there is no pair of this name" in answer.err


# -- odd pictures -----------------------------------------------------------------------------------


def damage(name, root):
    """Spoil a root of pairs a, b, c; returns what the message says of it."""
    vi, ir = root / "vi", root / "ir"
    if name == "missing partner":
        (ir / "b.png").unlink()
        return "no partner for 'b.png'"
    if name == "unequal sizes":
        save(ir / "b.png", picture(1, (48, 60), channels=1))
        return "pair 'b': visible is 48 x 64, infrared is 48 x 60"
    if name == "empty folder":
        shutil.rmtree(ir)
        ir.mkdir()
        return "ir: holds no image"
    if name == "zero bytes":
        (vi / "b.png").write_bytes(b"")
        return "b.png: the file is empty (0 bytes)"
    if name == "truncated":
        (vi / "b.png").write_bytes((vi / "b.png").read_bytes()[:900])
        return "b.png: the image is damaged or truncated"
    if name == "same name twice":
        save(vi / "b.bmp", picture(1, (48, 64)))
        return "have the same name; keep one of them"
    if name == "no picture":
        (vi / "b.png").write_text("not a picture at all")
        return "b.png: not an image that can be read"
    raise AssertionError(name)


FAULTS = [
    "missing partner", "unequal sizes", "empty folder", "zero bytes", "truncated", "same name twice", "no picture"
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_pictures_are_named_before_work_starts(fault, place, tmp_path):
    says = damage(fault, pair_root(tmp_path / "bad", size=(48, 64)))

    fused = fuse(RUN, tmp_path / "bad", tmp_path / "out")
    trained = gradatim(
        "run", "maefuse/demo", *sets(*DEMO, f"defaults.data.root={tmp_path / 'bad'}"), "-o", tmp_path / "run"
    )

    for answer in (fused, trained):
        assert answer.code == 1
        assert answer.err.startswith("error: ")
        assert says in answer.err
        assert "Traceback" not in answer.err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run").exists()


def test_all_faults_of_a_folder_come_in_one_message(place, tmp_path):
    root = pair_root(tmp_path / "bad", names="abcdef", size=(48, 64))
    (root / "ir/a.png").unlink()
    (root / "vi/c.png").write_bytes(b"")
    save(root / "ir/d.png", picture(1, (48, 60), channels=1))

    answer = fuse(RUN, root, tmp_path / "out")

    assert all(name in answer.err for name in ("'a.png'", "c.png", "pair 'd'"))
    assert "3 problem(s)" in answer.err


def odd(name, root):
    """Make a root's second pair unusual in a way that must do no harm."""
    vi, ir = root / "vi", root / "ir"
    if name == "16-bit infrared":
        deep = (np.arange(48 * 64).reshape(48, 64) * 20).astype(np.uint16)
        Image.fromarray(deep).save(ir / "b.png")
    elif name == "gray visible":
        save(vi / "b.png", picture(1, (48, 64), channels=1))
    elif name == "infrared in color":
        save(ir / "b.png", picture(1, (48, 64)))
    elif name == "upper case":
        (vi / "b.png").rename(vi / "B.PNG")
    else:
        (vi / "b.png").unlink()
        (ir / "b.png").unlink()
        save(vi / f"b{name}", picture(1, (48, 64)))
        save(ir / f"b{name}", picture(2, (48, 64), channels=1))
    return root


@pytest.mark.parametrize("name", ["16-bit infrared", "gray visible", "infrared in color", "upper case", ".bmp", ".tif"])
def test_odd_pictures_fuse_and_train(name, place, tmp_path):
    root = odd(name, pair_root(tmp_path / "odd", size=(48, 64)))

    fused = fuse(RUN, root, tmp_path / "out", "--json")
    trained = gradatim("run", "maefuse/demo", *sets(*DEMO, f"defaults.data.root={root}"), "--once", "--json")

    assert fused.code == 0, fused.err
    assert trained.code == 0, trained.err
    assert {path.name.lower() for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png", "c.png"}
    assert all(image_size(path) == (48, 64) for path in (tmp_path / "out").iterdir())
    assert len(json.loads(trained.out)["stages"]) == 6


def test_inputs_are_never_overwritten(place, tmp_path):
    root = pair_root(tmp_path / "own", size=(48, 64))

    answer = fuse(RUN, root, root / "vi")

    assert answer.code == 1
    assert "is an input, and would be overwritten" in answer.err
