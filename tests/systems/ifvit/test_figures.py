"""Figures and losses against their definitions, spelled out slowly."""

import math

import numpy as np
import pytest
import torch

from gradatim.errors import DataError
from gradatim.systems.ifvit import losses
from gradatim.systems.ifvit.data import with_sizes
from gradatim.systems.ifvit.dense import cells_of
from gradatim.systems.ifvit.metrics import METRICS, eer_of, miss_of, misses, near_of, scores
from gradatim.systems.ifvit.verification import (
    at_threshold,
    d_prime,
    equal_error,
    equal_error_of_curve,
    figures,
    rank_one,
    rates,
    tar_at,
)
from tiny_ifvit import settings

# -- verification ------------------------------------------------------------------------------------------


def drawn(seed, *, steps):
    """Scores of both kinds, with many ties where `steps` are few."""
    random = np.random.default_rng(seed)
    own, other = random.normal(0.3, 0.3, random.integers(1, 40)), random.normal(0, 0.3, random.integers(1, 40))
    return np.round(own * steps) / steps, np.round(other * steps) / steps


def slow_rates(own, other, threshold):
    """FAR and FRR by counting."""
    return sum(s >= threshold for s in other) / len(other), sum(s < threshold for s in own) / len(own)


CASES = [(seed, steps) for seed in range(8) for steps in (2, 5, 1e6)]


@pytest.mark.parametrize(("seed", "steps"), CASES)
def test_rates_are_shares_at_every_score(seed, steps):
    own, other = drawn(seed, steps=steps)

    found = rates(own, other)

    assert found.thresholds[1:].tolist() == sorted({*own, *other}, reverse=True)
    assert (found.thresholds[0], found.far[0], found.tar[0]) == (math.inf, 0, 0)
    for threshold, far, frr in zip(found.thresholds, found.far, found.frr, strict=True):
        assert (far, frr) == pytest.approx(slow_rates(own, other, threshold))


@pytest.mark.parametrize(("seed", "steps"), CASES)
def test_the_equal_error_rate_is_where_both_errors_differ_least(seed, steps):
    own, other = drawn(seed, steps=steps)
    counted = [(*slow_rates(own, other, threshold), threshold) for threshold in sorted({*own, *other})]
    least = min(abs(far - frr) for far, frr, _ in counted)
    far, frr, threshold = next(one for one in counted if abs(one[0] - one[1]) < least + 1e-12)

    found = equal_error(rates(own, other))

    assert (found.rate, found.threshold) == (pytest.approx((far + frr) / 2), threshold)


@pytest.mark.parametrize(("seed", "steps"), CASES)
@pytest.mark.parametrize("far", [0, 0.01, 0.1, 0.5, 1])
def test_tar_at_a_far_is_the_best_that_keeps_it(seed, steps, far):
    own, other = drawn(seed, steps=steps)
    allowed = [t for t in (math.inf, *own, *other) if slow_rates(own, other, t)[0] <= far]

    tar, threshold = tar_at(rates(own, other), far)

    assert tar == pytest.approx(max(1 - slow_rates(own, other, t)[1] for t in allowed))
    assert slow_rates(own, other, threshold)[0] <= far


def test_kinds_that_are_apart_have_no_error_and_equal_ones_half():
    apart = rates([0.9, 0.8], [0.1, 0.2, 0.3])
    assert (equal_error(apart).rate, equal_error(apart).threshold) == (0, 0.8)
    assert tar_at(apart, 0) == (1, 0.8)
    assert equal_error(rates([0.5, 0.5], [0.5])).rate == 0.5
    assert equal_error(rates([0.1], [0.9])).rate == 1


def test_one_score_of_each_kind_is_enough():
    found = figures([0.7], [0.2])
    assert (found["eer"], found["threshold"], found["tar@far=0.001"]) == (0, 0.7, 1)
    assert (found["genuine"], found["imposter"]) == (1, 1)


def test_a_far_below_one_imposters_share_accepts_none():
    assert tar_at(rates([0.9, 0.4], [0.5, 0.1]), 1e-3) == (0.5, 0.9)


def test_the_authors_equal_error_is_far_at_a_corner_of_the_curve():
    own, other = [0.9, 0.6, 0.4], [0.7, 0.5, 0.3, 0.1]
    found = equal_error_of_curve(rates(own, other))
    assert (found.rate, found.threshold) == (0.25, 0.6)


def test_counts_at_a_threshold():
    found = at_threshold([0.9, 0.5, 0.1], [0.5, 0.2], 0.5)
    assert {name: found[name] for name in ("tp", "fp", "tn", "fn")} == {"tp": 2, "fp": 1, "tn": 1, "fn": 1}
    expected = {"accuracy": 3 / 5, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "far": 1 / 2, "frr": 1 / 3}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_d_prime_is_the_distance_in_standard_deviations():
    own, other = [1.0, 3.0], [-1.0, 1.0]
    assert d_prime(own, other) == pytest.approx(abs(2 - 0) / math.sqrt((1 + 1) / 2))


def test_rank_one_counts_probes_that_find_their_finger_first():
    scores_ = np.array([[0.9, 0.1, 0.2], [0.5, 0.6, 0.7], [0.1, 0.2, 0.3]])
    assert rank_one(scores_, [7, 8, 9], [7, 8, 9]) == pytest.approx(2 / 3)
    with pytest.raises(DataError, match=r"fingers \[5\] of the probes are not in the gallery"):
        rank_one(scores_, [5, 8, 9], [7, 8, 9])


def test_scores_of_one_kind_alone_and_broken_ones_are_refused():
    with pytest.raises(DataError, match="0 genuine and 2 imposter scores: rates need both"):
        rates([], [0.1, 0.2])
    with pytest.raises(DataError, match="a score is not finite"):
        rates([math.nan], [0.1])


# -- metrics of validation ------------------------------------------------------------------------------------

GRID, SIDE = 4, 64


def identity(count):
    """Points in the middles of their cells, at the same place in both pictures, whole numbers in pixels' middles."""
    cells = torch.arange(count)
    places = torch.stack([cells % GRID, cells // GRID], dim=1) * (SIDE / GRID) + SIDE / GRID / 2 - 0.5
    return torch.cat([places, places], dim=1)[None]


def features():
    return torch.zeros(1, 1, GRID, GRID), torch.zeros(1, 1, SIDE, SIDE)


def moved(down, across):
    """A probability by which every cell matches the one so far away, as far as there is one."""
    found = torch.zeros(1, GRID**2, GRID**2)
    for cell in range(GRID**2):
        row, column = min(cell // GRID + down, GRID - 1), min(cell % GRID + across, GRID - 1)
        found[0, cell, row * GRID + column] = 1
    return found


def test_a_perfect_probability_misses_by_nothing():
    apart = misses(moved(0, 0), *features(), identity(16))
    assert miss_of([apart]) == 0
    assert near_of([apart]) == 100


def test_a_miss_is_told_in_cells_over_the_points_that_count():
    points, mask = identity(2), torch.tensor([[True, False]])
    assert misses(moved(2, 1), *features(), points).tolist() == pytest.approx([math.sqrt(5)] * 2)
    assert misses(moved(2, 1), *features(), points, mask).shape == (1,)
    assert near_of([misses(moved(2, 0), *features(), points)]) == 0


def test_neighbors_of_the_best_cell_refine_a_match_and_points_off_a_cells_middle_move_it():
    half = (moved(0, 0) + moved(0, 1)) / 2
    aside, outside = identity(2).clone(), identity(2).clone()
    aside[..., 2] += SIDE / GRID / 2
    outside[..., (0, 2)] += SIDE / GRID / 4

    assert misses(half, *features(), aside).tolist() == pytest.approx([0, 0])
    assert misses(half, *features(), identity(2)).tolist() == pytest.approx([0.5, 0.5])
    assert misses(moved(0, 0), *features(), outside).tolist() == pytest.approx([0, 0])
    assert near_of([misses(half, *features(), identity(2))]) == 100


def test_the_equal_error_of_validation_is_over_all_batches():
    torch.manual_seed(0)
    batches = []
    for labels in ([1.0, 1.0], [-1.0, 1.0], [-1.0]):
        whole, region = (torch.nn.functional.normalize(torch.randn(2, len(labels), 3), dim=2) for _ in range(2))
        batches.append(scores(*whole, *region, torch.tensor(labels)))

    own, other = ([score for batch in batches for score in batch[kind]] for kind in (0, 1))

    assert (len(own), len(other)) == (3, 2)
    assert eer_of(batches) == 100 * equal_error(rates(own, other)).rate


def test_a_score_weighs_whole_prints_more_than_regions():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert scores(one, one, one, other, torch.tensor([1.0])) == ([pytest.approx(0.6)], [])


def test_which_way_is_up():
    assert {name: metric.higher_is_better for name, metric in METRICS.items()} == {
        "eer": False, "dense_error": False, "dense_near": True,
    }  # fmt: skip


# -- losses ----------------------------------------------------------------------------------------------------


def test_the_dense_loss_reads_the_cell_of_each_point():
    probability = torch.rand(1, GRID**2, GRID**2, generator=torch.manual_seed(0))
    points = torch.tensor([[[3.0, 20.0, 40.0, 63.0], [63.0, 0.0, 15.0, 16.0]]])

    found = losses.dense(probability, *features(), points)

    # (column, row) of 16 pixels each: (0, 1) and (2, 3); (3, 0) and (0, 1).
    expected = -(probability[0, 4, 14].log() + probability[0, 3, 4].log()) / 2
    assert found.item() == pytest.approx(expected.item())


def test_a_points_whole_number_is_the_middle_of_its_pixel():
    """15.4 lies in the first cell of 16 pixels, whose last pixel has its middle at 15; 15.6 does not."""
    probability = torch.full((1, GRID**2, GRID**2), 0.5)
    probability[0, 0, 0], probability[0, 1, 1] = 0.25, 0.125
    for x, expected in ((-0.5, 0.25), (15.4, 0.25), (15.6, 0.125)):
        points = torch.tensor([[[x, 0.0, x, 0.0]]])
        assert losses.dense(probability, *features(), points).item() == pytest.approx(-math.log(expected))


def test_points_outside_count_for_the_nearest_cell():
    points = torch.tensor([[-5.0, 100.0], [100.0, -5.0]])
    assert cells_of(points, grid=(GRID, GRID), cell=(16, 16)).tolist() == [12, 3]


def test_each_sample_weighs_the_same_however_many_points_it_has():
    probability = torch.full((3, GRID**2, GRID**2), 0.5)
    probability[1] = 0.25
    points = identity(4).expand(3, -1, -1)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])

    found = losses.dense(probability, *(one.expand(3, -1, -1, -1) for one in features()), points, mask)

    assert found.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_no_points_cost_nothing_and_still_have_a_gradient():
    probability = torch.full((2, GRID**2, GRID**2), 0.5, requires_grad=True)
    none = torch.zeros(2, 3, dtype=torch.bool)

    found = losses.dense(probability, *(one.expand(2, -1, -1, -1) for one in features()), torch.zeros(2, 3, 4), none)
    found.backward()

    assert found.item() == 0
    assert not probability.grad.any()


def test_the_no_match_loss_is_of_imposters_alone():
    probability = torch.zeros(2, 3, 3)
    probability[0], probability[1, :, 0] = 0.9, 0.75
    assert losses.no_match(probability, torch.tensor([1.0, -1.0])).item() == pytest.approx(math.log(4))
    assert losses.no_match(probability, torch.tensor([1.0, 1.0])).item() == 0


def test_the_cosine_loss_is_half_of_prints_and_half_of_regions():
    same, across = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])

    genuine = losses.cosine(same, across, same, same, torch.tensor([1.0]))
    imposter = losses.cosine(same, across, same, same, torch.tensor([-1.0]))

    assert genuine.tolist() == pytest.approx([0.4 / 2, 0])
    assert imposter.tolist() == pytest.approx([(0.6 - 0.4) / 2, (1 - 0.4) / 2])


def test_arcface_adds_its_margin_to_the_angle_of_the_right_center():
    directions = torch.eye(2)
    embedding = torch.tensor([[math.cos(0.3), math.sin(0.3)]])
    first = torch.tensor([0])

    found = losses.arcface(*[embedding] * 4, directions, first, first, margin=0.4, scale=2.0)

    right, wrong = 2 * math.cos(0.3 + 0.4), 2 * math.sin(0.3)
    assert found.item() == pytest.approx(math.log(math.exp(right) + math.exp(wrong)) - right, rel=1e-5)
    with pytest.raises(DataError, match="label 2 stands for none of the 2 classes"):
        losses.arcface(*[embedding] * 4, directions, torch.tensor([2]), first)


def test_a_stages_data_have_the_models_sizes_unless_they_say_others():
    model = settings(dense_size=96, match_size=160, roi_size=48, enhance=True)
    assert with_sizes(model, {}) == {"size": 96}
    assert with_sizes(model, {"samples": "dense", "size": 64}) == {"samples": "dense", "size": 64}
    assert with_sizes(model, {"samples": "matcher", "roi": 32}) == {
        "samples": "matcher", "size": 160, "roi": 32, "enhance": True,
    }  # fmt: skip
