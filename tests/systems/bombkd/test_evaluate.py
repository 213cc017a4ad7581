"""`gradatim evaluate` of BombKD: accuracy of both heads, pictures, and anomaly scores of clips and frames."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clips import numbered_clip
from commandline import gradatim, worked
from gradatim import Plan, Stage, run
from gradatim.data.video import write_video
from gradatim.systems.bombkd.evaluate import Accuracy, confusion_picture

sys.path.insert(0, str(Path(__file__).parent))
from trees import ucf_crime

STUDENT = {
    "name": "vjepa2",
    "config": {
        "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 16,
        "crop_size": 32, "tubelet_size": 2, "frames_per_clip": 4,
    },
}  # fmt: skip
NAMES = ("pan_left", "pan_right", "zoom_in", "zoom_out")
MOTION = {"dataset": "motion", "options": {"count": 8, "validate_count": 8, "frames": 4, "classes": list(NAMES)}}
TEACHERS = {"ta": {"dim": 8}, "tb": {"dim": 6}}


def trained(folder, *stages, data, **model):
    settings = {"student": STUDENT, "teachers": TEACHERS, "classes": 4, **model}
    plan = Plan(system="bombkd", model=settings, defaults={"data": data, "batch_size": 4}, stages=stages)
    return run(plan, folder).folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A run with a probe of the student alone, and fusion behind converters that nobody taught."""
    alone = Stage(name="alone", task="probe", init={"student": "fresh", "probe": "fresh"}, train=["probe"],
                  losses={"classification": 1}, epochs=1)  # fmt: skip
    fusion = Stage(name="fusion", task="classify", init={"converters": "fresh", "fusion": "fresh"}, train=["fusion"],
                   losses={"classification": 1, "sparsity": 1e-3}, epochs=1)  # fmt: skip
    return trained(tmp_path_factory.mktemp("heads") / "run", alone, fusion, data=MOTION)


def test_both_heads_are_judged_on_what_was_held_out_with_a_picture_of_each(heads, tmp_path):
    told = worked("evaluate", heads, "-o", tmp_path, "--json").json

    assert list(told["heads"]) == ["fusion", "student alone"]
    for head in told["heads"].values():
        confusion = np.array(head["confusion"])
        assert head["clips"] == confusion.sum() == 8
        assert head["top1"] == pytest.approx(100 * confusion.trace() / 8)
        assert head["top1"] <= head["top5"] == 100
        assert list(head["per_class"]) == list(NAMES)
        assert head["latency"] > 0
        assert head["parameters"] > 1000
    assert list(told["heads"]["fusion"]["gates"]) == ["ta", "tb"]
    assert told["heads"]["student alone"]["gates"] == {}
    for picture in told["pictures"]:
        with Image.open(picture) as image:
            assert min(image.size) > 300


def test_a_table_is_shown_and_other_data_may_be_named(heads):
    shown = worked("evaluate", heads, "--set", "data.options.validate_count=4").out

    assert "4 clips" in shown
    assert "student alone" in shown
    assert "zoom_out" in shown


def test_a_model_file_needs_data_and_takes_them(heads):
    answer = gradatim("evaluate", heads / "model.safetensors")
    assert answer.code == 1
    assert "--set data.dataset=" in answer.err

    changes = [word for key, value in (("dataset", "motion"), ("options.count", 4), ("options.validate_count", 4),
                                       ("options.frames", 4))
               for word in ("--set", f"data.{key}={value}")]  # fmt: skip
    told = worked("evaluate", heads / "model.safetensors", *changes, "--json").json
    assert told["heads"]["fusion"]["clips"] == 4


def test_anomaly_scores_are_judged_over_clips_and_frames(tmp_path):
    root = ucf_crime(tmp_path / "crime")
    (abnormal,) = root.rglob("Abuse028_x264.mp4")
    write_video(abnormal, numbered_clip(10)[::-1], fps=10)
    data = {"dataset": "ucf-crime", "root": str(root), "validate_split": "test"}
    stage = Stage(name="judge", task="judge", train=["fusion", "projection"], losses={"margin": 1, "spread": 0.1},
                  init=dict.fromkeys(("student", "converters", "fusion", "projection"), "fresh"), epochs=2)  # fmt: skip
    folder = trained(tmp_path / "run", stage, data=data, head="none", projection_width=8)

    told = worked("evaluate", folder, "--json").json

    assert told["heads"] == {}
    assert told["anomalies"]["clips"] == 2
    score = {label: score for _, score, label in told["anomalies"]["scores"]}
    assert score[0] != score[1]
    assert told["anomalies"]["auc"] == (score[1] > score[0])
    frames = told["anomalies"]["frame_auc"]
    assert (frames["frames"], frames["clips"]) == (8, 1)
    assert 0 <= frames["micro"] <= 1
    assert "AUC" in worked("evaluate", folder).out


def test_a_confusion_matrix_of_many_classes_is_drawn_without_numbers(tmp_path):
    found = Accuracy(head="fusion", clips=40, top1=100.0, top5=100.0, per_class={}, gates={}, parameters=1, latency=1.0,
                     confusion=np.eye(40, dtype=np.int64))  # fmt: skip
    confusion_picture(tmp_path / "many.png", found, [])
    with Image.open(tmp_path / "many.png") as image:
        assert min(image.size) > 1000
    json.dumps(found.to_json())
    assert torch.tensor(found.confusion).sum() == 40
