"""`gradatim classify`: videos of every kind, what cannot be read beside what can, and models of either task."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clips import numbered_clip, write_numbered
from commandline import gradatim, worked
from gradatim import load_model, run
from gradatim.data.image import write_image
from gradatim.find import find_system
from gradatim.weights import write_weights
from tiny_bombkd import CLASSES, STUDENT, TEACHERS, clip_files, converters, files_plan, fusion

pytest.importorskip("transformers")
av = pytest.importorskip("av")


def probe(**changes):
    init = {"student": "fresh", "probe": "fresh"}
    return fusion(**{"name": "probe", "task": "probe", "init": init, "train": ["probe"], **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Clips, a run with fusion and one with a probe, trained on them; not to be changed."""
    folder = tmp_path_factory.mktemp("classify")
    clip_files(folder / "clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADATIM_FEATURES", str(folder / "features"))
        run(files_plan(folder / "clips", converters(epochs=1), fusion(epochs=1)), folder / "fused")
        run(files_plan(folder / "clips", probe(epochs=1)), folder / "alone")
    return folder


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shares(clip):
    return [one["probability"] for one in clip["classes"]]


def test_a_folder_is_classified_file_by_file_with_the_names_of_its_classes(made):
    told = worked("classify", made / "fused", made / "clips", "--json").json

    assert [Path(clip["path"]) for clip in told["clips"]] == sorted((made / "clips").rglob("*.mp4"))
    assert told["unreadable"] == {}
    for clip in told["clips"]:
        assert {one["name"] for one in clip["classes"]} == set(CLASSES)
        assert shares(clip) == sorted(shares(clip), reverse=True)
        assert sum(shares(clip)) == pytest.approx(1, abs=1e-6)
        assert set(clip["gates"]) == set(TEACHERS)
        assert all(0 < gate < 1 for gate in clip["gates"].values())


def test_the_answer_is_that_of_the_steps(made):
    """The same clip through the data set and the model's own steps."""
    told = worked("classify", made / "fused", made / "clips" / "validation", "--json").json
    model = load_model(made / "fused")
    system = find_system("bombkd")
    plan = files_plan(made / "clips", fusion())
    data = system.data.settings.model_validate(dict(system.filled(plan).stages[0].data))
    clips = system.data.open(data, "validate")

    assert [Path(clip["path"]).name for clip in told["clips"]] == [Path(clips.name(i)).name for i in range(len(clips))]
    for index, clip in enumerate(told["clips"]):
        sample = {"student_clip": clips.sample(index, ("student_clip",), None)["student_clip"][None]}
        values = model.compute("classify", sample, ("logits", "gates"))
        expected = values["logits"].softmax(1)[0]
        found = {one["name"]: one["probability"] for one in clip["classes"]}
        assert [found[name] for name in clips.classes] == pytest.approx(expected.tolist(), abs=1e-6)
        assert list(clip["gates"].values()) == pytest.approx(values["gates"].mean(1)[0].tolist(), abs=1e-6)


def test_kinds_of_videos_that_people_have(made, tmp_path):
    """One file, a webm that does not tell its number of frames, a clip shorter than the sample, a folder of frames."""
    write_numbered(tmp_path / "no count.webm", 20)
    write_numbered(tmp_path / "short.avi", 2, size=(40, 24))
    for number, picture in enumerate(numbered_clip(7)):
        write_image(tmp_path / "frames" / f"{number:03d}.png", picture)

    told = worked("classify", made / "fused", tmp_path, "--json", "--batch-size", "2").json
    one = worked("classify", made / "fused", tmp_path / "short.avi", "--json").json

    names = [Path(clip["path"]).name for clip in told["clips"]]
    assert names == ["frames", "no count.webm", "short.avi"]
    assert all(sum(shares(clip)) == pytest.approx(1, abs=1e-6) for clip in told["clips"])
    assert shares(one["clips"][0]) == pytest.approx(shares(told["clips"][2]), abs=1e-6)


def test_a_name_that_stands_twice_is_answered_once(made):
    clip = next((made / "clips").rglob("*.mp4"))

    assert len(worked("classify", made / "alone", clip, clip.parent, "--json").json["clips"]) == len(
        list(clip.parent.iterdir())
    )


def test_top_and_the_table(made):
    answer = worked("classify", made / "fused", made / "clips" / "validation", "--top", "2")
    told = worked("classify", made / "fused", made / "clips" / "validation", "--top", "2", "--json").json

    assert not answer.err
    assert all(len(clip["classes"]) == 2 for clip in told["clips"])
    for clip in told["clips"]:
        best = clip["classes"][0]
        assert f"{best['name']} {best['probability']:.1%}" in answer.out
        assert Path(clip["path"]).name in answer.out
    assert "videomae" in answer.out


def test_a_probe_alone_has_no_gates(made):
    told = worked("classify", made / "alone", made / "clips" / "validation", "--json").json

    assert [clip["gates"] for clip in told["clips"]] == [{}] * 4
    assert {one["name"] for one in told["clips"][0]["classes"]} == set(CLASSES)


def test_names_of_the_model_win_and_numbers_stand_where_there_are_none(made, tmp_path):
    named = {"classes": None, "class_names": ["one", "two", "three", "four"]}
    run(files_plan(made / "clips", probe(epochs=None, steps=1), model=named), tmp_path / "named")
    nameless = find_system("bombkd").settings(student=STUDENT, classes=4)
    parts = {name: find_system("bombkd").parts[name](nameless) for name in ("student", "probe")}
    save(tmp_path / "bare.safetensors", nameless, parts)
    clip = next((made / "clips").rglob("*.mp4"))

    found = [
        {one["name"] for one in worked("classify", tmp_path / name, clip, "--json").json["clips"][0]["classes"]}
        for name in ("named", "bare.safetensors")
    ]

    assert found == [{"one", "two", "three", "four"}, {f"class {number}" for number in range(4)}]


def save(path, settings, parts):
    """A file as gradatim writes it, of parts with fresh weights."""
    from gradatim.runs.lineage import Lineage, Origin
    from gradatim.weights import part_digest

    lineage = {
        name: Lineage(part=name, origin=Origin(kind="fresh", digest=part_digest(part), detail={})).to_json()
        for name, part in parts.items()
    }
    header = {"system": "bombkd", "model": settings.model_dump(mode="json"), "lineage": lineage}
    write_weights(path, {name: part.state_dict() for name, part in parts.items()}, header)
    return path


def test_what_cannot_be_read_is_named_and_the_rest_is_classified(made, tmp_path):
    good = shutil.copy(next((made / "clips").rglob("*.mp4")), tmp_path / "good.mp4")
    (tmp_path / "corrupt.mp4").write_bytes(Path(good).read_bytes()[:500])
    (tmp_path / "empty.avi").write_bytes(b"")
    write_sound(tmp_path / "sound.mp4")

    answer = gradatim("classify", made / "fused", tmp_path, "--json")
    table = gradatim("classify", made / "fused", tmp_path)

    assert answer.code == table.code == 1
    told = json.loads(answer.out)
    assert [Path(clip["path"]).name for clip in told["clips"]] == ["good.mp4"]
    assert sorted(Path(path).name for path in told["unreadable"]) == ["corrupt.mp4", "empty.avi", "sound.mp4"]
    assert "good.mp4" in table.out
    assert all(name in table.err for name in ("corrupt.mp4", "empty.avi", "sound.mp4"))
    assert "Traceback" not in table.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fused", "nowhere", "gone.mp4"], "nowhere: no such file or folder"),
        (["fused", "nowhere", "gone.mp4"], "gone.mp4: no such file or folder"),
        (["fused", "empty"], "no video (.avi"),
        (["fused/01-converters/weights.safetensors", "clips"], "lacks fusion"),
    ],
)
def test_a_wrong_call_is_one_message(words, says, made, monkeypatch):
    monkeypatch.chdir(made)
    (made / "empty").mkdir(exist_ok=True)

    answer = gradatim("classify", *words)

    assert answer.code == 1
    assert says in answer.err
    assert not answer.out


def test_a_model_of_stored_features_says_what_it_lacks(made, tmp_path):
    settings = find_system("bombkd").settings(student={"dim": 24}, teachers=TEACHERS, classes=4)
    parts = {name: find_system("bombkd").parts[name](settings) for name in ("converters", "fusion")}
    path = save(tmp_path / "features.safetensors", settings, parts)

    answer = gradatim("classify", path, made / "clips")

    assert answer.code == 1
    assert "student" in answer.err


@pytest.mark.slow
def test_real_clips_at_the_true_size_of_a_backbone(data_root, tmp_path):
    """VideoMAE of the base size, as published but for its weights, classifies real files through a saved model."""
    clips = sorted(path for path in (data_root / "video").iterdir() if path.suffix in (".mp4", ".avi"))
    if not clips:
        pytest.skip("no videos there")
    settings = find_system("bombkd").settings(student="videomae", classes=400, probe="linear")
    torch.manual_seed(0)
    parts = {name: find_system("bombkd").parts[name](settings) for name in ("student", "probe")}
    torch.nn.init.normal_(parts["probe"].head.weight, std=0.1)
    assert sum(p.numel() for p in parts["student"].parameters()) > 85e6
    path = save(tmp_path / "videomae.safetensors", settings, parts)

    told = worked("classify", path, *clips, "--json", "--top", "400").json

    assert [clip["path"] for clip in told["clips"]] == [str(clip) for clip in clips]
    for clip in told["clips"]:
        assert len(clip["classes"]) == 400
        assert all(math.isfinite(share) for share in shares(clip))
        assert sum(shares(clip)) == pytest.approx(1, abs=1e-4)
    assert len({tuple(one["name"] for one in clip["classes"]) for clip in told["clips"]}) == len(clips)
