"""Prints compared as in use: registered, scored, looked for in a gallery, and drawn."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gradatim import find_system
from gradatim.data.image import write_image
from gradatim.errors import DataError, WeightsError
from gradatim.systems.ifvit.drawing import draw_match
from gradatim.systems.ifvit.fingers import PrintStyle, make_impression, make_master
from gradatim.systems.ifvit.matching import probabilities
from gradatim.systems.ifvit.predict import Comparer, on_one_square, search_gallery
from gradatim.systems.ifvit.prints import as_picture, background
from gradatim.systems.ifvit.registration import Registrar
from gradatim.systems.ifvit.warping import motion, moved, warped
from tiny_ifvit import parts, settings

SIDE = 128
MIDDLE = ((SIDE - 1) / 2, (SIDE - 1) / 2)
STILL = PrintStyle(rotation=0, translation=0)


@pytest.fixture(scope="module")
def fingers():
    """A print of each of three fingers, (S, S) in [0, 1]."""
    return [as_picture(make_impression(make_master(0, n, size=SIDE), 0, STILL).image) for n in range(3)]


def computed(*names, **sizes):
    """`compute` of parts with seeded weights."""
    built = {name: part.eval() for name, part in parts(*names, **sizes).items()}
    tasks = find_system("ifvit").read_tasks

    @torch.no_grad()
    def compute(task, sample, want):
        return tasks[task].compute(built, sample, want=want)

    return compute


def by_pixels(task, sample, want):
    """A dense matcher that needs no training: cells are alike as their pixels are."""
    features = [functional.pixel_unshuffle(sample[name] - sample[name].mean(), 16) for name in ("image1", "image2")]
    return {"probability": probabilities(*features, temperature=0.05), "features1": features[0]}


def comparer(*names, register=by_pixels, **sizes):
    names = names or ("backbone", "transformer", "embedding")
    sizes = {"match_size": SIDE, **sizes}
    registrar = None if register is None else Registrar(register, "resnet18")
    return Comparer(computed(*names, **sizes), settings(**sizes), names, registrar=registrar)


def turned(picture, matrix):
    return warped(picture, matrix, fill=background(picture))


def apart(found, matrix, mask):
    """Most pixels between where a motion brings a print's points and where they belong."""
    points = np.argwhere(mask)[::20, ::-1].astype(float)
    return np.linalg.norm(moved(points, found) - moved(points, matrix), axis=1).max()


# -- one pair ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("angle", "shift"), [(0, (0, 0)), (20, (0, 0)), (-40, (0, 0)), (35, (0, 0)), (0, (16, -16))])
def test_a_print_that_was_turned_is_registered_on_itself(angle, shift, fingers):
    matrix, one = motion(MIDDLE, degrees=angle, shift=shift), comparer()
    first, second = one.prepared(fingers[0]), one.prepared(turned(fingers[0], matrix))

    found = one.compare(first, second)

    assert found.alignment.angle == angle
    assert apart(found.matrix, matrix, first.mask) < 0.5
    assert found.likeness > 0.98
    assert found.overlap > 0.9
    ends = moved(found.points[:, :2], matrix)
    assert len(found.points) > 20
    assert np.linalg.norm(ends - found.points[:, 2:], axis=1).max() < 1


def test_two_fingers_are_less_alike_than_two_pictures_of_one(fingers):
    one = comparer()
    first, again, other = (
        one.prepared(p) for p in (fingers[0], turned(fingers[0], motion(MIDDLE, degrees=5)), fingers[1])
    )
    assert one.compare(first, again).likeness > 0.9
    assert one.compare(first, other).likeness < 0.5


def test_scores_are_cosines_fused_by_their_weights(fingers):
    one = comparer()
    found = one.compare(one.prepared(fingers[0]), one.prepared(fingers[1]))

    assert -1 <= found.whole <= 1
    assert -1 <= found.region <= 1
    assert found.score == pytest.approx(0.6 * found.whole + 0.4 * found.region, abs=1e-6)


def test_correspondences_lie_where_both_show_ridges_and_the_surest_come_first(fingers):
    one = comparer()
    first, second = one.prepared(fingers[0]), one.prepared(turned(fingers[0], motion(MIDDLE, degrees=20)))

    found = one.compare(first, second)

    assert (np.diff(found.confidence) <= 0).all()
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    # A cell counts that its print covers by half, so a cell's middle may lie beside the mask by half a cell.
    for mask, points in ((first.mask, found.points[:, :2]), (second.mask, found.points[:, 2:])):
        ridges = np.argwhere(mask)[:, ::-1]
        near = [np.linalg.norm(ridges - point, axis=1).min() for point in points]
        assert max(near) < 8 * 2**0.5


def test_cells_without_ridges_match_nothing(fingers):
    registrar = comparer().registrar
    half = fingers[0].copy()
    half[:, : SIDE // 2] = background(half)

    rows = registrar.probability(half, fingers[0])
    columns = registrar.probability(fingers[0], half)

    cells = SIDE // 16
    left = np.arange(cells**2) % cells < cells // 2 - 1
    assert not rows[left].any()
    assert not columns[:, left].any()
    assert rows[~left].any()


def test_without_a_motion_prints_are_compared_as_they_lie(fingers):
    def nothing(task, sample, want):
        found = by_pixels(task, sample, want)
        return {**found, "probability": torch.zeros_like(found["probability"])}

    one = comparer(register=nothing)
    found = one.compare(one.prepared(fingers[0]), one.prepared(fingers[0]))

    assert found.alignment is None
    assert len(found.points) == 0
    assert np.abs(found.matrix - np.eye(3)).max() < 0.1
    assert found.likeness > 0.98


def test_the_matchers_own_model_registers_where_no_other_does(fingers):
    one = comparer(register=None)
    found = one.compare(one.prepared(fingers[0]), one.prepared(fingers[1]))
    assert np.isfinite(found.score)


# -- sizes and scales -------------------------------------------------------------------------------------------


def test_prints_of_two_sizes_meet_in_the_middle_of_one_square(fingers):
    one = comparer(period=8.0)
    first, second = one.prepared(fingers[0][10:120, 20:110]), one.prepared(fingers[0])

    squares = on_one_square(first, second)

    (side,) = {number for square in squares for number in (*square.picture.shape, *square.mask.shape)}
    assert side % 16 == 0
    assert side >= max(*first.picture.shape, *second.picture.shape)
    assert squares[0].mask.sum() == first.mask.sum()
    assert np.isfinite(one.compare(first, second).score)


def test_prints_of_two_resolutions_are_brought_to_one_distance_of_ridges(fingers):
    one = comparer(period=8.0)
    large = functional.interpolate(torch.from_numpy(fingers[0])[None, None], scale_factor=2, mode="bicubic")[0, 0]

    small, twice = one.prepared(fingers[0]), one.prepared(large.clamp(0, 1).numpy())

    assert twice.scale == pytest.approx(small.scale / 2, rel=0.15)
    assert twice.picture.shape[0] == pytest.approx(small.picture.shape[0], rel=0.15)


def test_without_a_distance_of_ridges_prints_are_fitted_into_the_models_square(fingers):
    one = comparer(match_size=64)
    assert one.prepared(fingers[0]).picture.shape == (64, 64)
    assert one.prepared(fingers[0][:, :96]).picture.shape == (64, 64)


def test_ridges_are_made_clear_where_the_matcher_learned_so(fingers):
    assert comparer().prepared(fingers[0]).clear is None
    clear = comparer(enhance=True).prepared(fingers[0]).clear
    assert clear.shape == (SIDE, SIDE)
    assert not np.allclose(clear, fingers[0], atol=0.1)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_print_without_ridges_is_refused_by_its_name(value, tmp_path):
    write_image(tmp_path / "blank.png", np.full((64, 80), value, np.uint8))
    with pytest.raises(DataError, match=r"blank\.png: shows no ridges"):
        comparer().read(tmp_path / "blank.png")


# -- galleries ------------------------------------------------------------------------------------------------------


def gallery_of(one, pictures):
    """Prints, and their templates."""
    gallery = [one.prepared(picture, f"{number}.png") for number, picture in enumerate(pictures)]
    return gallery, np.stack([one.template(print_) for print_ in gallery])


def test_a_gallery_ranks_the_print_itself_first(fingers):
    one = comparer()
    gallery, templates = gallery_of(one, fingers)

    for number, probe in enumerate(gallery):
        found = search_gallery(one, probe, gallery, templates, top=1)

        assert (found[0].number, found[0].name) == (number, f"{number}.png")
        assert found[0].template == pytest.approx(1, abs=1e-5)
        assert [ranked.comparison is not None for ranked in found] == [True, False, False]
        assert found[1].template >= found[2].template


def test_the_first_of_a_gallery_are_ordered_by_comparison(fingers):
    one = comparer()
    gallery, templates = gallery_of(one, fingers)

    for probe in gallery:
        found = search_gallery(one, probe, gallery, templates, top=2)

        assert found[0].comparison.score >= found[1].comparison.score
        assert min(found[0].template, found[1].template) >= found[2].template
        assert found[2].comparison is None


def test_a_template_is_of_length_one_and_belongs_to_its_print_alone(fingers):
    one = comparer()
    first, second = one.prepared(fingers[0]), one.prepared(fingers[1])

    template = one.template(first)
    one.compare(first, second)

    assert template.shape == (16,)
    assert np.linalg.norm(template) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(one.template(first), template)


# -- models -----------------------------------------------------------------------------------------------------------


def test_a_model_with_two_transformers_compares_by_both(fingers):
    one = comparer("backbone", "transformer", "local_transformer", "embedding")
    assert one.task == "match_apart"
    assert np.isfinite(one.compare(one.prepared(fingers[0]), one.prepared(fingers[1])).score)


def test_a_model_that_learned_to_register_alone_is_refused_with_what_to_do():
    with pytest.raises(WeightsError, match=r"no part 'embedding': it was trained to register .* carry on with task"):
        comparer("backbone", "transformer")


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_match_is_drawn_with_lines_between_what_corresponds(fingers):
    one = comparer()
    first, second = one.prepared(fingers[0]), one.prepared(turned(fingers[0], motion(MIDDLE, degrees=20)))
    found = one.compare(first, second)

    drawn = draw_match(first, second, found, verdict="match")

    assert (drawn.ndim, drawn.shape[2], drawn.dtype) == (3, 3, np.uint8)
    colored = (drawn.max(axis=2).astype(int) - drawn.min(axis=2)) > 60
    gap = drawn.shape[1] // 2
    assert colored[:, gap].sum() > 10
    assert not np.array_equal(drawn, draw_match(first, second, found))


def test_prints_without_correspondences_are_drawn_too(fingers):
    one = comparer(register=lambda *call: {**by_pixels(*call), "probability": torch.zeros(1, 64, 64)})
    print_ = one.prepared(fingers[0])
    assert draw_match(print_, print_, one.compare(print_, print_)).std() > 0
