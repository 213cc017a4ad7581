"""Clips as samples: views of the backbones, splits, and files that cannot be read."""

import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import gradatim.systems.bombkd.sources as sources
from clips import numbers_of, write_numbered
from gradatim.data.batches import plain_batches
from gradatim.data.video import write_video
from gradatim.errors import DataError
from gradatim.systems.bombkd.data import ClipSettings, View, open_clips, prepare, sample_shapes
from systems.bombkd.trees import TREES, texts

VIEW = {"frames": 4, "resize": 16, "crop": 16}


def settings(name, root, **more) -> ClipSettings:
    return ClipSettings.model_validate({"dataset": name, "root": root, "student": VIEW, **more})


def message(call, *args) -> str:
    with pytest.raises(DataError) as error:
        call(*args)
    return str(error.value)


def numbers(clip: torch.Tensor) -> list[int]:
    return numbers_of(clip.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("name", sorted(TREES))
def test_every_layout_gives_samples_of_the_shapes_that_are_told(tmp_path, name):
    chosen = settings(name, TREES[name](tmp_path), check="full", teachers={"a/b": {**VIEW, "frames": 2}})
    chosen = chosen.model_copy(update={"split": "train" if name == "folders" else "test"})
    data = open_clips(chosen, "all")
    for index in range(len(data)):
        sample = data.sample(index, data.fields, None)
        shapes = {field: getattr(sample[field], "shape", None) for field in data.fields}
        shapes["teacher_clips"] = {"a/b": sample["teacher_clips"]["a/b"].shape}
        assert shapes == sample_shapes(chosen)
        assert sample["student_clip"].dtype == torch.uint8
        assert sample["label"].dtype == torch.int64
    assert len({data.name(index) for index in range(len(data))}) == len(data)
    assert ("frame_labels" in data.fields) == (name in ("shanghaitech", "ucf-crime"))


def test_one_decoding_feeds_all_backbones_with_frames_of_their_own(tmp_path, monkeypatch):
    write_numbered(tmp_path / "a" / "1.mp4", 13)
    teachers = {"long": {**VIEW, "frames": 7}, "large": {"frames": 4, "resize": 24, "crop": 20}, "same": VIEW}
    data = open_clips(settings("folders", tmp_path, teachers=teachers), "train")
    reads = []
    real = sources.read_clip
    monkeypatch.setattr(sources, "read_clip", lambda path, frames: reads.append(frames) or real(path, frames))

    sample = data.sample(0, data.fields, None)

    assert len(reads) == 1
    assert numbers(sample["student_clip"]) == [0, 4, 8, 12]
    assert numbers(sample["teacher_clips"]["long"]) == [0, 2, 4, 6, 8, 10, 12]
    assert sample["teacher_clips"]["large"].shape == (4, 3, 20, 20)
    assert torch.equal(sample["teacher_clips"]["same"], sample["student_clip"])
    assert set(data.sample(0, ("label",), None)) == {"label"}
    assert len(reads) == 1
    batch = next(plain_batches(data, ("teacher_clips", "label"), 1))[1]
    assert batch["teacher_clips"]["long"].shape == (1, 7, 3, 16, 16)


def test_a_segment_is_sampled_inside_its_bounds_and_a_short_clip_repeats(tmp_path):
    data = open_clips(settings("diving48", TREES["diving48"](tmp_path)), "train")
    assert numbers(data.sample(1, ("student_clip",), None)["student_clip"]) == [3, 4, 5, 6]
    assert data.name(1) == "rgb/y_2.webm#3"
    test = open_clips(settings("diving48", tmp_path, split="test", student={**VIEW, "frames": 16}), "train")
    assert numbers(test.sample(0, ("student_clip",), None)["student_clip"])[-3:] == [9, 10, 11]


def test_a_video_without_a_count_is_sampled_to_its_end(tmp_path):
    data = open_clips(settings("ssv2", TREES["ssv2"](tmp_path)), "train")
    assert data.name(0).endswith(".webm")
    assert numbers(data.sample(0, ("student_clip",), None)["student_clip"]) == [0, 6, 12, 19]


def test_frame_labels_are_those_of_the_sampled_frames(tmp_path):
    crime = open_clips(settings("ucf-crime", TREES["ucf-crime"](tmp_path / "a"), split="test"), "all")
    assert data_labels(crime, 0) == [0, 1, 0, 1]
    assert data_labels(crime, 1) == [0, 0, 0, 0]
    assert crime.source.abnormal(0).tolist() == [False, False, True, True, True, False, False, False, True, True]
    campus = open_clips(settings("stech", TREES["shanghaitech"](tmp_path / "b"), split="test"), "all")
    assert data_labels(campus, 0) == [0, 0, 1, 0]
    train = open_clips(settings("stech", tmp_path / "b"), "all")
    assert data_labels(train, 0) == [0, 0, 0, 0]
    untold = open_clips(settings("ucf-crime", tmp_path / "a"), "all")
    assert "nothing tells which of its frames are abnormal" in message(untold.sample, 0, ("frame_labels",), None)


def data_labels(data, index) -> list[int]:
    return data.sample(index, ("frame_labels",), None)["frame_labels"].tolist()


def test_frames_are_resized_by_the_shorter_side_and_cropped_in_the_middle():
    clip = torch.zeros(2, 20, 40, 3, dtype=torch.uint8)
    clip[:, :, 10:30] = 255
    assert prepare(clip, 20, 20).shape == (2, 3, 20, 20)
    assert bool((prepare(clip, 20, 20) == 255).all())
    assert prepare(clip, 10, 8).shape == (2, 3, 8, 8)
    assert bool((prepare(clip.permute(0, 2, 1, 3), 40, 40) == 255)[:, :, 1:-1].all())
    assert prepare(torch.zeros(1, 7, 5, 3, dtype=torch.uint8), 16, 16).shape == (1, 3, 16, 16)


def test_held_out_clips_are_of_every_class_and_share_no_scene_with_training(tmp_path):
    chosen = settings("ucf101", TREES["ucf101"](tmp_path), holdout=0.25)
    train, held = (open_clips(chosen, split) for split in ("train", "validate"))
    groups = [{data.name(i).rpartition("_c")[0] for i in range(len(data))} for data in (train, held)]
    assert (len(train), len(held)) == (12, 4)
    assert not groups[0] & groups[1]
    assert sorted(held.label(i) for i in range(4)) == [0, 0, 1, 1]
    assert len(open_clips(chosen, "all")) == 16
    other = open_clips(chosen.model_copy(update={"seed": 1}), "validate")
    assert {other.name(i) for i in range(4)} != {held.name(i) for i in range(4)}
    again = open_clips(chosen, "validate")
    assert [again.name(i) for i in range(4)] == [held.name(i) for i in range(4)]


def test_a_subset_is_of_every_class_and_leaves_validation_as_it_is(tmp_path):
    chosen = settings("ucf101", TREES["ucf101"](tmp_path), holdout=0.25, subset=0.3)
    train = open_clips(chosen, "train")
    assert sorted(train.label(i) for i in range(len(train))) == [0, 0, 1, 1]
    assert len(open_clips(chosen, "validate")) == 4
    tiny = open_clips(settings("folders", TREES["folders"](tmp_path / "f"), subset=0.01), "train")
    assert sorted(tiny.label(i) for i in range(len(tiny))) == [0, 1]


def test_validation_reads_another_split_or_says_that_there_is_none(tmp_path):
    root = TREES["hmdb51"](tmp_path)
    assert open_clips(settings("hmdb51", root, validate_split="test"), "validate").name(0) == "test/eat_9.mp4"
    assert "set `holdout` or `validate_split`" in message(open_clips, settings("hmdb51", root), "validate")


def test_all_files_that_cannot_be_read_are_named_before_anything_starts(tmp_path):
    root = TREES["folders"](tmp_path)
    (root / "train/walk/0.mp4").write_bytes(b"")
    (root / "train/walk/1.mp4").write_bytes(b"no video at all")
    content = (root / "train/jump/2.mp4").read_bytes()
    (root / "train/jump/2.mp4").write_bytes(content[: len(content) // 3])
    found = message(open_clips, settings("folders", root), "train")
    assert found.startswith(f"{root}, split 'train': 4 problem(s):")
    for name in ("walk/0.mp4", "walk/1.mp4", "jump/2.mp4"):
        assert str(root / "train" / name) in found
    assert "name them in `skip_corrupt`" in found

    names = ("train/walk/0.mp4", "train/walk/1.mp4", "train/jump/2.mp4")
    data = open_clips(settings("folders", root, skip_corrupt=names), "train")

    assert len(data) == 6
    assert data.notes == (f"3 clip(s) left out as asked: {', '.join(sorted(names))}.",)
    texts(root, {"bad.txt": "\n".join(names)})
    assert len(open_clips(settings("folders", root, skip_corrupt=root / "bad.txt"), "train")) == 6
    wrong = settings("folders", root, skip_corrupt=("train/walk/7.mp4", *names))
    assert "unknown clip 'train/walk/7.mp4'. Did you mean 'train/walk/" in message(open_clips, wrong, "train")


def test_damage_behind_the_first_frame_is_found_by_the_full_check(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 48, 3), np.uint8)
    write_video(tmp_path / "a/1.avi", noise, 10)
    whole = (tmp_path / "a/1.avi").read_bytes()
    (tmp_path / "a/1.avi").write_bytes(whole[: len(whole) // 2])
    open_clips(settings("folders", tmp_path), "train")
    assert "damaged or truncated" in message(open_clips, settings("folders", tmp_path, check="full"), "train")


def test_a_segment_behind_the_end_of_its_video_is_an_error(tmp_path):
    root = TREES["diving48"](tmp_path)
    texts(root, {"Diving48_V2_train.json": '[{"vid_name": "x_1", "label": 1, "start_frame": 40, "end_frame": 50}]'})
    assert "starts at frame 40, but has only 12 frames" in message(open_clips, settings("diving48", root), "train")


def test_clips_without_a_label_are_said(tmp_path):
    root = TREES["ssv2"](tmp_path)
    data = open_clips(settings("ssv2", root, labels="original"), "train")
    assert data.notes == ("1 clip(s) have no label (-1).",)
    assert data.sample(0, ("label",), None)["label"].item() == -1


def test_the_digest_depends_on_contents_labels_and_views_but_not_on_the_folder(tmp_path):
    root = TREES["folders"](tmp_path / "one")
    same = open_clips(settings("folders", TREES["folders"](tmp_path / "two")), "train").digest()
    chosen = settings("folders", root)
    assert open_clips(chosen, "train").digest() == same
    assert open_clips(chosen, "all").digest() == same
    other = settings("folders", root, student={**VIEW, "frames": 5})
    assert open_clips(other, "train").digest() != same
    write_numbered(root / "train/walk/0.mp4", 6, seed=9)
    assert open_clips(chosen, "train").digest() != same


def test_a_data_set_survives_the_way_to_a_worker(tmp_path):
    data = open_clips(settings("folders", TREES["folders"](tmp_path)), "train")
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(*(d.sample(3, ("student_clip",), None)["student_clip"] for d in (data, copy)))


def test_wrong_settings_are_answered_in_words(tmp_path):
    cases = {
        "Did you mean 'ucf101'?": {"dataset": "ufc101", "root": tmp_path},
        "unknown option 'fld'. Did you mean 'fold'?": {"dataset": "breakfast", "root": tmp_path, "options": {"fld": 1}},
        "validate_split or holdout": {"dataset": "uav", "root": tmp_path, "holdout": 0.1, "validate_split": "test"},
        "needs its folder": {"dataset": "uav"},
        "motion draws its clips": {"dataset": "motion", "root": tmp_path},
        "crop 20 does not fit": {"dataset": "motion", "student": {"resize": 16, "crop": 20}},
        "unknown motion 'pan_lef'. Did you mean 'pan_left'?": {
            "dataset": "motion",
            "options": {"classes": ["pan_lef"]},
        },
    }
    for words, values in cases.items():
        with pytest.raises(ValidationError) as error:
            ClipSettings.model_validate(values)
        assert words in str(error.value)
    assert View().shape == (16, 3, 224, 224)
    data = open_clips(ClipSettings.model_validate({"dataset": "motion"}), "train")
    assert "unknown field 'clip'" in message(data.sample, 0, ("clip",), None)
