"""Augmentation moves pixels and boxes together, and drops an object by its stated rules only.

Objects are told by their pixels: a run with an object painted is held beside a run of the same draws without it.
"""

import numpy as np
import pytest
from pydantic import ValidationError

from gradatim.data.random import keyed_generator
from gradatim.systems.multigriddet.augment import PRESETS, Augmentation, Augmenter, Stored
from gradatim.systems.multigriddet.shapes import ShapesSettings, draw_scene

SIZE = (96, 128)
SCENES = 24


def shape_scenes():
    """(boxes, masks) of scenes of shapes, smaller than the input."""
    settings = ShapesSettings(size=(72, 80), smallest=0.2, objects=3, empty=0.1)
    drawn = [draw_scene(settings, "train", index) for index in range(SCENES)]
    return [(one.boxes, [one.owners == number for number in range(len(one.boxes))]) for one in drawn]


def rectangle_scenes(size=SIZE):
    """(boxes, masks) of scenes of rectangles, whose areas are those of their boxes."""
    scenes = []
    for index in range(SCENES):
        random = np.random.default_rng(index)
        boxes, masks = [], []
        for _ in range(3):
            height, width = random.integers(4, 60, 2)
            top, left = random.integers(0, size[0] - height + 1), random.integers(0, size[1] - width + 1)
            mask = np.zeros(size, bool)
            mask[top : top + height, left : left + width] = True
            boxes.append([left, top, left + width, top + height])
            masks.append(mask)
        scenes.append((np.array(boxes, float), masks))
    return scenes


class Trial:
    """Runs of one augmentation with equal draws, with and without an object's pixels."""

    def __init__(self, scenes, settings, seed, size=SIZE):
        self.scenes, self.settings, self.seed, self.size = scenes, settings, seed, size
        self.index = seed % len(scenes)
        self.read_indices = []
        self.bare = self.run(None)
        self.members = {i for i in self.read_indices if self.read_indices.count(i) == 1}

    def run(self, painted):
        self.read_indices = []

        def read(index):
            self.read_indices.append(index)
            boxes, masks = self.scenes[index]
            picture = np.zeros((*masks[0].shape, 3) if masks else (*self.size, 3), np.uint8)
            if painted is not None and painted[0] == index:
                picture[masks[painted[1]]] = 255
            # The class says which object of which scene it is.
            return Stored(picture, picture.shape[:2], boxes, np.arange(len(boxes)) + 10 * index)

        augmenter = Augmenter(read, len(self.scenes), self.size, self.settings)
        return augmenter.example(self.index, keyed_generator(self.seed))

    def objects(self):
        """(whole mask, seen pixels as strength 0 to 255, box or None) of each object that can be told."""
        for index in sorted(self.members):
            for number, mask in enumerate(self.scenes[index][1]):
                example = self.run((index, number))
                strength = np.abs(example.picture.astype(int) - self.bare.picture.astype(int)).max(axis=2)
                mine = np.flatnonzero(example.classes == 10 * index + number)
                assert len(mine) <= 1
                yield mask, strength, example.boxes[mine[0]] if len(mine) else None


def extent(seen):
    """left, top, right, bottom of pixels."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def assert_inside(example):
    height, width = example.size
    assert (example.boxes >= 0).all()
    assert (example.boxes <= np.array([width, height, width, height])).all()
    assert (example.boxes[:, 2:] > example.boxes[:, :2]).all()
    assert len(example.boxes) == len(example.classes) == len(example.left)


STRONG = {
    "nothing": {},
    "placed": {"scale": (0.5, 2.0), "aspect": 0.3},
    "flip": {"flip": 0.5, "vertical_flip": 0.5},
    "quarter_turns": {"quarter_turns": 1.0},
    "tilt": {"tilt": 1.0, "tilt_degrees": 15.0},
    "mosaic": {"mosaic": 1.0},
    "mixup": {"mixup": 1.0},
    "placed, turned, mosaic": {"scale": (0.5, 2.0), "aspect": 0.3, "flip": 0.5, "tilt": 0.5, "mosaic": 1.0},
    "all": {
        **PRESETS["original"], "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "grayscale": 0,
        "vertical_flip": 0.3, "quarter_turns": 0.3, "tilt": 0.3, "mosaic": 0.5, "mixup": 0.5, "grid_mask": 0.3,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STRONG)
def test_a_box_stays_inside_and_holds_what_is_seen_of_its_object(name):
    settings = Augmentation(**STRONG[name])
    scenes, kept = shape_scenes(), 0
    for seed in range(10):
        trial = Trial(scenes, settings, seed)
        assert_inside(trial.bare)
        for _, strength, box in trial.objects():
            # Above a third of the fullest: what resampling spreads over an edge is weaker.
            seen = strength > max(strength.max() / 3, 8)
            if box is not None and seen.any():
                kept += 1
                assert (extent(seen)[:2] >= box[:2] - 1).all(), (seed, extent(seen), box)
                assert (extent(seen)[2:] <= box[2:] + 1).all(), (seed, extent(seen), box)
    assert kept >= 10


def lost_by_rule(settings, strength, whole, *, slack=0.0):
    """Whether what is seen of an object is little enough to drop it."""
    seen = strength > 0
    if not seen.any():
        return True
    left, top, right, bottom = extent(seen)
    shorter = min(right - left, bottom - top)
    share = (right - left) * (bottom - top) / whole
    least = max(settings.mosaic_least_side, settings.mosaic_least_share * min(strength.shape))
    cut_by_a_quarter = settings.mosaic > 0 and share < 1 and shorter < least + slack
    return shorter <= settings.least_side + slack or share < settings.least_visible + slack / 10 or cut_by_a_quarter


EXACT = {
    "flip": {"flip": 0.5, "vertical_flip": 0.5},
    "quarter_turns": {"quarter_turns": 1.0},
    "mosaic": {"mosaic": 1.0},
    "mosaic without least side": {"mosaic": 1.0, "mosaic_least_side": 0, "mosaic_least_share": 0},
    "mixup": {"mixup": 1.0},
    "flip, turn, mosaic, mixup": {"flip": 0.5, "quarter_turns": 0.5, "mosaic": 1.0, "mixup": 0.5},
}


@pytest.mark.parametrize("name", EXACT)
def test_without_resizing_a_box_is_exactly_what_is_seen_and_nothing_is_lost_against_the_rule(name):
    settings = Augmentation(**EXACT[name])
    scenes, size = rectangle_scenes((96, 96)), (96, 96)
    kept = dropped = 0
    for seed in range(16):
        for mask, strength, box in Trial(scenes, settings, seed, size).objects():
            if box is None:
                dropped += 1
                assert lost_by_rule(settings, strength, mask.sum()), (seed, extent(strength > 0))
            else:
                kept += 1
                np.testing.assert_array_equal(box, extent(strength > 0))
                assert not lost_by_rule(settings, strength, mask.sum()), (seed, box)
    assert kept > 30
    assert dropped > 30 or "mosaic" not in name


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7, 2.0])
def test_an_object_that_scaling_drops_is_cut_or_shrunk_below_the_rule(factor):
    settings = Augmentation(scale=(factor, factor), aspect=1e-9, least_side=3, least_visible=0.25)
    scenes = rectangle_scenes()
    kept = dropped = 0
    for seed in range(SCENES):
        for mask, strength, box in Trial(scenes, settings, seed).objects():
            whole = mask.sum() * factor**2
            if box is None:
                dropped += 1
                assert lost_by_rule(settings, np.where(strength > 127, 255, 0), whole, slack=1), (seed, factor)
            else:
                kept += 1
                np.testing.assert_allclose(box, extent(strength > 127), atol=1)
    assert kept > 15
    assert dropped > 3 or factor == 1


def test_a_picture_larger_than_the_input_is_seen_at_every_place():
    random = np.random.default_rng(0)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32] = 255
    none = (np.zeros((0, 4)), np.zeros(0, np.int64))
    augmenter = Augmenter(
        lambda index: Stored(picture, (64, 64), *none), 1, (64, 64), Augmentation(scale=(2, 2), aspect=0)
    )
    whites = np.array([(augmenter.example(0, random).picture[..., 0] > 127).mean() for _ in range(60)])
    # The top left part would be white all over, always.
    assert (whites < 0.4).sum() > 20
    assert whites.max() > 0.7


def test_a_picture_smaller_than_the_input_lies_anywhere_inside_on_gray():
    random = np.random.default_rng(0)
    picture = np.full((64, 64, 3), 255, np.uint8)
    none = (np.zeros((0, 4)), np.zeros(0, np.int64))
    augmenter = Augmenter(
        lambda index: Stored(picture, (64, 64), *none), 1, (64, 64), Augmentation(scale=(0.5, 0.5), aspect=0)
    )
    places = []
    for _ in range(40):
        shown = augmenter.example(0, random).picture
        assert set(np.unique(shown)) == {128, 255}
        places.append(extent((shown == 255).all(axis=2)))
    places = np.array(places)
    assert ((places[:, 2:] - places[:, :2]) == 32).all()
    assert places[:, :2].min() <= 3
    assert places[:, 2:].max() >= 61


def test_equal_draws_give_equal_examples_and_other_draws_other_ones():
    scenes = shape_scenes()
    first, again, other = (Trial(scenes, Augmentation(**STRONG["all"]), seed).bare for seed in (3, 3, 27))
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.boxes, other.boxes)


def test_probabilities_are_those_that_were_asked_for():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :8] = 255
    box = (np.array([[0.0, 0, 8, 32]]), np.zeros(1, np.int64))
    random = np.random.default_rng(0)
    augmenter = Augmenter(lambda index: Stored(picture, (32, 32), *box), 1, (32, 32), Augmentation(flip=0.25))
    flipped = sum(augmenter.example(0, random).boxes[0, 0] == 24 for _ in range(400))
    assert 70 < flipped < 130


def test_a_preset_has_the_originals_strengths_and_may_be_changed():
    original = Augmentation.model_validate("original")
    assert (original.scale, original.aspect, original.flip, original.grayscale) == ((0.5, 2.0), 0.3, 0.5, 0.1)
    assert (original.quarter_turns, original.grid_mask, original.mosaic, original.mixup) == (0.05, 0.1, 0.3, 0.1)
    assert (original.brightness, original.contrast, original.saturation, original.hue) == (0.2, 0.2, 0.2, 0.1)
    changed = Augmentation.model_validate({"preset": "original", "mosaic": "0"})
    assert changed == original.model_copy(update={"mosaic": 0.0})
    assert not Augmentation.model_validate("none").varies
    assert Augmentation() == Augmentation.model_validate("none")
    assert Augmentation.model_validate(original.model_dump()) == original


def test_wrong_settings_are_refused_with_what_would_be_right():
    for value, words in (
        ("orginal", "Did you mean 'original'"),
        ({"mosiac": 0.3}, "mosiac"),
        ({"scale": (2, 1)}, "the least comes first"),
        ({"flip": 1.5}, "flip"),
        ({"mixup_least": 0.6}, "mixup_least"),
        (3, "Augmentation"),
    ):
        with pytest.raises(ValidationError, match=words):
            Augmentation.model_validate(value)


@pytest.mark.parametrize(
    "strength",
    ["aspect", "flip", "vertical_flip", "brightness", "contrast", "saturation", "hue", "grayscale", "quarter_turns",
     "tilt", "grid_mask", "mosaic", "mixup"],
)  # fmt: skip
def test_every_strength_alone_makes_samples_vary(strength):
    assert Augmentation(**{strength: 0.1}).varies
    assert Augmentation(scale=(0.9, 1.0)).varies


def augmenter_of(pictures, boxes=(), **settings):
    """An augmenter of pictures of equal size that all have the same boxes."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    size = pictures[0].shape[:2]
    return Augmenter(
        lambda index: Stored(pictures[index], size, boxes, np.full(len(boxes), index)),
        len(pictures),
        size,
        Augmentation(**settings),
    )


def flat(*tones, size=(32, 32)):
    return [np.full((*size, 3), tone, np.uint8) for tone in tones]


def test_an_example_is_of_its_own_picture():
    augmenter = augmenter_of(flat(10, 20, 30), flip=0.5)
    for index in range(3):
        assert (augmenter.example(index, np.random.default_rng(0)).picture == 10 * (index + 1)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_mosaics_are_made_of_any_number_of_pictures_the_own_one_among_them(count):
    augmenter = augmenter_of(
        flat(*range(10, 10 + count)), [[0, 0, 32, 32]], mosaic=1.0, mosaic_least_side=0, least_visible=0
    )
    for seed in range(12):
        example = augmenter.example(count - 1, np.random.default_rng(seed))
        assert len(example.boxes) == 4
        assert 10 + count - 1 in example.picture


def test_mirroring_in_both_ways_is_drawn_for_itself():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :16] = 255
    augmenter = augmenter_of([picture], flip=0.5, vertical_flip=0.5)
    random = np.random.default_rng(0)
    corners = {tuple(extent(augmenter.example(0, random).picture[..., 0] > 0)[:2]) for _ in range(60)}
    assert corners == {(0, 0), (0, 16), (16, 0), (16, 16)}


def test_quarter_turns_of_all_three_kinds_occur():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :16] = 255
    augmenter = augmenter_of([picture], quarter_turns=1.0)
    random = np.random.default_rng(0)
    corners = {tuple(extent(augmenter.example(0, random).picture[..., 0] > 0)[:2]) for _ in range(60)}
    assert corners == {(0, 16), (16, 0), (16, 16)}


def test_strengths_of_light_reach_the_picture_and_only_it():
    random = np.random.default_rng(0)
    colored = np.random.default_rng(1).integers(60, 190, (32, 32, 3), dtype=np.uint8)
    box = [[3, 4, 20, 30]]
    gray = augmenter_of([colored], box, grayscale=1.0).example(0, random).picture
    assert (gray[..., :1] == gray).all()
    tones = {}
    for name in ("brightness", "contrast", "saturation", "hue"):
        made = [augmenter_of([colored], box, **{name: 0.2}).example(0, random) for _ in range(80)]
        assert all(one.boxes.tolist() == box for one in made)
        tones[name] = np.array([one.picture.astype(float) - colored for one in made])
        assert (np.abs(tones[name]).max(axis=(1, 2, 3)) > 0).mean() > 0.9
    shifts = tones["brightness"].mean(axis=(1, 2, 3)) / 255
    assert -0.21 < shifts.min() < -0.15
    assert 0.15 < shifts.max() < 0.21
