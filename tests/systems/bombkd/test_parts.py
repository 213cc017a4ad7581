"""Padding never reaches a valid token, a clip never depends on another, and wrong names and sizes are refused."""

import pytest
import torch
from torch import nn

from gradatim.errors import DataError, PlanError
from gradatim.systems.bombkd.parts.classifier import AdvancedClassificationHead, LinearHead
from gradatim.systems.bombkd.parts.converters import BoundedActivation
from gradatim.systems.bombkd.parts.fusion import LinearProbe, ResidualGatedFusion, SelfResidualProbe
from gradatim.systems.bombkd.parts.kinds import KINDS, build_converter, convert_all, kind_in_checkpoint, kind_of
from gradatim.systems.bombkd.parts.projection import clip_score, frame_scores, time_scores
from gradatim.systems.bombkd.parts.tokens import masked_mean, resample

SMALL = {
    "a": {"d_lat": 12, "n_lat": 5, "n_heads_enc": 3, "n_heads_dec": 4},
    "d": {"hidden": 6, "tokens": 5, "heads": 4},
    "residual": {"hidden": 6},
}
LENGTHS = (9, 4, 1)


def stirred(module: nn.Module) -> nn.Module:
    """A part whose every array matters; some start at zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.3, std=0.4)
    return module.eval()


def batch(width: int = 8, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of unequal length, with large numbers as padding, and their mask."""
    torch.manual_seed(seed)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    return torch.randn(len(LENGTHS), max(LENGTHS), width).masked_fill(~mask.unsqueeze(2), 50.0), mask


@pytest.mark.parametrize(
    ("kind", "target_len"),
    [(kind, length) for kind in sorted(KINDS) for length in (None, 6) if (kind, length) != ("d", None)],
)
def test_a_clip_among_padded_ones_is_translated_as_if_it_were_alone(kind, target_len):
    converter = stirred(build_converter(kind, 8, 12, target_len=target_len, options=SMALL.get(kind)))
    x, mask = batch()

    together, own = converter(x, mask)

    assert (own is None) == (target_len is not None)
    for index, length in enumerate(LENGTHS):
        alone, _ = converter(x[index : index + 1, :length])
        found = together[index : index + 1, : alone.shape[1]]
        torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_mask_of_nothing_but_valid_tokens_changes_nothing(kind):
    converter = stirred(build_converter(kind, 8, 12, target_len=5, options=SMALL.get(kind)))
    x = torch.randn(2, 9, 8)

    torch.testing.assert_close(converter(x, torch.ones(2, 9, dtype=torch.bool))[0], converter(x)[0])


def test_padding_gives_no_gradient():
    converter = stirred(build_converter("b", 8, 12))
    x, mask = batch()
    x.requires_grad_()

    y, own = converter(x, mask)
    masked_mean(y, own).square().sum().backward()

    assert x.grad.masked_select(~mask.unsqueeze(2)).abs().max() == 0
    assert x.grad[mask].abs().min() > 0


def test_statistics_of_a_batch_couple_clips_and_those_of_a_clip_do_not():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4) * torch.tensor([1.0, 3.0]).view(2, 1, 1)

    together = {how: BoundedActivation(4, batch_stats=how)(x)[:1] for how in ("clip", "batch")}
    alone = {how: BoundedActivation(4, batch_stats=how)(x[:1]) for how in ("clip", "batch")}

    assert torch.equal(together["clip"], alone["clip"])
    assert (together["batch"] - alone["batch"]).abs().max() > 0.1
    assert torch.equal(alone["clip"], alone["batch"])


def test_running_statistics_move_while_training_and_stay_in_use():
    torch.manual_seed(0)
    layer = BoundedActivation(4, batch_stats="running")
    x = 3 * torch.randn(4, 50, 4)
    for _ in range(60):
        layer(x)
    layer.eval()
    before = layer.mean_square.clone()

    alone, together = layer(x[:1]), layer(x)[:1]

    assert torch.allclose(before, x.square().mean(dim=(0, 1)), rtol=0.02)
    assert torch.equal(layer.mean_square, before)
    assert torch.equal(alone, together)
    assert "mean_square" in layer.state_dict()


def test_both_branches_of_kind_b_begin_at_zero():
    converter = build_converter("b", 8, 12).eval()
    x = torch.randn(2, 5, 8)

    h = converter.bound0(converter.norm0(converter.proj(x)))

    assert torch.equal(converter(x)[0], h)


def test_names_of_kinds_are_read_in_any_case_and_unknown_ones_refused():
    assert [kind_of(name) for name in ("A", "Perceiver", "DSConv", "single_linear")] == ["a", "a", "b", "c"]
    assert [kind_in_checkpoint(name) for name in ("latent_xattn", "mlp", "whatever", "SingleLinear")] == list("abbc")
    with pytest.raises(PlanError, match=r"unknown kind of converter 'perciever'\. Did you mean 'perceiver'\?"):
        kind_of("perciever")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("b", {"kernel": 5}, "unknown option of converter b 'kernel'"),
        ("b", {"k": 4}, "`k` is 4; a kernel that keeps the length is odd: 5"),
        ("a", {"n_heads_dec": 5}, "the width of the result is 12, no multiple of 5 heads; set `n_heads_dec: 4`"),
        ("d", {"heads": 4}, "give each teacher's tokens in `target_lens`"),
    ],
)
def test_options_that_do_not_fit_are_refused(kind, options, message):
    with pytest.raises(PlanError) as error:
        build_converter(kind, 8, 12, options=options)
    assert message in str(error.value)


def test_all_converters_run_at_once_and_masks_are_made_where_one_needs_them():
    converters = nn.ModuleDict({"x/y": build_converter("c", 8, 4), "z": build_converter("c", 8, 6, target_len=3)})
    x, mask = batch()

    translated, masks = convert_all(converters, x, mask)
    _, none = convert_all(converters, x)

    assert {name: tuple(y.shape) for name, y in translated.items()} == {"x/y": (3, 9, 4), "z": (3, 3, 6)}
    assert torch.equal(masks["x/y"], mask)
    assert masks["z"].all()
    assert none is None


def test_resampling_with_masks_is_that_of_each_clip_alone():
    x, mask = batch()
    target = torch.arange(7) < torch.tensor([7, 5, 2]).unsqueeze(1)

    found = resample(x, 7, mask=mask, target_mask=target)

    for index, (length, want) in enumerate(zip(LENGTHS, (7, 5, 2), strict=True)):
        alone = resample(x[index : index + 1, :length], want)
        torch.testing.assert_close(found[index : index + 1, :want], alone)


def test_long_sequences_are_resampled_alike_with_and_without_a_mask():
    torch.manual_seed(0)
    x = torch.randn(1, 9216, 2)

    found = resample(x, 12544, mask=torch.ones(1, 9216, dtype=torch.bool))

    torch.testing.assert_close(found, resample(x, 12544), atol=1e-4, rtol=0)


@pytest.mark.parametrize("head", ["linear", "advanced"])
def test_a_clip_among_padded_ones_is_fused_and_classified_as_if_it_were_alone(head):
    fusion = stirred(ResidualGatedFusion(8, [6, 5], classes=3, head=head))
    x, mask = batch()
    first, _ = batch(6, seed=2)
    second = torch.randn(len(LENGTHS), 4, 5)

    together = fusion(x, [first, second], mask, [mask, None])

    for index, length in enumerate(LENGTHS):
        here = slice(index, index + 1)
        alone = fusion(x[here, :length], [first[here, :length], second[here]])
        for found, expected in zip(together, alone, strict=True):
            found = found[here] if found.ndim == 2 else found[here, :length]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_teachers_sum_is_divided_by_the_root_of_their_number_unless_told_otherwise():
    torch.manual_seed(0)
    x, translated = torch.randn(2, 4, 8), [torch.randn(2, 4, 6)] * 4
    scaled = ResidualGatedFusion(8, [6] * 4, head="none")
    plain = ResidualGatedFusion(8, [6] * 4, head="none", teacher_scale=1)
    plain.load_state_dict(scaled.state_dict())

    assert torch.allclose(2 * (scaled(x, translated).tokens - x), plain(x, translated).tokens - x, atol=1e-5)
    assert scaled(x, translated).logits is None


def test_a_fusion_without_classes_or_teachers_is_refused():
    with pytest.raises(PlanError, match="set `classes`, or `head: none`"):
        ResidualGatedFusion(8, [8])
    with pytest.raises(PlanError, match="no teacher to fuse"):
        ResidualGatedFusion(8, [], head="none")


def test_the_rank_is_bounded_by_both_widths():
    fusion = ResidualGatedFusion(8, [3, 20], low_rank=6, head="none")

    assert [list(p[0].weight.shape) for p in fusion.teacher_projections] == [[3, 3], [6, 20]]


@pytest.mark.parametrize("probe", [LinearProbe(8, 3), SelfResidualProbe(8, 3)])
def test_probes_ignore_padding(probe):
    stirred(probe)
    x, mask = batch()

    logits = probe(x, mask).logits

    for index, length in enumerate(LENGTHS):
        torch.testing.assert_close(logits[index], probe(x[index : index + 1, :length]).logits[0], atol=1e-5, rtol=1e-5)


def test_heads_take_vectors_too():
    vectors = torch.randn(2, 8)

    assert LinearHead(8, 3)(vectors).shape == AdvancedClassificationHead(8, 3)(vectors).shape == (2, 3)


def test_anomaly_scores_ignore_padding_and_average_over_places():
    student, mask = batch()
    fused = student + 1

    assert clip_score(student, fused, mask).tolist() == pytest.approx([8.0] * 3, rel=1e-5)
    assert clip_score(student, fused, mask, reduce="sum").tolist() == pytest.approx(
        [8.0 * n for n in LENGTHS], rel=1e-5
    )
    zeros, steps = torch.zeros(1, 12, 1), torch.arange(3.0).repeat_interleave(4).view(1, 12, 1)
    assert time_scores(zeros, steps, ("thw", 3, 2, 2)).tolist() == [[0, 1, 4]]
    by_place = steps.view(3, 4).T.reshape(1, 12, 1)
    assert time_scores(zeros, by_place, ("hwt", 3, 2, 2)).tolist() == [[0, 1, 4]]
    with pytest.raises(DataError, match="12 tokens are not 3 x 3 x 2"):
        time_scores(zeros, steps, ("thw", 3, 3, 2))


def test_scores_of_time_steps_become_scores_of_frames():
    assert frame_scores(torch.tensor([[0.0, 1.0]]), 4).tolist() == [[0, 0.25, 0.75, 1]]
