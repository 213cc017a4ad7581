"""Samples of pairs and of single pictures."""

import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gradatim.errors import DataError
from gradatim.systems.maefuse.data import PairSettings, held_out, open_pairs, sample_shapes
from pictures import pair_root, picture, save

BOTH = ("visible", "infrared")


def test_a_pair_is_luminance_three_times_in_the_unit_range(tmp_path):
    pair_root(tmp_path)
    sample = open_pairs(PairSettings(root=tmp_path), "all").sample(1, BOTH, None)
    y = np.rint(picture(1) @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_allclose(sample["visible"].numpy(), np.stack([y] * 3) / 255, atol=1e-7)
    np.testing.assert_allclose(sample["infrared"].numpy()[0], picture(101, channels=1) / 255, atol=1e-7)
    assert {tuple(value.shape) for value in sample.values()} == {(3, 12, 16)}


def test_infrared_in_color_is_gray_by_default_and_color_as_the_original_has_it(tmp_path):
    save(tmp_path / "vi" / "a.png", picture(0))
    save(tmp_path / "ir" / "a.png", picture(1))
    default = open_pairs(PairSettings(root=tmp_path), "all").sample(0, ("infrared",), None)["infrared"]
    original = PairSettings(root=tmp_path, preprocess="original", size=(12, 16))
    color = open_pairs(original, "all").sample(0, ("infrared",), None)["infrared"]
    assert torch.equal(default[0], default[1])
    np.testing.assert_allclose(color.permute(1, 2, 0).numpy(), picture(1) / 255, atol=1e-7)


def test_both_pictures_of_a_pair_are_cut_and_mirrored_alike(tmp_path):
    for folder in ("vi", "ir"):
        save(tmp_path / folder / "a.png", picture(0, (20, 24), channels=1))
        save(tmp_path / folder / "b.png", picture(1, (20, 24), channels=1))
    dataset = open_pairs(PairSettings(root=tmp_path, crop="8", flip=True, holdout=0), "train")
    whole = picture(0, (20, 24), channels=1)
    seen = set()
    for seed in range(40):
        sample = dataset.sample(0, BOTH, np.random.default_rng(seed))
        alone = dataset.sample(0, ("infrared",), np.random.default_rng(seed))
        assert torch.equal(sample["visible"], sample["infrared"])
        assert torch.equal(sample["infrared"], alone["infrared"])
        part = np.rint(sample["visible"][0].numpy() * 255).astype(np.uint8)
        seen.add(_place(whole, part))
    assert {flip for *_, flip in seen} == {False, True}
    assert len(seen) > 20


def _place(whole, part):
    """Where a part was cut out, and whether it is mirrored."""
    for flip, candidate in ((False, part), (True, part[:, ::-1])):
        windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)
        found = np.argwhere((windows == candidate).all(axis=(2, 3)))
        if len(found):
            return (*found[0], flip)
    raise AssertionError("the part is not in the picture")


def test_only_training_is_random(tmp_path):
    pair_root(tmp_path)
    settings = PairSettings(root=tmp_path, crop=8, flip=True, holdout=("b",))
    train, validate = open_pairs(settings, "train"), open_pairs(settings, "validate")
    assert (train.random, validate.random) == (True, False)
    middle = train.sample(0, BOTH, None)["infrared"]
    np.testing.assert_allclose(middle[0].numpy(), picture(100, channels=1)[2:10, 4:12] / 255, atol=1e-7)
    first, second = (validate.sample(0, BOTH, np.random.default_rng(seed)) for seed in (1, 2))
    assert torch.equal(first["visible"], second["visible"])
    assert not open_pairs(PairSettings(root=tmp_path, size=8, crop=8), "train").random


def test_a_picture_smaller_than_the_crop_is_enlarged_in_its_aspect(tmp_path):
    pair_root(tmp_path, size=(6, 12))
    sample = open_pairs(PairSettings(root=tmp_path, crop=(12, 12)), "all").sample(0, BOTH, None)
    assert sample["visible"].shape == (3, 12, 12)


def test_crops_per_image_lengthen_an_epoch_of_training_only(tmp_path):
    pair_root(tmp_path)
    settings = PairSettings(root=tmp_path, crop=8, crops_per_image=3, holdout=("c",))
    train = open_pairs(settings, "train")
    assert [train.name(index) for index in range(len(train))] == ["a#0", "a#1", "a#2", "b#0", "b#1", "b#2"]
    assert len(open_pairs(settings, "validate")) == 1


def test_what_is_held_out_is_spread_evenly_and_the_same_every_time():
    names = [f"{i:02d}" for i in range(20)]
    assert sorted(held_out(names, 0.2)) == ["02", "07", "12", "17"]
    assert held_out(names, 0.0) == frozenset()
    assert len(held_out(names, 0.001)) == 1
    assert len(held_out(names[:1], 0.5)) == 0
    assert held_out(["x/a", "y/a", "y/b"], ("a", "y/b")) == {"x/a", "y/a", "y/b"}
    with pytest.raises(DataError, match=r"unknown name '03x'\. Did you mean '03'\?"):
        held_out(names, ("03x",))


def test_training_and_validation_share_nothing_and_miss_nothing(tmp_path):
    pair_root(tmp_path, [f"{i}" for i in range(10)])
    for samples in ("pairs", "images"):
        settings = PairSettings(root=tmp_path, samples=samples, holdout=0.3)
        splits = {split: open_pairs(settings, split) for split in ("train", "validate", "all")}
        names = {split: {data.name(i) for i in range(len(data))} for split, data in splits.items()}
        assert not names["train"] & names["validate"]
        assert names["train"] | names["validate"] == names["all"]
    pairs = open_pairs(PairSettings(root=tmp_path, holdout=0.3), "validate")
    held = {pairs.name(i) for i in range(len(pairs))}
    assert {name.rpartition("/")[2] for name in names["validate"]} == held


def test_an_empty_split_is_refused(tmp_path):
    pair_root(tmp_path)
    with pytest.raises(DataError, match=r"nothing is held out for validation: holdout is 0\.0 of 3 samples"):
        open_pairs(PairSettings(root=tmp_path, holdout=0), "validate")
    with pytest.raises(DataError, match="everything is held out"):
        open_pairs(PairSettings(root=tmp_path, holdout=("a", "b", "c")), "train")


def test_images_come_from_both_folders_or_a_plain_one(tmp_path):
    pair_root(tmp_path / "pairs")
    for name in ("x.png", "y.jpg"):
        save(tmp_path / "plain" / name, picture())
        save(tmp_path / "root" / "images" / name, picture())
    names = {}
    for root in ("pairs", "plain", "root"):
        data = open_pairs(PairSettings(root=tmp_path / root, samples="images"), "all")
        assert data.fields == ("image",)
        assert data.sample(0, ("image",), None)["image"].shape == (3, 12, 16)
        names[root] = [data.name(i) for i in range(len(data))]
    assert names["pairs"] == ["infrared/a", "infrared/b", "infrared/c", "visible/a", "visible/b", "visible/c"]
    assert names["plain"] == names["root"] == ["x", "y"]


def test_pictures_of_several_sizes_need_size_or_crop(tmp_path):
    pair_root(tmp_path, ("a",))
    pair_root(tmp_path, ("b",), size=(10, 16))
    with pytest.raises(DataError, match=r"pictures have 2 sizes \(10 x 16, 12 x 16, \.\.\.\): set `size` or `crop`"):
        open_pairs(PairSettings(root=tmp_path), "train")
    assert len(open_pairs(PairSettings(root=tmp_path), "all")) == 2
    assert len(open_pairs(PairSettings(root=tmp_path, size=8, holdout=0), "train")) == 2


def test_the_digest_follows_contents_names_and_settings_but_not_places(tmp_path):
    digests = [open_pairs(PairSettings(root=pair_root(tmp_path / name)), "all").digest() for name in ("x", "y")]
    assert digests[0] == digests[1]
    root = tmp_path / "x"
    digests.append(open_pairs(PairSettings(root=root, size=8), "all").digest())
    digests.append(open_pairs(PairSettings(root=root, holdout=0), "train").digest())
    by_share, by_name = (open_pairs(PairSettings(root=root, holdout=h), "train") for h in (0.3, ("b",)))
    assert by_share.digest() == by_name.digest()
    (root / "vi" / "a.png").rename(root / "vi" / "0.png")
    (root / "ir" / "a.png").rename(root / "ir" / "0.png")
    digests.append(open_pairs(PairSettings(root=root), "all").digest())
    save(root / "vi" / "0.png", picture(9))
    digests.append(open_pairs(PairSettings(root=root), "all").digest())
    assert len(set(digests)) == len(digests) - 1


def test_a_file_is_decoded_once_within_the_budget(tmp_path, monkeypatch):
    pair_root(tmp_path, ("a",))
    kept = open_pairs(PairSettings(root=tmp_path), "all")
    forgetful = open_pairs(PairSettings(root=tmp_path, memory=0), "all")
    for dataset in (kept, forgetful):
        dataset.sample(0, BOTH, None)
    (tmp_path / "vi" / "a.png").unlink()
    assert kept.sample(0, BOTH, None)["visible"].shape == (3, 12, 16)
    for dataset in (forgetful, pickle.loads(pickle.dumps(kept))):
        with pytest.raises(DataError, match="No such file"):
            dataset.sample(0, BOTH, None)
        dataset.sample(0, ("infrared",), None)


def test_a_field_that_does_not_exist_is_refused(tmp_path):
    dataset = open_pairs(PairSettings(root=pair_root(tmp_path)), "all")
    with pytest.raises(DataError, match=r"unknown field 'visble'\. Did you mean 'visible'\?"):
        dataset.sample(0, ("visble",), None)


def test_settings_read_text_as_yaml_gives_it_and_refuse_what_they_do_not_know():
    settings = PairSettings(root="data", holdout="1e-1", size="64", crop=["32", "48"], flip="true", memory="12")
    assert (settings.holdout, settings.size, settings.crop, settings.flip) == (0.1, (64, 64), (32, 48), True)
    assert len(PairSettings(root=["x", "y"]).root) == 2
    for wrong in ({"sizes": 3}, {"size": 0}, {"holdout": 1.5}, {"crop": True}, {"root": []}):
        with pytest.raises(ValidationError):
            PairSettings(**{"root": "data", **wrong})


def test_shapes_are_known_without_data():
    assert sample_shapes(PairSettings(root="x", crop=(8, 16)), (32, 32)) == dict.fromkeys(BOTH, (3, 8, 16))
    assert sample_shapes(PairSettings(root="x"), (32, 48))["visible"] == (3, 32, 48)
    assert sample_shapes(PairSettings(root="x", preprocess="original", samples="images"), (32, 48)) == {
        "image": (3, 640, 640)
    }


def test_a_folder_of_paired_folders_stands_for_them_all(tmp_path):
    from gradatim.systems.maefuse.synthetic import write_scenes

    for name in ("day", "night"):
        write_scenes(tmp_path / name, 2, size=(32, 40))

    pairs = open_pairs(PairSettings(root=tmp_path, holdout=0), "train")

    assert [pairs.name(i) for i in range(len(pairs))] == [
        f"{root}/scene_{i:03d}" for root in ("day", "night") for i in range(2)
    ]
