"""Drawn shapes: boxes of the very pixels, the same picture for the same number, and a folder that reads back."""

import numpy as np
import pytest
from pydantic import ValidationError

from gradatim.systems.multigriddet.data import DetectionSettings, open_data
from gradatim.systems.multigriddet.pictures import ShapePictures, write_shapes
from gradatim.systems.multigriddet.shapes import CLASSES, ShapesSettings, draw_scene

SMALL = ShapesSettings(count=6, validate_count=3, size=(48, 64))


def test_a_box_is_the_smallest_that_holds_the_seen_pixels_of_its_object():
    objects = 0
    for index in range(40):
        scene = draw_scene(SMALL, "train", index)
        assert scene.owners.max() == len(scene.boxes) - 1
        for number, (left, top, right, bottom) in enumerate(scene.boxes.astype(int)):
            seen = scene.owners == number
            inside = seen[top:bottom, left:right]
            assert inside.sum() == seen.sum() > 0
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            objects += 1
    assert objects > 60


def test_every_class_occurs_and_some_pictures_are_empty():
    scenes = [draw_scene(ShapesSettings(size=48), "train", index) for index in range(80)]
    assert set(np.concatenate([scene.classes for scene in scenes])) == set(range(len(CLASSES)))
    assert 2 <= sum(len(scene.classes) == 0 for scene in scenes) <= 20


def test_an_object_stands_out_from_what_is_around_it():
    for index in range(30):
        scene = draw_scene(ShapesSettings(objects=1, empty=0), "train", index)
        own, behind = scene.owners == 0, scene.owners == -1
        difference = scene.picture[own].mean(axis=0) - scene.picture[behind].mean(axis=0)
        assert np.abs(difference).max() > 15


def test_a_picture_depends_on_seed_split_and_number_only():
    first = draw_scene(SMALL, "train", 5)
    again = draw_scene(SMALL, "train", 5)
    assert (first.picture == again.picture).all()
    assert (first.boxes == again.boxes).all()
    others = [
        draw_scene(SMALL, "train", 4),
        draw_scene(SMALL, "validate", 5),
        draw_scene(SMALL.model_copy(update={"seed": 1}), "train", 5),
    ]
    assert all((first.picture != other.picture).any() for other in others)


def test_a_written_folder_reads_back_as_what_is_drawn(tmp_path):
    assert write_shapes(tmp_path, SMALL) == {"train": 6, "val": 3}
    for split, count in (("train", 6), ("validate", 3)):
        read = open_data(DetectionSettings(root=tmp_path, size=64), split)
        drawn = open_data(DetectionSettings(size=64, shapes=SMALL), split)
        assert len(read) == len(drawn) == count
        assert read.classes == drawn.classes == CLASSES
        for index in range(count):
            ours, theirs = (one.sample(index, ("image", "boxes"), None) for one in (read, drawn))
            assert (ours["image"] == theirs["image"]).all()
            np.testing.assert_allclose(ours["boxes"], theirs["boxes"], atol=1e-5)


def test_a_misspelt_shape_is_answered_with_the_nearest():
    with pytest.raises(ValidationError, match="Did you mean 'circle'"):
        ShapesSettings(classes=("cirkle",))


def test_the_digest_of_drawn_pictures_follows_their_settings():
    digests = {
        ShapePictures(settings, split).digest((0, 1))
        for settings in (SMALL, SMALL.model_copy(update={"seed": 1}))
        for split in ("train", "validate")
    }
    assert len(digests) == 4
