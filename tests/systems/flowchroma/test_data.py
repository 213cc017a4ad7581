"""Samples of frames and references: what they hold, what is drawn for them, and videos that are drawn themselves."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from gradatim.data.image import read_image, resize
from gradatim.errors import DataError
from gradatim.systems.flowchroma.color import lab_of_levels, lab_of_values
from gradatim.systems.flowchroma.data import SequenceSettings, held_out, open_sequences, sample_shapes
from gradatim.systems.flowchroma.joint import JointChange
from gradatim.systems.flowchroma.references import Change, ReferenceAugmentation, bent, draw_change
from gradatim.systems.flowchroma.synthetic import DrawnSettings, drawn_videos
from pictures import picture, save
from systems.flowchroma.trees import list_root, video

pytest.importorskip("cv2")

ALL = ("frames", "lightness", "references")
SMALL = {"length": 2, "size": (12, 16), "match_size": (10, 8)}


def settings_of(root, **settings):
    return SequenceSettings(root=root, references=root / "pictures", **{**SMALL, **settings})


def opened(root, split="all", **settings):
    return open_sequences(settings_of(root, **settings), split)


def seeds(data, field="references", count=20, index=0):
    """How many samples of an index are unlike, over so many draws."""
    drawn = [data.sample(index, (field,), np.random.default_rng(seed))[field] for seed in range(count)]
    return len({values.numpy().tobytes() for values in drawn})


def same(first, second):
    return all(torch.equal(first[field], second[field]) for field in first.keys() | second.keys())


def test_a_sample_is_what_its_pictures_are_by_both_ways_to_lab(tmp_path):
    root = list_root(tmp_path)
    save(root / "a" / "f1.png", picture(1, (24, 20)))
    sample = opened(root).sample(1, ALL, None)
    frames = [np.array(Image.open(root / "a" / f"f{i}.png").resize((16, 12), Image.Resampling.LANCZOS)) for i in (1, 2)]
    small = [np.array(Image.fromarray(frame).resize((8, 10), Image.Resampling.BILINEAR)) for frame in frames]
    reference = Image.open(root / "pictures" / "r1.png").resize((16, 12), Image.Resampling.LANCZOS)
    matched = np.array(reference.resize((8, 10), Image.Resampling.BILINEAR))
    assert torch.equal(sample["frames"], torch.stack([lab_of_levels(frame) for frame in frames]))
    assert torch.equal(sample["lightness"], torch.stack([lab_of_values(frame)[:1] for frame in small]))
    assert torch.equal(sample["references"], lab_of_values(matched)[None])


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("samples", ["fusion", "flow"])
def test_shapes_are_told_without_data(tmp_path, one, samples):
    settings = settings_of(list_root(tmp_path), one_reference=one, samples=samples, length=3)
    data = open_sequences(settings, "all")
    sample = data.sample(0, data.fields, None)
    assert {field: tuple(values.shape) for field, values in sample.items()} == sample_shapes(settings)
    assert {values.dtype for values in sample.values()} == {torch.float32}
    assert data.fields == (ALL if samples == "fusion" else ("frames",))


def test_only_the_fields_asked_for_are_read(tmp_path):
    root = list_root(tmp_path, ("a",))
    data = opened(root)
    for file in (root / "pictures").iterdir():
        file.unlink()
    assert set(data.sample(0, ("frames", "lightness"), None)) == {"frames", "lightness"}
    with pytest.raises(DataError, match=r"r0\.png: No such file"):
        data.sample(0, ("references",), None)
    with pytest.raises(DataError, match=r"unknown field 'frame'\. Did you mean 'frames'\?"):
        data.sample(0, ("frame",), None)
    assert data.sample(0, (), None) == {}
    root = list_root(tmp_path / "other", ("a",))
    data = opened(root)
    (root / "a" / "f2.png").unlink()
    assert set(data.sample(1, ("references",), None)) == {"references"}


def test_training_draws_references_and_validation_takes_them_by_the_index(tmp_path):
    root = list_root(tmp_path, ("a", "b"), references=[f"r{i}.png" for i in range(5)])
    train, validate = (opened(root, split, holdout=("b",), augmentation="strong") for split in ("train", "validate"))
    plain = opened(root, "train", holdout=("b",))
    assert (train.random, validate.random, plain.random) == (True, False, True)
    assert seeds(plain) == 5
    assert seeds(train) == 20
    assert seeds(validate) == 1
    assert seeds(train, "frames") == seeds(train, "lightness") == 1
    assert same(train.sample(0, ALL, np.random.default_rng(3)), train.sample(0, ALL, np.random.default_rng(3)))
    alone = train.sample(0, ("references",), np.random.default_rng(3))
    assert torch.equal(alone["references"], train.sample(0, ALL, np.random.default_rng(3))["references"])
    first, second = (validate.sample(index, ("references",), None)["references"] for index in (0, 1))
    assert not torch.equal(first, second)


def test_a_reference_for_each_frame_is_drawn_anew(tmp_path):
    root = list_root(tmp_path, ("a",), references=[f"r{i}.png" for i in range(5)])
    data = opened(root, "train", holdout=0, one_reference=False, length=4)
    drawn = data.sample(0, ("references",), np.random.default_rng(0))["references"]
    assert len({values.numpy().tobytes() for values in drawn}) > 1


def test_the_first_frame_of_the_video_stands_in_as_often_as_asked_for(tmp_path):
    root = list_root(tmp_path, ("a",), references=("r0.png",))
    never, half = (opened(root, "train", holdout=0, real_reference_probability=share) for share in (0.0, 0.5))
    first = lab_of_values(resize(read_image(root / "a" / "f0.png"), (10, 8)))
    assert torch.equal(never.sample(2, ("references",), np.random.default_rng(0))["references"][0], first)
    drawn = [half.sample(2, ("references",), np.random.default_rng(seed))["references"][0] for seed in range(200)]
    assert 70 < sum(torch.equal(values, first) for values in drawn) < 130
    assert (never.random, half.random) == (False, True)
    seldom = opened(root, real_reference_probability=0.4).sample(2, ("references",), None)["references"][0]
    assert torch.equal(seldom, first)


def test_samples_are_random_exactly_where_they_differ(tmp_path):
    root = list_root(tmp_path / "one", ("a",), references=("r0.png",))
    video(tmp_path / "plain" / "a")
    cases = {
        (root, "fusion", True): False,
        (root, "flow", True): True,
        (root, "flow", False): False,
    }
    for (place, samples, joint), random in cases.items():
        data = opened(place, "train", samples=samples, joint_augmentation=joint, holdout=0)
        assert data.random == random == any(seeds(data, field) > 1 for field in data.fields)
    bare = SequenceSettings(root=tmp_path / "plain", holdout=0, **SMALL)
    assert not open_sequences(bare, "train").random
    assert not SequenceSettings(drawn={}).varies
    assert SequenceSettings(root="x").varies
    assert SequenceSettings(drawn={}, samples="flow").varies
    assert SequenceSettings(drawn={}, augmentation="minimal").varies
    assert not SequenceSettings(drawn={}, augmentation={"bend": 1.0, "bend_strength": 0}).varies


def test_a_window_of_flow_training_is_changed_as_a_whole(tmp_path):
    root = list_root(tmp_path, ("a",))
    data = opened(root, "train", samples="flow", holdout=0)
    plain = data.sample(0, ("frames",), None)["frames"]
    seen = set()
    for seed in range(60):
        frames = data.sample(0, ("frames",), np.random.default_rng(seed))["frames"]
        flip = not torch.equal(frames[0, 1:].sign(), plain[0, 1:].sign())
        straight = frames.flip(-1) if flip else frames
        lightness, color = (
            float(((straight[:, at] + shift) / (plain[:, at] + shift)).nanmedian()) for at, shift in ((0, 1), (1, 0))
        )
        assert torch.allclose(straight, JointChange(lightness=lightness, color=color).of(plain), atol=1e-4)
        assert all(0.799 < factor < 1.201 for factor in (lightness, color))
        seen.add((flip, *(abs(factor - 1) > 1e-5 for factor in (lightness, color))))
    assert len(seen) == 8
    assert seeds(opened(root, "validate", samples="flow", holdout=("a",)), "frames") == 1


def test_changed_lightness_and_color_stay_in_their_ranges():
    lab = torch.tensor([[0.9, -0.5], [1.0, 0.2], [-1.0, -0.2]]).reshape(1, 3, 1, 2)
    changed = JointChange(lightness=1.2, color=1.1).of(lab).flatten().tolist()
    assert changed == pytest.approx([1.0, -0.4, 1.0, 0.22, -128 / 127, -0.22])
    assert JointChange(flip=True).of(lab).flatten().tolist() == pytest.approx(lab.flip(-1).flatten().tolist())


def test_single_strengths_override_the_preset_and_nothing_is_on_by_default():
    strong = ReferenceAugmentation.model_validate("strong")
    changed = ReferenceAugmentation.model_validate({"preset": "strong", "bend": 0, "hue": 5})
    assert (strong.hue, strong.bend, strong.bend_strength, strong.flip) == (30, 0.3, 0.1, 0.5)
    assert (changed.hue, changed.bend, changed.flip, changed.saturation) == (5, 0, 0.5, (0.7, 1.3))
    assert not ReferenceAugmentation().varies
    assert ReferenceAugmentation.model_validate("none") == ReferenceAugmentation()
    with pytest.raises(ValidationError, match=r"unknown preset 'stong'\. Did you mean 'strong'\?"):
        ReferenceAugmentation.model_validate("stong")
    with pytest.raises(ValidationError, match=r"saturation: 1\.3 to 0\.7: the least comes first"):
        ReferenceAugmentation(saturation=(1.3, 0.7))


def test_every_strength_changes_pictures_within_its_bounds_and_order():
    source = picture(0, (24, 30))
    for field, value in {
        "hue": 40.0, "saturation": (0.5, 0.9), "brightness": (1.1, 1.4), "channels": 1.0, "flip": 1.0, "bend": 1.0
    }.items():  # fmt: skip
        settings = ReferenceAugmentation.model_validate({field: value, "bend_strength": 1.0})
        drawn = [draw_change(settings, np.random.default_rng(seed)) for seed in range(30)]
        assert settings.varies
        assert any(not np.array_equal(change.of(source), source) for change in drawn), field
        assert np.array_equal(drawn[0].of(source), draw_change(settings, np.random.default_rng(0)).of(source))
        if isinstance(value, tuple):
            assert all(value[0] <= getattr(change, field) <= value[1] for change in drawn)
    neutral = draw_change(ReferenceAugmentation(), np.random.default_rng(0))
    assert np.array_equal(neutral.of(source), source)
    both = Change(brightness=1.3, order=(2, 0, 1), flip=True)
    expected = np.array(Image.fromarray(source).point(lambda value: min(int(value * 1.3), 255)))[:, ::-1, [2, 0, 1]]
    assert abs(both.of(source).astype(int) - expected).max() <= 1


def test_bending_moves_the_middle_and_leaves_the_corners():
    ramp = np.repeat(np.arange(0, 200, 5, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    still, right = np.zeros((5, 2)), np.zeros((5, 2))
    right[2, 0] = 1.0
    moved = bent(ramp, right, 1.0).astype(int) - bent(ramp, still, 1.0)
    # The center moves by 6 pixels to the right, so darker columns come to stand there.
    assert -31 <= moved[20, 26].max() <= -25
    assert abs(moved[[0, 0, -1, -1], [0, -1, 0, -1]]).max() <= 1


def test_the_digest_follows_contents_names_and_settings_but_not_places(tmp_path):
    roots = [list_root(tmp_path / name) for name in "xy"]
    digests = [opened(root).digest() for root in roots]
    assert digests[0] == digests[1]
    assert opened(roots[0], memory=0, check="full").digest() == digests[0]
    changes = [{"size": 8}, {"length": 3}, {"one_reference": False}, {"augmentation": "minimal"}, {"samples": "flow"}]
    digests += [opened(roots[0], **change).digest() for change in changes]
    flow = digests[-1]
    digests.append(opened(roots[0], "train").digest())
    save(roots[0] / "pictures" / "r1.png", picture(999))
    digests.append(opened(roots[0]).digest())
    assert opened(roots[0], samples="flow").digest() == flow
    save(roots[0] / "b" / "f3.png", picture(998))
    digests.append(opened(roots[0]).digest())
    assert len(set(digests)) == len(digests) - 1


def test_the_memory_budget_and_a_worker_process_change_nothing(tmp_path):
    root = list_root(tmp_path)
    kept, unkept = opened(root, "train", augmentation="strong"), opened(root, "train", augmentation="strong", memory=0)
    sent = pickle.loads(pickle.dumps(kept))
    for data in (kept, kept, unkept, sent):
        expected = unkept.sample(0, ALL, np.random.default_rng(7))
        assert same(data.sample(0, ALL, np.random.default_rng(7)), expected)
    assert kept._kept
    assert not unkept._kept
    assert not pickle.loads(pickle.dumps(kept))._kept


def test_videos_are_held_out_whole_and_splits_share_nothing(tmp_path):
    root = list_root(tmp_path, [f"v{i}" for i in range(10)])
    splits = {split: opened(root, split, holdout=0.3) for split in ("train", "validate", "all")}
    videos = {split: {window.video.name for window in data.windows} for split, data in splits.items()}
    assert videos["validate"] == {"v1", "v5", "v8"}
    assert videos["train"] | videos["validate"] == videos["all"]
    assert not videos["train"] & videos["validate"]
    assert held_out(["x/a", "y/a", "y/b"], ("a",)) == {"x/a", "y/a"}
    assert held_out(["x/a", "y/a", "y/b"], ("y/a",)) == {"y/a"}
    with pytest.raises(DataError, match=r"unknown video 'v33'\. Did you mean 'v3'\?"):
        opened(root, holdout=("v33",), split="train")
    with pytest.raises(DataError, match=r"nothing is held out for validation: holdout is 0\.0 of 10 video"):
        opened(root, "validate", holdout=0)


def test_a_limit_takes_samples_from_everywhere(tmp_path):
    root = list_root(tmp_path, ("a", "b", "c"))
    data = opened(root, limit=3)
    assert [data.name(index) for index in range(3)] == ["a/f1.png", "b/f1.png", "c/f1.png"]
    assert len(opened(root, limit=99)) == 9


def test_settings_that_contradict_each_other_are_refused():
    for wrong, words in (
        ({}, "set root or drawn"),
        ({"root": "x", "drawn": {}}, "set one of root and drawn"),
        ({"drawn": {"frames": 3}}, "3 frames are fewer than length 4"),
        ({"root": "x", "length": 1}, "greater than or equal to 2"),
        ({"root": "x", "lenght": 3}, "lenght"),
    ):
        with pytest.raises(ValidationError, match=words):
            SequenceSettings.model_validate(wrong)
    assert SequenceSettings(root="x", size="64").size == (64, 64)


def test_drawn_videos_need_no_files_and_are_always_the_same():
    settings = SequenceSettings(drawn=DrawnSettings(count=10, frames=5), size=(32, 40), match_size=24)
    train, again, validate = (open_sequences(settings, split) for split in ("train", "train", "validate"))
    assert (len(train), len(validate), train.name(1)) == (18, 2, "drawn_00000/0001")
    assert same(train.sample(11, ALL, None), again.sample(11, ALL, None))
    assert train.digest() == again.digest()
    other = settings.model_copy(update={"drawn": DrawnSettings(count=10, frames=5, seed=1)})
    assert open_sequences(other, "train").digest() != train.digest()
    shapes = {field: tuple(values.shape) for field, values in train.sample(0, ALL, None).items()}
    assert shapes == sample_shapes(settings)


def test_colors_of_drawn_videos_are_told_by_the_reference_and_by_nothing_else():
    videos = drawn_videos(DrawnSettings(count=12, shapes=2), (48, 64))
    hues = [_hues(video.frames[0].read()) for video in videos]
    beside = [_hues(video.references[0][0].read()) for video in videos]
    own = [np.minimum(first, second).sum() for first, second in zip(hues, beside, strict=True)]
    foreign = [np.minimum(hues[i], beside[i - 1]).sum() for i in range(len(videos))]
    assert np.mean(own) > 0.8
    assert np.mean(foreign) < 0.5
    for one in videos[:3]:
        frames = [frame.read().astype(int) for frame in one.frames]
        steps = [abs(after - before).mean() for before, after in pairwise(frames)]
        assert min(steps) > 3
        assert max(steps) < abs(frames[0] - one.references[0][0].read()).mean()


def _hues(image):
    """Shares of 12 hues among all pixels."""
    lab = lab_of_values(image)
    angle = torch.atan2(lab[2], lab[1]).flatten()
    return torch.histc(angle, 12, -torch.pi, torch.pi).numpy() / angle.numel()
