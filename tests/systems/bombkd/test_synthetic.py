"""Clips of motions: always the same, told apart by time alone, on disk or drawn on the spot."""

import numpy as np
import pytest
from pydantic import ValidationError

from clips import numbered_clip
from gradatim.data.image import write_image
from gradatim.errors import DataError
from gradatim.systems.bombkd.data import ClipSettings, open_clips
from gradatim.systems.bombkd.motion import CLASSES
from gradatim.systems.bombkd.synthetic import MotionSettings, open_motion, write_clips

EVERY = np.arange(8)


def motion(**options) -> ClipSettings:
    view = {"frames": 8, "resize": 32, "crop": 32}
    return ClipSettings.model_validate({"dataset": "motion", "student": view, "options": options})


def gray_clips(count: int, split: str = "train", **options) -> tuple[np.ndarray, np.ndarray]:
    """(count, 8, 32, 32) float32, standardized clip by clip, and labels."""
    clips = open_motion(MotionSettings(frames=8, count=count, validate_count=count, **options), split)
    gray = np.stack([clips.read(i, EVERY).mean(axis=3) for i in range(count)]).astype(np.float32)
    gray -= gray.mean(axis=(1, 2, 3), keepdims=True)
    gray /= gray.std(axis=(1, 2, 3), keepdims=True)
    return gray, np.array([clips.label(i) for i in range(count)])


def of_frames(gray: np.ndarray, frame: int) -> np.ndarray:
    """Everything that a linear classifier could take from one frame: pixels, their squares and edges."""
    picture = gray[:, frame]
    coarse = picture.reshape(-1, 8, 4, 8, 4)
    edges = [np.abs(np.diff(picture, axis=axis)).mean(axis=(1, 2))[:, None] for axis in (1, 2)]
    return np.concatenate(
        [coarse.mean(axis=(2, 4)).reshape(-1, 64), coarse.std(axis=(2, 4)).reshape(-1, 64), *edges], axis=1
    )


def of_differences(gray: np.ndarray) -> np.ndarray:
    """How much each place changes, and how changes follow edges, in a grid of cells."""
    change = np.diff(gray, axis=1)
    across, down = np.gradient(gray, axis=(3, 2))
    products = [change * across[:, :-1], change * down[:, :-1], np.abs(change), across[:, :-1] ** 2]
    cells = [p.reshape(len(gray), -1, 8, 4, 8, 4).mean(axis=(1, 3, 5)).reshape(len(gray), -1) for p in products]
    return np.concatenate([*cells, np.sqrt((change**2).mean(axis=(2, 3)))], axis=1)


def accuracy(train, train_labels, test, test_labels) -> float:
    linear_model = pytest.importorskip("sklearn.linear_model")
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    model = linear_model.LogisticRegression(C=0.01, max_iter=2000).fit((train - mean) / deviation, train_labels)
    return model.score((test - mean) / deviation, test_labels)


def test_a_clip_is_the_same_whatever_was_drawn_before_it():
    first, second = (open_motion(MotionSettings(frames=8), "train") for _ in range(2))
    for index in range(5):
        first.read(index, EVERY)
    np.testing.assert_array_equal(first.read(7, EVERY), second.read(7, EVERY))
    np.testing.assert_array_equal(first.read(7, EVERY)[[5, 2]], second.read(7, np.array([5, 2])))


def test_seeds_splits_and_numbers_give_other_clips():
    some = [
        open_motion(MotionSettings(frames=8, seed=seed), split).read(index, EVERY)
        for seed, split, index in ((0, "train", 0), (1, "train", 0), (0, "validate", 0), (0, "train", len(CLASSES)))
    ]
    for place, clip in enumerate(some):
        assert clip.shape == (8, 32, 32, 3)
        assert all((clip != other).mean() > 0.9 for other in some[place + 1 :])


@pytest.mark.slow
def test_time_alone_tells_the_classes_apart():
    train, labels = gray_clips(1400)
    test, test_labels = gray_clips(700, "validate")
    chance = 1 / len(CLASSES)
    for frame in (0, 3, 7):
        found = accuracy(of_frames(train, frame), labels, of_frames(test, frame), test_labels)
        print(f"frame {frame}: {found:.3f}, chance {chance:.3f}")
        assert found < chance + 0.035
    found = accuracy(of_differences(train), labels, of_differences(test), test_labels)
    print(f"differences: {found:.3f}")
    assert found > 0.6


def flow_of(clip: np.ndarray) -> np.ndarray:
    """Motion (x, y) of the content from frame to frame, by least squares over the whole clip (T, H, W)."""
    smooth = sum(np.roll(clip, (y, x), axis=(1, 2)) for x in (-1, 0, 1) for y in (-1, 0, 1))[:, 2:-2, 2:-2] / 9
    change = np.diff(smooth, axis=0).ravel()
    down, across = (gradient[:-1].ravel() for gradient in np.gradient(smooth, axis=(1, 2)))
    return -np.linalg.lstsq(np.stack([across, down], axis=1), change, rcond=None)[0]


def test_motions_go_where_their_names_say():
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    for name, way in ((f"{kind}_{side}", way) for kind in ("pan", "object") for side, way in ways.items()):
        clips = open_motion(MotionSettings(classes=(name,), frames=24), "train")
        flows = [flow_of(clips.read(i, np.arange(24)).mean(axis=3)) for i in range(30)]
        # What a camera sees goes the other way.
        expected = np.array(way) * (-1 if name.startswith("pan") else 1)
        found = np.median(flows, axis=0)
        assert found @ expected > 0.05, name
        assert abs(found @ expected[::-1]) < 0.03, name


def test_zooms_and_turns_go_where_their_names_say():
    y, x = np.mgrid[-15.5:16, -15.5:16]
    for name, expected in {
        "zoom_in": (1, 0),
        "zoom_out": (-1, 0),
        "rotate_left": (0, 1),
        "rotate_right": (0, -1),
    }.items():
        clips = open_motion(MotionSettings(classes=(name,), frames=24), "train")
        found = []
        for i in range(30):
            clip = clips.read(i, np.arange(24)).mean(axis=3)
            down, across = np.gradient(clip[:-1], axis=(1, 2))
            # Outward motion, and motion against the clock as seen with y downwards.
            fields = [across * x + down * y, across * y - down * x]
            solved = np.linalg.lstsq(
                np.stack([f.ravel() for f in fields], axis=1), np.diff(clip, axis=0).ravel(), rcond=None
            )
            found.append(-solved[0])
        middle = np.median(found, axis=0)
        assert middle @ expected > 0.003, name
        assert abs(middle @ expected[::-1]) < 0.3 * (middle @ expected), name


def test_motion_is_a_data_set_with_the_fields_of_clips_from_files():
    data = open_clips(motion(count=20, validate_count=6, frames=10), "train")
    sample = data.sample(3, data.fields, None)
    assert (len(data), len(open_clips(motion(validate_count=6), "validate"))) == (20, 6)
    assert sample["student_clip"].shape == (8, 3, 32, 32)
    assert sample["label"].item() == 3
    assert data.classes == CLASSES
    assert data.name(3) == "train/pan_down/clip_00003"
    assert data.digest() == open_clips(motion(count=20, validate_count=6, frames=10), "train").digest()
    assert data.digest() != open_clips(motion(count=20, seed=1), "train").digest()


def test_written_clips_are_read_as_folders_and_show_the_same(tmp_path):
    chosen = MotionSettings(count=4, validate_count=2, frames=8, size=(32, 40), classes=("zoom_in", "shake"))
    assert write_clips(tmp_path, chosen) == {"train": 4, "validation": 2}

    files = ClipSettings(dataset="folders", root=tmp_path, student=motion().student, validate_split="validation")
    data, drawn = open_clips(files, "train"), open_motion(chosen, "train")

    assert data.classes == ("shake", "zoom_in")
    assert len(open_clips(files, "validate")) == 2
    index = next(i for i in range(4) if data.name(i) == "train/shake/clip_00003.mp4")
    clip = data.sample(index, ("student_clip",), None)["student_clip"].permute(0, 2, 3, 1).numpy()
    assert np.abs(clip.astype(int) - drawn.read(3, EVERY)[:, :, 4:36]).mean() < 12


def test_pictures_of_the_user_are_looked_at_and_not_shared_between_splits(tmp_path):
    for number in range(6):
        write_image(tmp_path / f"{number}.png", numbered_clip(1, size=(20 + number, 30), seed=number)[0] + 40 * number)
    chosen = MotionSettings(pictures=tmp_path, frames=8)
    train, held = open_motion(chosen, "train"), open_motion(chosen, "validate")
    assert [len(train.files), len(held.files)] == [4, 2]
    assert not set(train.files) & set(held.files)
    assert train.read(0, EVERY).shape == (8, 32, 32, 3)
    before = train.digest()
    write_image(train.files[0], np.zeros((9, 9, 3), np.uint8))
    assert train.digest() != before
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds 0 pictures"):
        open_motion(MotionSettings(pictures=tmp_path / "none"), "train")


def test_a_list_and_one_number_are_sizes_and_one_frame_is_a_clip():
    assert MotionSettings.model_validate({"size": [16, 24]}).size == (16, 24)
    assert MotionSettings.model_validate({"size": 16}).size == (16, 16)
    clips = open_motion(MotionSettings(size=(16, 24), frames=1), "train")
    assert clips.read(0, np.arange(1)).shape == (1, 16, 24, 3)
    with pytest.raises(ValidationError):
        MotionSettings.model_validate({"classes": []})
