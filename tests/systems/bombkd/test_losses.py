"""Losses on masked tokens, batches of one, clips without a label, and few classes."""

import pytest
import torch

from gradatim import find_system
from gradatim.errors import DataError
from gradatim.systems.bombkd.losses import LOSSES, classification, contrastive, cross_correlation, margin, sparsity
from gradatim.systems.bombkd.metrics import METRICS, accuracy, closeness, linear_cka, procrustes, top5

PAIRED = ("l2", "l1", "cos", "nce", "vic", "bar")


def values(clips: int = 4):
    torch.manual_seed(0)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 4][:clips]).unsqueeze(1)
    return {"t": torch.randn(clips, 5, 6)}, {"t": torch.randn(clips, 5, 6)}, {"t": mask}


@pytest.mark.parametrize("name", PAIRED)
def test_padding_does_not_count(name):
    translated, teacher, mask = values()
    other = {"t": translated["t"].masked_fill(~mask["t"].unsqueeze(2), 99.0)}
    target = {"t": teacher["t"].masked_fill(~mask["t"].unsqueeze(2), -99.0)}

    assert torch.allclose(
        LOSSES[name](translated, teacher, mask, mask), LOSSES[name](other, target, mask, mask), rtol=1e-4
    )
    assert not torch.allclose(LOSSES[name](other, target), LOSSES[name](translated, teacher))


@pytest.mark.parametrize("name", PAIRED)
def test_teachers_are_summed(name):
    translated, teacher, _ = values()
    twice = ({**translated, "u": translated["t"]}, {**teacher, "u": teacher["t"]})

    assert torch.allclose(LOSSES[name](*twice), 2 * LOSSES[name](translated, teacher))


@pytest.mark.parametrize("name", ["vic", "bar"])
def test_a_batch_of_one_has_no_spread_and_says_so(name):
    translated, teacher, _ = values(clips=1)

    with pytest.raises(DataError, match=f"loss '{name}' compares the clips of a batch.*a batch of one"):
        LOSSES[name](translated, teacher)


@pytest.mark.parametrize("name", PAIRED)
def test_losses_are_finite_in_sixteen_bits_and_at_equal_vectors(name):
    translated, _, _ = values()
    half = {"t": translated["t"].bfloat16()}

    loss = LOSSES[name](half, half)

    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_the_originals_pool_divides_by_the_students_length():
    translated, teacher, _ = values()
    student = torch.zeros(4, 10, 2)
    halved = {"t": translated["t"] / 2}

    assert torch.allclose(
        LOSSES["l2"](translated, teacher, student_tokens=student, pool="original"), LOSSES["l2"](halved, teacher)
    )
    with pytest.raises(DataError, match="needs the student's tokens"):
        LOSSES["l2"](translated, teacher, pool="original")


@pytest.mark.parametrize(
    ("name", "option", "distance"),
    [("nce", "temperature", contrastive), ("bar", "off_diagonal", cross_correlation)],
)
def test_an_option_of_a_plan_reaches_the_distance(name, option, distance):
    translated, teacher, _ = values()
    call = find_system("bombkd").read_losses[name]

    loss = call.bound({f"{name}.{option}": 0.7})({"translated": translated, "teacher_tokens": teacher})

    x, y = (tokens["t"].mean(dim=1) for tokens in (translated, teacher))
    assert call.names.options[option] is float
    assert torch.allclose(loss, distance(x, y, **{option: 0.7}))
    assert not torch.allclose(loss, distance(x, y))


def test_a_converter_without_its_teachers_tokens_is_refused():
    translated, teacher, _ = values()

    with pytest.raises(DataError, match="converters of u have no teacher's tokens"):
        LOSSES["l2"]({**translated, "u": translated["t"]}, teacher)


def test_clips_without_a_label_do_not_count():
    logits = torch.randn(4, 3, requires_grad=True)
    label = torch.tensor([0, -1, 2, 7])

    loss = classification(logits, label)
    loss.backward()

    assert torch.allclose(loss, torch.nn.functional.cross_entropy(logits[[0, 2]], label[[0, 2]]))
    assert logits.grad[[1, 3]].abs().max() == 0
    assert classification(logits, torch.full((4,), -1)) == 0


def test_sparsity_ignores_padding():
    gates = torch.tensor([[[0.5, 1.0], [0.9, 0.9]], [[0.5, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, False], [True, True]])

    assert sparsity(gates).item() == pytest.approx(3.8 / 8)
    assert sparsity(gates, mask).item() == pytest.approx(2.0 / 6)
    assert sparsity(torch.ones(1, 2, 1), kind="entropy").item() == pytest.approx(0, abs=1e-4)


def test_margin_pushes_abnormal_scores_up_and_ignores_what_has_no_label():
    score = torch.tensor([0.2, 0.4, 3.0, 9.0])

    assert margin(score, torch.tensor([0, 1, 1, -1])).item() == pytest.approx((0.2 + 0.6 + 0) / 3)


def test_five_best_of_three_classes_are_all():
    logits = torch.randn(4, 3)

    assert top5(logits, torch.tensor([0, 1, 2, -1])).tolist() == [100, 100, 100, 0]
    assert accuracy(logits, torch.tensor([0, 1, 2, -1]), 5) == 100


def test_metrics_take_the_values_of_the_losses():
    translated, teacher, mask = values()

    assert METRICS["cosine"].function(translated, translated, mask, mask).tolist() == pytest.approx([1] * 4)
    assert closeness(teacher["t"][:, 0], teacher["t"][:, 0])["nmae"] == 0


def test_feature_spaces_that_differ_by_a_rotation_are_alike_and_it_is_found():
    torch.manual_seed(0)
    x = torch.randn(20, 5).double()
    rotation = torch.linalg.qr(torch.randn(5, 5).double())[0]

    assert linear_cka(x, x @ rotation.T).item() == pytest.approx(1)
    assert torch.allclose(procrustes(x.T, rotation @ x.T), rotation)
