"""Samples for the detector: letterboxed pictures, boxes in their pixels, splits."""

import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from annotated import brought_back, picture, yolo_folder
from gradatim.data.batches import plain_batches
from gradatim.data.image import read_image
from gradatim.errors import DataError
from gradatim.systems.multigriddet.anchors import class_counts, class_weights
from gradatim.systems.multigriddet.augment import Augmentation
from gradatim.systems.multigriddet.data import DetectionSettings, misfits, open_data, sample_shapes, with_size
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.model import MultiGridDetSettings
from gradatim.systems.multigriddet.pictures import write_shapes
from gradatim.systems.multigriddet.shapes import ShapesSettings

BOTH = ("image", "boxes")
ONE = "1 0.5 0.5 0.2 0.4\n"


def test_a_sample_is_the_letterboxed_picture_with_boxes_in_its_pixels(tmp_path):
    yolo_folder(tmp_path, {"a": ONE + "0 0.1 0.25 0.2 0.5\n"})

    dataset = open_data(DetectionSettings(root=tmp_path, size=(64, 60)), "all")
    sample = dataset.sample(0, BOTH, None)

    assert sample["image"].shape == (3, 64, 60)
    assert sample["image"].dtype == sample["boxes"].dtype == torch.float32
    # 20 x 30 becomes 40 x 60, 12 rows of gray above and below.
    assert (sample["image"][:, :12] == 128 / 255).all()
    assert (sample["image"][:, 52:] == 128 / 255).all()
    torch.testing.assert_close(sample["boxes"], torch.tensor([[24.0, 24, 36, 40, 1], [0, 12, 12, 32, 0]]))
    assert dataset.name(0) == "a.png"
    assert dataset.classes == ("cat", "dog")


def test_boxes_follow_the_pixels_of_a_letterbox_and_its_inverse_brings_them_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        source, target = tuple(rng.integers(5, 90, 2)), tuple(32 * rng.integers(1, 4, 2))
        box = Letterbox(source, target)
        boxes = rng.uniform(0, 1, (6, 4)) * np.array([source[1], source[0]] * 2)
        whole = box.boxes(np.array([[0.0, 0, source[1], source[0]]]))[0]
        shown = box.picture(np.full((*source, 3), 255, np.uint8))
        rows, columns = np.flatnonzero((shown == 255).all(-1).any(1)), np.flatnonzero((shown == 255).all(-1).any(0))
        assert whole.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(brought_back(box.boxes(boxes), box), boxes, atol=1e-9)


def test_the_originals_inverse_rounds_sides_and_halves_exactly():
    box = Letterbox((37, 53), (96, 96))
    # new = round(37 * 96 / 53) = 67 rows, 96 columns; offset (96 - 67) / 2 = 14.5.
    np.testing.assert_allclose(
        brought_back([[0, 14.5, 96, 81.5], [48, 48, 60, 70]], box, published=True),
        [[0, 0, 53, 37], [26.5, 18.5, 33.125, 30.649254]],
        atol=1e-6,
    )
    # 29 * 96 / 53 = 52.5 rows are rounded to 53, where the letterbox cuts them to 52.
    box = Letterbox((29, 53), (96, 96))
    np.testing.assert_allclose(brought_back([[0, 21.5, 96, 74.5]], box, published=True), [[0, 0, 53, 29]], atol=1e-6)
    np.testing.assert_allclose(brought_back([[0.0, 22, 96, 74]], box), [[0, 0, 53, 29]], atol=1e-6)


def counted(tmp_path, **changes):
    chosen = {"count": 9, "validate_count": 4, "size": 64, "objects": 2}
    write_shapes(tmp_path / "shapes", ShapesSettings(**chosen))
    return DetectionSettings(root=tmp_path / "shapes", size=64, **changes)


@pytest.mark.parametrize("method", ["auto", "inverse", "sqrt_inverse"])
def test_weights_of_classes_follow_from_the_training_objects_in_both_splits(tmp_path, method):
    settings = counted(tmp_path, class_weights=method)
    train, validate = open_data(settings, "train"), open_data(settings, "validate")
    labels = [train.record(n).classes for n in range(len(train))]
    expected = class_weights(class_counts(labels, len(train.classes)), "balanced" if method == "auto" else method)

    for split in (train, validate):
        sample = split.sample(1, split.fields, None)
        np.testing.assert_array_equal(sample["class_weights"], expected)
        assert [*split.sample(0, ("class_weights",), None)] == ["class_weights"]
    assert train.digest() != open_data(counted(tmp_path), "train").digest()


def test_weights_of_classes_may_be_given_one_for_each(tmp_path):
    settings = counted(tmp_path, class_weights=[1, 2, 3, 4, 5, 0.5], augment={"flip": 0.5})
    data = open_data(settings, "train")

    assert data.sample(0, data.fields, np.random.default_rng(0))["class_weights"].tolist() == [1, 2, 3, 4, 5, 0.5]
    assert not misfits(MultiGridDetSettings(classes=6, image_size=64), data, data.fields)
    short = open_data(counted(tmp_path, class_weights=[1, 2]), "train")
    (line,) = misfits(MultiGridDetSettings(classes=6, image_size=64), short, short.fields)
    assert line == "data.class_weights has 2 numbers, the data have 6 classes"


def test_an_extremely_long_picture_keeps_at_least_one_row():
    box = Letterbox((1, 500), (32, 32))
    assert box.content == (1, 32)
    assert box.picture(np.zeros((1, 500, 3), np.uint8)).shape == (32, 32, 3)


def test_a_picture_without_objects_has_boxes_of_no_rows_and_batches_pad(tmp_path):
    yolo_folder(tmp_path, {"a": ONE, "b": None, "c": ""})
    dataset = open_data(DetectionSettings(root=tmp_path, size=32), "all")

    (_, batch), *_ = plain_batches(dataset, BOTH, 3)

    assert batch["boxes"].shape == (3, 1, 5)
    assert batch["boxes_mask"].tolist() == [[True], [False], [False]]


def test_boxes_alone_decode_no_picture(tmp_path):
    yolo_folder(tmp_path, {"a": ONE})
    dataset = open_data(DetectionSettings(root=tmp_path, size=32), "all")
    (tmp_path / "images/train/a.png").unlink()
    assert dataset.sample(0, ("boxes",), None)["boxes"].shape == (1, 5)


def test_a_file_that_changed_since_the_check_is_refused(tmp_path):
    yolo_folder(tmp_path, {"a": ONE})
    dataset = open_data(DetectionSettings(root=tmp_path, size=32), "all")
    picture(tmp_path / "images/train/a.png", (30, 30))
    with pytest.raises(DataError, match="when it was checked"):
        dataset.sample(0, BOTH, None)


def test_validation_is_the_sets_own_split_where_there_is_one(tmp_path):
    yolo_folder(tmp_path, {f"t{i}": ONE for i in range(10)})
    yolo_folder(tmp_path, {"v": ONE}, split="val2017")
    sizes = [len(open_data(DetectionSettings(root=tmp_path), split)) for split in ("train", "validate", "all")]
    assert sizes == [10, 1, 10]
    both = [open_data(DetectionSettings(root=tmp_path, holdout=0.3), split) for split in ("train", "validate")]
    assert [len(one) for one in both] == [7, 3]


def test_validation_is_held_out_where_there_is_no_split_for_it(tmp_path):
    yolo_folder(tmp_path, {f"t{i:02d}": ONE for i in range(20)}, split="train")
    train, validate, everything = (open_data(DetectionSettings(root=tmp_path), s) for s in ("train", "validate", "all"))
    names = [{one.name(i) for i in range(len(one))} for one in (train, validate, everything)]
    assert [len(one) for one in names] == [18, 2, 20]
    assert names[0] | names[1] == names[2]
    with pytest.raises(DataError, match="nothing is held out"):
        open_data(DetectionSettings(root=tmp_path, holdout=0), "validate")


def test_validation_may_stand_in_another_folder(tmp_path):
    yolo_folder(tmp_path / "a", {f"t{i}": ONE for i in range(4)})
    yolo_folder(tmp_path / "b", {"v": ONE})
    settings = DetectionSettings(root=tmp_path / "a", validate_root=tmp_path / "b")
    assert [len(open_data(settings, split)) for split in ("train", "validate")] == [4, 1]


def test_a_limit_takes_pictures_from_the_whole_list(tmp_path):
    yolo_folder(tmp_path, {f"t{i}": ONE for i in range(9)})
    dataset = open_data(DetectionSettings(root=tmp_path, holdout=0, limit=3), "train")
    assert [dataset.name(i) for i in range(3)] == ["t0.png", "t3.png", "t6.png"]


def test_the_digest_follows_pixels_boxes_and_size_only(tmp_path):
    yolo_folder(tmp_path, {"a": ONE, "b": None})
    settings = DetectionSettings(root=tmp_path, size=32)
    first = open_data(settings, "all").digest()
    assert open_data(settings.model_copy(update={"memory": 0, "check": "full"}), "all").digest() == first
    others = [open_data(settings.model_copy(update={"size": (32, 64)}), "all").digest()]
    (tmp_path / "labels/train/a.txt").write_text(ONE.replace("0.4", "0.5"))
    others.append(open_data(settings, "all").digest())
    picture(tmp_path / "images/train/b.png", seed=9)
    others.append(open_data(settings, "all").digest())
    assert len({first, *others}) == 4


def test_pictures_are_kept_within_the_budget_and_not_sent_to_workers(tmp_path, monkeypatch):
    yolo_folder(tmp_path, {"a": ONE, "b": ONE})
    reads = []
    monkeypatch.setattr(
        "gradatim.systems.multigriddet.pictures.read_image", lambda path: (reads.append(path.stem), read_image(path))[1]
    )
    kept = open_data(DetectionSettings(root=tmp_path, size=32), "all")
    first = [kept.sample(i, BOTH, None)["image"] for i in (0, 1, 0, 1)]
    assert reads == ["a", "b"]
    assert torch.equal(first[0], first[2])
    copy = pickle.loads(pickle.dumps(kept))
    assert torch.equal(copy.sample(1, BOTH, None)["image"], first[1])
    assert reads == ["a", "b", "b"]
    bare = open_data(DetectionSettings(root=tmp_path, size=32, memory=0), "all")
    for _ in range(2):
        bare.sample(0, BOTH, None)
    assert reads[3:] == ["a", "a"]


def test_an_unknown_field_is_answered_with_the_nearest():
    dataset = open_data(DetectionSettings(size=32), "train")
    with pytest.raises(DataError, match="Did you mean 'boxes'"):
        dataset.sample(0, ("boxs",), None)


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="set one of them"):
        DetectionSettings(root=tmp_path, holdout=0.1, validate_split="val")
    with pytest.raises(ValidationError, match="shapes are drawn"):
        DetectionSettings(kind="shapes", classes=("a",))


def test_shapes_and_size_are_told_without_reading():
    settings = DetectionSettings(root="nowhere", size=64)
    told = sample_shapes(settings, None)
    assert {name: tuple(value.shape) for name, value in told.items()} == {"image": (3, 64, 64), "boxes": (8, 5)}
    model = type("Model", (), {"image_size": (96, 128)})()
    assert with_size(model, {"root": "x"}) == {"root": "x", "size": (96, 128)}
    assert with_size(model, {"size": 32}) == {"size": 32}


def test_coco128_reads_with_every_object(data_root):
    root = data_root / "coco128"
    for split, folder, count in (("train", "train2017", 128), ("validate", "val2017", 68)):
        dataset = open_data(DetectionSettings(root=root, size=96, check="full"), split)
        lines = sum(len(path.read_text().split("\n")) for path in (root / "labels" / folder).glob("*.txt"))
        blank = sum(path.read_text().split("\n").count("") for path in (root / "labels" / folder).glob("*.txt"))
        assert len(dataset) == count
        assert sum(len(dataset.record(i).boxes) for i in range(count)) == lines - blank > 200
        assert (dataset.classes[0], dataset.classes[79], len(dataset.classes)) == ("person", "toothbrush", 80)


def test_only_training_is_augmented_and_only_with_a_source_of_chance(tmp_path):
    yolo_folder(tmp_path, {f"t{i}": ONE for i in range(5)})
    plain = DetectionSettings(root=tmp_path, size=64)
    settings = plain.model_copy(update={"augment": Augmentation.model_validate("original")})
    train, everything = open_data(settings, "train"), open_data(settings, "all")
    assert (train.random, everything.random, open_data(plain, "train").random) == (True, False, False)
    bare = everything.sample(0, BOTH, None)
    for dataset, random in ((train, None), (everything, np.random.default_rng(0))):
        sample = dataset.sample(0, BOTH, random)
        assert all(torch.equal(sample[name], bare[name]) for name in BOTH)
    first, again = (train.sample(0, BOTH, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], bare["image"])
    assert first["image"].shape == (3, 64, 64)
    assert torch.equal(train.sample(0, ("boxes",), np.random.default_rng(7))["boxes"], first["boxes"])


def test_a_stored_picture_for_augmentation_is_no_larger_than_it_is_used(tmp_path):
    yolo_folder(tmp_path, {"a": ONE, "b": ONE})
    picture(tmp_path / "images/train/a.png", (400, 600))
    settings = DetectionSettings(root=tmp_path, size=32, holdout=0, augment={"flip": 1.0, "scale": (1.0, 1.5)})
    dataset = open_data(settings, "train")
    dataset.sample(0, BOTH, np.random.default_rng(0))
    # 0.2 x 0.4 of the picture, whatever resolution it was kept in.
    found = dataset._stored(0)
    assert found.picture.shape == (32, 49, 3)
    assert found.size == (400, 600)
    np.testing.assert_allclose(found.boxes, [[240, 120, 360, 280]])


def test_a_batch_is_resized_as_a_whole_with_its_boxes(tmp_path):
    yolo_folder(tmp_path, {f"t{i}": ONE for i in range(3)})
    settings = DetectionSettings(root=tmp_path, size=(64, 96), holdout=0, sizes=(32, 160))
    dataset = open_data(settings, "train")
    assert dataset.random
    (_, batch), *_ = plain_batches(dataset, BOTH, 3)
    batch = {**batch, "image": torch.zeros(3, 3, 64, 96)}
    left, top, right, bottom = (round(v) for v in batch["boxes"][0, 0, :4].tolist())
    batch["image"][:, :, top:bottom, left:right] = 1
    sizes = set()
    for seed in range(40):
        result = dataset.together(batch, np.random.default_rng(seed))
        height, width = result["image"].shape[2:]
        sizes.add((height, width))
        seen = result["image"][0, 0] > 0.5
        rows, columns = torch.nonzero(seen.any(1)).flatten(), torch.nonzero(seen.any(0)).flatten()
        expected = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        torch.testing.assert_close(result["boxes"][0, 0, :4], expected, atol=1.5, rtol=0)
        assert torch.equal(result["boxes"][..., 4], batch["boxes"][..., 4])
        assert torch.equal(result["boxes_mask"], batch["boxes_mask"])
    assert sizes == {(32, 32), (32, 64), (64, 96), (96, 128), (96, 160)}
    assert batch["image"].shape == (3, 3, 64, 96)
    alone = dataset.together({"boxes": batch["boxes"]}, np.random.default_rng(1))
    assert set(alone) == {"boxes"}


def test_batches_keep_their_size_where_none_is_asked_for(tmp_path):
    yolo_folder(tmp_path, {f"t{i}": ONE for i in range(5)})
    fixed = open_data(DetectionSettings(root=tmp_path, size=64), "train")
    validation = open_data(DetectionSettings(root=tmp_path, size=64, sizes=(32, 96)), "validate")
    for dataset in (fixed, validation):
        batch = {"image": torch.zeros(1, 3, 64, 64)}
        assert dataset.together(batch, np.random.default_rng(0)) is batch
    with pytest.raises(ValidationError, match="multiples of 32"):
        DetectionSettings(sizes=(40, 96))
