"""Pairs of prints: correspondences that hold, the same pairs in every epoch of validation, and people kept apart."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gradatim.data.batches import collated
from gradatim.data.random import keyed_generator
from gradatim.errors import DataError
from gradatim.systems.ifvit.alignment_file import write_alignments
from gradatim.systems.ifvit.corruption import Corruption
from gradatim.systems.ifvit.data import FingerprintSettings, glance_data, misfits, open_data, sample_shapes
from gradatim.systems.ifvit.datasets.write import write_layout
from gradatim.systems.ifvit.fingers import PrintStyle
from gradatim.systems.ifvit.pairs import genuine_pairs, protocol_pairs
from gradatim.systems.ifvit.prints import background, fitted, read_print
from gradatim.systems.ifvit.sources import FingersSettings
from gradatim.systems.ifvit.store import PrintStore
from gradatim.systems.ifvit.warping import motion, resampled

CLEAN = PrintStyle(noise=0, pressure=0)
FEW = FingersSettings(fingers=3, validate_fingers=2, impressions=3)
DENSE = FingerprintSettings(size=64, drawn=FEW, points=100)
MATCHER = DENSE.model_copy(update={"samples": "matcher", "roi": 32})


def draw(dataset, index, epoch=0):
    return dataset.sample(index, dataset.fields, keyed_generator(0, "stage", epoch, index))


@pytest.mark.parametrize("settings", [DENSE, MATCHER, MATCHER.model_copy(update={"enhance": True})])
def test_samples_have_the_stated_fields_shapes_and_types(settings):
    dataset = open_data(settings, "train")
    shapes = sample_shapes(settings, None)
    assert tuple(shapes) == settings.fields or set(shapes) == set(settings.fields)
    for index in range(len(dataset)):
        sample = draw(dataset, index)
        assert tuple(sample) == dataset.fields
        for name, value in sample.items():
            assert value.dtype == shapes[name].dtype
            if name != "points":
                assert value.shape == shapes[name].shape
                assert 0 <= value.float().abs().max() <= (1 if "finger" not in name else 2)
        assert (sample["label"] == 1) == (sample["finger1"] == sample["finger2"])
        assert len(sample["points"]) <= settings.points
        assert (len(sample["points"]) > 20) == bool(sample["label"] == 1)


def test_points_beyond_a_samples_own_are_padded_and_masked():
    dataset = open_data(DENSE, "train")
    batch = collated([draw(dataset, index) for index in (0, len(dataset) - 1)], ragged=dataset.ragged)
    assert batch["points"].shape == (2, 100, 4)
    assert batch["points_mask"].tolist() == [[True] * 100, [False] * 100]


def agreement(sample, at):
    """Correlation of the values that both pictures have at corresponding points."""
    first, second = (sample[name][0].numpy() for name in ("image1", "image2"))
    points = sample["points"].numpy().astype(np.float64)
    values = resampled(first, points[None, :, :2])[0], resampled(second, points[None, :, 2:] + at)[0]
    return np.corrcoef(*values)[0, 1]


@pytest.mark.parametrize("samples", ["dense", "matcher"])
@pytest.mark.parametrize("corruption", [None, Corruption(noise=0, pressure=0)])
def test_pictures_agree_at_corresponding_points(samples, corruption):
    settings = DENSE.model_copy(
        update={
            "samples": samples,
            "size": 128,
            "points": 2000,
            "corruption": corruption,
            "drawn": FEW.model_copy(update={"style": CLEAN}),
        }
    )
    dataset = open_data(settings, "train")
    for index in (0, 4, 8):
        sample = draw(dataset, index)
        assert agreement(sample, (0, 0)) > 0.75
        assert agreement(sample, (3, 3)) < 0.5


def test_the_matchers_pictures_lie_on_one_another():
    dataset = open_data(MATCHER, "train")
    for index in range(3):
        sample = draw(dataset, index)
        points = sample["points"]
        # What is left after the rigid part is the skin's bend.
        assert (points[:, :2] - points[:, 2:]).norm(dim=1).median() < 4
        assert (sample["image1"][0][~sample["overlap"]] == 0).all()
        assert sample["overlap"].float().mean() > 0.1


def test_points_follow_an_alignment_that_is_wrong():
    clean = FEW.model_copy(update={"style": CLEAN})
    settings = MATCHER.model_copy(update={"misplaced": 0.1, "size": 128, "drawn": clean})
    dataset = open_data(settings, "train")
    away = []
    for index in range(4):
        sample = draw(dataset, index)
        points = sample["points"]
        away.append(float((points[:, :2] - points[:, 2:]).norm(dim=1).median()))
        assert agreement(sample, (0, 0)) > 0.75
    assert max(away) > 5


def test_training_differs_between_epochs_and_validation_does_not():
    train, validate = open_data(DENSE, "train"), open_data(DENSE, "validate")
    assert train.random
    assert not validate.random
    imposter = len(train) - 1
    drawn = {draw(train, imposter, epoch)["image1"].numpy().tobytes() for epoch in range(6)}
    assert len(drawn) > 1
    assert (draw(train, 0, 0)["points"] != draw(train, 0, 1)["points"]).any()
    for index in range(len(validate)):
        first, again = (validate.sample(index, validate.fields, None) for _ in range(2))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert validate.pair(index).genuine == bool(first["label"] == 1)


@pytest.mark.parametrize("settings", [DENSE, MATCHER])
def test_a_sample_depends_on_its_key_only_also_in_a_copy_that_was_pickled(settings):
    first = open_data(settings, "train")
    second = pickle.loads(pickle.dumps(first))
    draw(second, 5)
    ours, theirs = draw(first, 2), draw(second, 2)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_no_finger_of_validation_is_one_of_training():
    train, validate = open_data(DENSE, "train"), open_data(DENSE, "validate")
    assert (len(train.classes), len(validate.classes)) == (3, 2)
    assert not set(train.classes) & set(validate.classes)
    assert not np.array_equal(train.source.picture(0), validate.source.picture(0))


def test_the_stated_share_of_the_pairs_are_imposters():
    for share, expected in ((0.25, 3), (0.5, 9), (0.0, 0)):
        dataset = open_data(DENSE.model_copy(update={"imposters": share}), "train")
        labels = [int(dataset.sample(index, ("label",), None)["label"]) for index in range(len(dataset))]
        assert labels.count(-1) == expected
        assert labels.count(1) == 9
    assert len(open_data(MATCHER.model_copy(update={"limit": 4}), "train")) == 4


def test_validation_by_the_competitions_protocol_compares_first_prints():
    settings = MATCHER.model_copy(update={"protocol": "fvc", "drawn": FEW.model_copy(update={"validate_fingers": 4})})
    validate = open_data(settings, "validate")
    pairs = [validate.pair(index) for index in range(len(validate))]
    assert [pair.genuine for pair in pairs] == [True] * 12 + [False] * 6
    assert {pair[:2] for pair in pairs[12:]} == {(0, 3), (0, 6), (0, 9), (3, 6), (3, 9), (6, 9)}
    assert len({validate.name(index) for index in range(len(validate))}) == 18
    assert float(validate.sample(12, ("label",), None)["label"]) == -1
    assert len(open_data(settings, "train")) == 9 + 3
    assert len(open_data(settings.model_copy(update={"limit": 6}), "validate")) == 6


def test_labels_alone_draw_nothing():
    dataset = open_data(DENSE.model_copy(update={"drawn": FingersSettings(fingers=10**4)}), "train")
    sample = dataset.sample(7, ("label", "finger1"), None)
    assert (float(sample["label"]), int(sample["finger1"])) == (1.0, 1)


def test_prints_beyond_the_budget_are_drawn_anew_and_stay_the_same():
    kept, anew = (open_data(DENSE.model_copy(update={"memory": memory}), "train") for memory in (64, 0))
    for index in (0, 4):
        assert torch.equal(draw(kept, index)["image1"], draw(anew, index)["image1"])
        assert torch.equal(draw(kept, index)["mask2"], draw(anew, index)["mask2"])


def test_a_store_keeps_what_fits_and_is_empty_in_what_is_pickled():
    store = PrintStore(10, 2, 8, 1)
    store.put(3, 1, np.full((8, 8), 7, np.uint8))
    assert (store.get(3, 1) == 7).all()
    assert store.get(3, 0) is None
    assert pickle.loads(pickle.dumps(store)).get(3, 1) is None
    assert PrintStore(100, 2, 512, 1).kept == 1
    assert PrintStore(10, 2, 8, 0).get(0, 0) is None


def test_workers_give_the_same_samples():
    dataset = open_data(DENSE, "train")
    loader = torch.utils.data.DataLoader(_Plain(dataset), batch_size=None, num_workers=2)
    images = list(loader)
    if multiprocessing.get_start_method() == "fork":
        # What a worker has drawn is there for all.
        assert dataset.source._store.get(0, 0) is not None
    for index, image in enumerate(images):
        assert torch.equal(image, draw(dataset, index)["image2"])


class _Plain(torch.utils.data.Dataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return draw(self.dataset, index)["image2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("prints")
    write_layout(root, "plain", fingers=5, impressions=2, size=64)
    return root


def test_a_print_of_a_file_is_paired_with_a_worse_copy_of_itself(folder):
    settings = FingerprintSettings(root=folder, size=64, holdout=0.2)
    train, validate = open_data(settings, "train"), open_data(settings, "validate")
    assert (len(train.classes), len(validate.classes)) == (4, 1)
    sample = draw(train, 0)
    assert len(sample["points"]) > 100
    assert not torch.equal(sample["image1"], sample["image2"])
    assert train.name(0) == f"genuine/{train.classes[0]}/1"
    assert len(glance_data(settings, "all")) == 10 + 3
    assert len(validate) == 2


def test_points_of_a_copy_have_both_ends_on_the_print(folder):
    dataset = open_data(FingerprintSettings(root=folder, size=64), "train")
    for index in range(4):
        sample = draw(dataset, index)
        ends = sample["points"].round().long()
        assert sample["mask1"][ends[:, 1], ends[:, 0]].all()
        assert sample["mask2"][ends[:, 3], ends[:, 2]].all()


def test_the_published_corruption_puts_points_anywhere_and_fills_with_black(folder):
    settings = FingerprintSettings(root=folder, size=64, corruption=Corruption(original=True), points=1000)
    dataset = open_data(settings, "train")
    samples = [draw(dataset, 1, epoch) for epoch in range(6)]
    ends = samples[0]["points"].round().long()
    assert not samples[0]["mask1"][ends[:, 1], ends[:, 0]].all()
    # A picture that is hardly turned has no black corner.
    assert sum(bool(sample["image2"][0, 0, 0] == 0) for sample in samples) >= 3


def test_prints_of_files_are_aligned_by_the_motions_of_a_file(folder, tmp_path):
    matrices = {
        (f"{one}/1", f"{other}/2"): motion((0, 0), shift=(4, 0))
        for one, other in ((1, 1), (2, 2), (3, 3), (1, 2), (3, 1))
    }
    write_alignments(tmp_path / "pairs.json", 128, matrices)
    settings = FingerprintSettings(
        root=folder, size=64, roi=32, samples="matcher", alignments=tmp_path / "pairs.json", imposters=0.4
    )
    dataset = open_data(settings, "all")
    assert [dataset.source.name(one) for one in dataset.pair(1)[:2]] == ["2/1", "2/2"]
    assert len(dataset) == 5
    assert {dataset.pair(index)[:2] for index in (3, 4)} <= {(0, 3), (4, 1)}
    sample = draw(dataset, 0)
    shifted = np.roll(dataset.source.picture(0), 2, axis=1)
    shown = sample["overlap"].numpy()
    np.testing.assert_allclose(sample["image1"][0].numpy()[shown], shifted[shown], atol=1e-4)
    assert torch.equal(sample["points"][:, :2], sample["points"][:, 2:])
    assert len(sample["points"]) > 100
    assert dataset.digest() != open_data(settings.model_copy(update={"alignments": None}), "all").digest()


def test_prints_of_files_without_motions_lie_as_they_do(folder):
    dataset = open_data(FingerprintSettings(root=folder, size=64, roi=32, samples="matcher"), "all")
    sample = draw(dataset, 0)
    assert len(sample["points"]) == 0
    shown = sample["overlap"].numpy()
    np.testing.assert_allclose(sample["image1"][0].numpy()[shown], dataset.source.picture(0)[shown], atol=1e-5)


def test_a_file_that_holds_no_motions_is_refused(folder, tmp_path):
    (tmp_path / "pairs.json").write_text('{"size": 64, "pairs": [{"first": "1/1"}]}')
    settings = FingerprintSettings(root=folder, samples="matcher", alignments=tmp_path / "pairs.json")
    with pytest.raises(DataError, match=r"pairs\.json: is no file of alignments"):
        open_data(settings, "train")
    with pytest.raises(DataError, match=r"nowhere: No such file"):
        open_data(settings.model_copy(update={"alignments": tmp_path / "nowhere"}), "train")
    with pytest.raises(ValidationError, match="for samples: matcher"):
        FingerprintSettings(root=folder, alignments=tmp_path / "pairs.json")


def test_the_digest_follows_the_prints_and_what_is_done_to_them(folder):
    variants = [
        DENSE,
        MATCHER,
        DENSE.model_copy(update={"imposters": 0.5}),
        DENSE.model_copy(update={"drawn": FEW.model_copy(update={"seed": 1})}),
        FingerprintSettings(root=folder, size=64),
    ]
    digests = {open_data(one, split).digest() for one in variants for split in ("train", "validate")}
    assert len(digests) == 2 * len(variants)
    assert open_data(DENSE.model_copy(update={"memory": 1}), "train").digest() in digests


def test_what_does_not_fit_is_told():
    class Model:
        classes = 2

    told = list(misfits(Model(), open_data(DENSE, "train"), ("finger1",)))
    assert told == ["the data have 3 fingers, the model has centers for 2"]
    assert not list(misfits(Model(), open_data(DENSE, "train"), ("image1",)))
    large = MATCHER.model_copy(update={"roi": 90})
    assert "data.roi is 90" in next(iter(misfits(Model(), open_data(large, "validate"), ())))


def test_mistakes_are_named(folder):
    with pytest.raises(ValidationError, match="Did you mean 'fvc2002'"):
        FingerprintSettings(layout="fvc202")
    with pytest.raises(DataError, match="Did you mean 'points'"):
        open_data(DENSE, "train").sample(0, ("pionts",), None)
    with pytest.raises(DataError, match="holdout is 0 of 5 subjects"):
        open_data(FingerprintSettings(root=folder, holdout=0), "validate")
    with pytest.raises(DataError, match="no such folder"):
        open_data(FingerprintSettings(root=folder / "nowhere"), "train")


def test_pairs_of_the_competitions_are_as_many_as_stated():
    fingers = np.repeat(np.arange(100), 8)
    assert len(genuine_pairs(fingers)) == 2800
    pairs = protocol_pairs(fingers)
    assert sum(not pair.genuine for pair in pairs) == 4950
    assert all(pair.genuine == (fingers[pair.first] == fingers[pair.second]) for pair in pairs)


def test_a_print_keeps_its_aspect_in_a_square_of_its_own_ground():
    picture = np.full((40, 20), 0.5, np.float32)
    picture[0] = 0.9
    square = fitted(picture, 20)
    assert square.shape == (20, 20)
    assert (square[:, :4] == background(picture)).all()
    assert (square[2:, 8:12] == 0.5).all()
    assert fitted(picture, 20, fit="stretch").shape == (20, 20)


def test_real_prints_are_read_whatever_their_kind(data_root):
    prints = [read_print(path) for path in sorted((data_root / "fingerprint").glob("*.tif"))]
    assert [one.shape for one in prints] == [(372, 245), *[(374, 388)] * 3]
    assert all(one.dtype == np.float32 and 0 <= one.min() < 0.2 and 0.9 < one.max() <= 1 for one in prints)
    dataset = open_data(FingerprintSettings(root=data_root / "fingerprint", holdout=0.5), "train")
    assert draw(dataset, 0)["points"].shape == (512, 4)


def test_validation_of_a_matcher_without_pairs_of_two_fingers_is_refused_before_anything_is_trained(tmp_path):
    write_layout(tmp_path, "plain", fingers=4, impressions=2, size=64)
    settings = FingerprintSettings(root=tmp_path, samples="matcher", size=64, roi=32, holdout=0.1)

    with pytest.raises(DataError, match=r"all 1 pairs of validation are of one finger.*hold out more subjects"):
        open_data(settings, "validate")
    assert open_data(settings.model_copy(update={"holdout": 0.5}), "validate").imposters > 0
    assert len(open_data(settings.model_copy(update={"samples": "dense"}), "validate")) > 0


def test_a_validation_has_an_imposter_however_few_its_pairs_are():
    few = FingersSettings(fingers=2, validate_fingers=2, impressions=2)
    dataset = open_data(MATCHER.model_copy(update={"drawn": few}), "validate")
    assert [dataset.pair(index).genuine for index in range(len(dataset))] == [True, True, False]
