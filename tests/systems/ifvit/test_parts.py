"""Networks, matching and losses: what each promises, at tiny sizes."""

import math

import pytest
import torch
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.ifvit.dense import cells_of, matrix_loss, no_match_loss, points_loss
from gradatim.systems.ifvit.matching import best_rows, dual_softmax, mutual, probabilities
from gradatim.systems.ifvit.metric_losses import arcface_loss, cosine_embedding_loss, fused_score
from gradatim.systems.ifvit.model import PARTS, IFViTSettings
from gradatim.systems.ifvit.parts.backbone import ResNet18, same_padding
from gradatim.systems.ifvit.parts.fpn import LoFTRBackbone
from gradatim.systems.ifvit.parts.loftr import LegacyLayer, LoFTRLayer
from gradatim.systems.ifvit.parts.siamese import SiameseBlock
from gradatim.systems.ifvit.parts.tokens import full_attention, loftr_positions, sine_positions
from gradatim.vision.batch_norm import BatchNorm

SMALL = {"widths": (2, 4, 8), "width": 8, "layers": 2, "heads": 2, "mlp_width": 6, "grid": (3, 3)}
VARIANTS = ["loftr", "legacy", "generic"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def transformer(kind, **changes):
    return PARTS["transformer"](IFViTSettings(**{**SMALL, "transformer": kind, **changes})).eval()


def positions(first, second):
    return torch.rand(2, 8, *first), torch.rand(2, 8, *second)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((64, 64), 7, 2, (2, 3, 2, 3)),
        ((45, 90), 7, 2, (2, 3, 3, 3)),
        ((8, 8), 3, 2, (0, 1, 0, 1)),
        ((9, 9), 3, 2, (1, 1, 1, 1)),
        ((9, 9), 1, 2, (0, 0, 0, 0)),
    ],
)
def test_padding_puts_what_cannot_be_halved_to_the_end(size, kernel, stride, padding):
    assert same_padding(size, kernel, stride) == padding


@pytest.mark.parametrize(("network", "stride"), [(ResNet18, 16), (LoFTRBackbone, 8)])
def test_a_backbone_makes_one_cell_of_every_begun_stride(network, stride):
    backbone = network((2, 4, 8)).eval()
    assert backbone.stride == stride
    assert backbone(torch.rand(2, 1, 48, 90)).shape == (2, 8, math.ceil(48 / stride), math.ceil(90 / stride))


def test_running_statistics_follow_the_biased_variance_of_a_batch():
    norm, x = BatchNorm(3, epsilon=1e-5), torch.randn(4, 3, 5, 5)

    norm(x)

    biased = x.var((0, 2, 3), correction=0)
    assert torch.allclose(norm.running_var, 0.99 + 0.01 * biased)
    assert torch.allclose(norm.running_mean, 0.01 * x.mean((0, 2, 3)))


def test_one_value_a_channel_is_normalized_to_the_bias_as_in_flax():
    norm = BatchNorm(3, epsilon=1e-5)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(norm(torch.rand(1, 3, 1, 1)).flatten(), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(norm.running_var, torch.tensor(0.99))


@pytest.mark.parametrize("kind", VARIANTS)
def test_images_of_different_sizes_keep_their_shapes(kind):
    first, second = transformer(kind)(*positions((2, 3), (4, 3)))
    assert (first.shape, second.shape) == ((2, 8, 2, 3), (2, 8, 4, 3))


@pytest.mark.parametrize(
    ("kind", "changes"), [("loftr", {}), ("legacy", {}), ("legacy", {"attention": "full"}), ("generic", {})]
)
def test_cells_that_do_not_count_change_nothing_in_others(kind, changes):
    network, (first, second) = transformer(kind, **changes), positions((3, 3), (3, 3))
    masks = [torch.ones(2, 3, 3, dtype=torch.bool) for _ in range(2)]
    for mask in masks:
        mask[:, 2] = False
    noisy = [torch.where(mask[:, None], x, torch.randn_like(x)) for x, mask in zip((first, second), masks, strict=True)]

    for clean, other in zip(network(first, second, *masks), network(*noisy, *masks), strict=True):
        assert torch.allclose(clean[:, :, :2], other[:, :, :2], atol=1e-6)
    assert not torch.allclose(network(first, second)[0], network(*noisy)[0], atol=1e-3)


def test_without_a_message_each_layer_is_its_feed_forward_network():
    x = 3 * torch.rand(2, 5, 8)
    none = torch.zeros_like(x)
    layers = LoFTRLayer(8, 2), LegacyLayer(8, 2, attention="full"), SiameseBlock(8, 2, 6, dropout=0.0, crosses=False)
    for layer, last in zip(layers, ("merge", "merge", "out"), strict=True):
        for array in getattr(layer, last).parameters():
            array.data.zero_()
    loftr, legacy, generic = layers

    fed = loftr.fc2(F.relu(loftr.fc1(torch.cat([x, none], dim=2))))
    assert torch.allclose(loftr(x, x), x + F.layer_norm(fed, (8,), eps=1e-5), atol=1e-6)
    fed = legacy.fc2(F.relu(legacy.fc1(torch.cat([F.layer_norm(x, (8,)), none], dim=2))))
    assert torch.allclose(legacy(x, x), F.layer_norm(x + fed, (8,)), atol=1e-4)
    fed = generic.fc2(F.gelu(generic.fc1(F.layer_norm(x, (8,), eps=1e-6)), approximate="tanh"))
    assert torch.allclose(generic(x, x), x + fed, atol=1e-6)


def test_loftr_treats_both_images_alike_but_for_who_looks_first():
    network, (first, second) = transformer("loftr", layers=1), positions((3, 3), (3, 3))
    assert torch.equal(network(first, second)[0], network(second, first)[1])

    sequential = transformer("loftr", layers=2)
    assert not torch.allclose(sequential(first, second)[0], sequential(second, first)[1], atol=1e-4)


def test_legacy_layers_look_at_what_the_other_image_was_before():
    network, (first, second) = transformer("legacy"), positions((3, 3), (3, 3))
    for pair in network.layers:
        pair.second.load_state_dict(pair.first.state_dict())

    assert torch.equal(network(first, second)[0], network(second, first)[1])


def test_learned_positions_are_used_as_they_are_on_their_grid_and_interpolated_on_others():
    network = transformer("generic", layers=1)
    with torch.no_grad():
        network.positions_first.fill_(0.5)
    assert network._table(network.positions_first, (3, 3)) is network.positions_first
    assert torch.allclose(network._table(network.positions_first, (5, 7)), torch.full((1, 35, 8), 0.5))


def test_a_projection_takes_channels_of_another_width():
    network = transformer("generic", width=4)
    assert network(*positions((2, 2), (2, 2)))[0].shape == (2, 4, 2, 2)


def test_dropout_draws_in_train_mode_alone_and_from_the_global_generator():
    network, pair = transformer("generic"), positions((3, 3), (3, 3))

    def drawn():
        torch.manual_seed(1)
        return network(*pair)[0]

    assert torch.equal(network(*pair)[0], network(*pair)[0])
    network.train()
    assert torch.equal(drawn(), drawn())
    assert not torch.equal(network(*pair)[0], network(*pair)[0])


def test_a_row_whose_keys_are_all_masked_stays_finite():
    query, key = torch.rand(1, 1, 2, 4), torch.rand(1, 1, 3, 4)
    mixed = full_attention(query, key, key, source_mask=torch.zeros(1, 3, dtype=torch.bool))
    assert torch.allclose(mixed, key.mean(dim=2, keepdim=True).expand_as(mixed))


def test_tables_have_the_frequencies_that_they_name():
    outdoor, fixed = (loftr_positions(8, (2, 3), kind) for kind in ("outdoor", "fixed"))
    for table, second in ((outdoor, math.exp(-2)), (fixed, 0.01)):
        expected = [math.sin(3), math.cos(3), math.sin(2), math.cos(2)]
        expected += [f(n * second) for n in (3, 2) for f in (math.sin, math.cos)]
        assert torch.allclose(table[:, 1, 2], torch.tensor(expected))
    sines = sine_positions(4, (2, 3))
    assert torch.allclose(sines[:, 1, 2], torch.tensor([math.sin(1), math.sin(0.01), math.sin(2), math.sin(0.02)]))


def test_probabilities_are_one_where_only_one_cell_can_match():
    features = torch.eye(4).reshape(1, 4, 2, 2)
    order = torch.tensor([2, 0, 3, 1])

    probability = probabilities(features, features.flatten(2)[:, :, order].reshape(1, 4, 2, 2), temperature=0.01)

    assert torch.allclose(probability, F.one_hot(order).T[None].float(), atol=1e-6)


def test_the_root_of_the_product_is_its_square_root_and_keeps_a_gradient_where_it_vanishes():
    scores = (200 * torch.randn(1, 3, 3)).requires_grad_()

    root = dual_softmax(scores, "sqrt")
    root.sum().backward()

    assert torch.allclose(root**2, dual_softmax(scores, "product"))
    assert scores.grad.isfinite().all()


def test_cosines_are_computed_in_full_precision_whatever_autocast_says():
    features, chosen = torch.rand(2, 8, 3, 3), IFViTSettings(**SMALL, classes=5)
    embedding, centers = PARTS["embedding"](chosen), PARTS["centers"](chosen)

    def results():
        unit = embedding(features)
        return probabilities(features, features.flip(3)), unit, arcface_loss(unit, centers(), torch.tensor([0, 4]))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results()
    assert all(torch.equal(*pair) for pair in zip(found, results(), strict=True))


@pytest.mark.parametrize("kind", VARIANTS)
def test_everything_can_be_outlined_without_values(kind):
    with torch.device("meta"):
        chosen = IFViTSettings(**SMALL, transformer=kind, classes=5)
        parts = {name: build(chosen) for name, build in PARTS.items()}
        first, second = parts["transformer"](*(parts["backbone"](torch.rand(2, 1, 48, 48)) for _ in range(2)))
        probability = probabilities(first, second)
        losses = [
            points_loss(probability, torch.rand(2, 5, 4), torch.rand(2, 5) > 0, grid=(3, 3), image_size=(48, 48)),
            no_match_loss(probability, torch.rand(2) > 0),
            arcface_loss(parts["embedding"](first), parts["centers"](), torch.zeros(2, dtype=torch.long)),
        ]
    assert all(loss.is_meta and loss.shape == () for loss in losses)
    assert best_rows(probability).shape == (2, 9, 2)


def test_best_rows_are_surest_first_and_equal_ones_in_the_grids_order():
    probability = torch.tensor([[[0.1, 0.2], [0.7, 0.1], [0.2, 0.0], [0.1, 0.9]]])
    assert best_rows(probability, 3).tolist() == [[[3, 1], [1, 0], [0, 1]]]
    assert best_rows(probability).shape == (1, 4, 2)
    assert torch.equal(best_rows(torch.full((1, 64, 2), 0.5))[0, :, 0], torch.arange(64))


def test_mutual_partners_are_best_for_each_other_and_above_the_threshold():
    probability = torch.tensor([[[0.6, 0.2], [0.7, 0.1], [0.1, 0.3]]])
    assert mutual(probability).nonzero().tolist() == [[0, 1, 0], [0, 2, 1]]
    assert mutual(probability, 0.3).nonzero().tolist() == [[0, 1, 0]]


def test_points_fall_into_cells_of_the_grid_and_those_outside_into_the_nearest():
    points = torch.tensor([[0.0, 0.0], [15.9, 0.0], [16.0, 31.9], [99.0, -3.0]])
    assert cells_of(points, grid=(2, 3), cell=(16.0, 16.0)).tolist() == [0, 0, 4, 2]


def test_each_sample_weighs_the_same_and_those_without_points_nothing():
    probability = torch.full((3, 4, 4), 0.5)
    probability[1] = 0.25
    points, mask = torch.rand(3, 5, 4) * 16, torch.ones(3, 5, dtype=torch.bool)
    mask[0, 1:], mask[2] = False, False
    size = {"grid": (2, 2), "image_size": (16, 16)}

    loss = points_loss(probability, points, mask, **size)

    assert torch.allclose(loss, torch.tensor((math.log(2) + math.log(4)) / 2))
    assert float(points_loss(probability, points, torch.zeros_like(mask), **size)) == 0
    with pytest.raises(ValueError, match="not of two grids"):
        points_loss(probability, points, mask, grid=(3, 3), image_size=(16, 16))


def test_a_mask_of_all_ones_is_no_mask():
    probability, target = torch.rand(2, 2, 3, 3)
    assert torch.allclose(matrix_loss(probability, target), matrix_loss(probability, target, torch.ones(2, 3, 3)))


def test_images_that_do_not_match_are_pushed_away_from_their_best_partners():
    probability = torch.full((2, 3, 3), 0.25).requires_grad_()

    loss = no_match_loss(probability, torch.tensor([True, False]))
    loss.backward()

    assert torch.allclose(loss, torch.tensor(-math.log(0.75)))
    assert not probability.grad[0].any()
    assert (probability.grad[1].sum(dim=1) > 0).all()
    assert not no_match_loss(probability, torch.tensor([True, True]))


def test_embeddings_and_centers_have_length_one():
    embedding, centers = (PARTS[name](IFViTSettings(**SMALL, classes=5)) for name in ("embedding", "centers"))
    assert torch.allclose(embedding(torch.rand(3, 8, 2, 2)).norm(dim=1), torch.ones(3), atol=1e-6)
    assert torch.allclose(centers().norm(dim=1), torch.ones(5), atol=1e-5)


def test_pairs_that_do_not_match_cost_nothing_below_the_margin():
    first, second = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])), torch.eye(2)[[0, 1, 0]]
    losses = [cosine_embedding_loss(first, second, torch.tensor(matches)) for matches in ([1, -1, 1], [1, -1, -1])]
    assert torch.allclose(torch.stack(losses), torch.tensor([0.0, 0.2]))


def test_the_margin_makes_a_right_answer_harder():
    embeddings, labels = F.normalize(torch.randn(4, 3)), torch.tensor([0, 1, 1, 0])
    centers = F.normalize(torch.randn(2, 3))
    plain = F.cross_entropy(64 * embeddings @ centers.T, labels)
    assert torch.allclose(arcface_loss(embeddings, centers, labels, margin=0.0), plain, atol=1e-3)
    assert arcface_loss(embeddings, centers, labels) > plain


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_center_is_refused(label):
    with pytest.raises(DataError, match=f"label {label} stands for none of the 2 classes"):
        arcface_loss(torch.eye(2), torch.eye(2), torch.tensor([0, label]))


def test_scores_are_fused_by_their_weights():
    whole, local = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.allclose(fused_score(whole, local), torch.tensor([0.6, 0.4]))
    assert torch.allclose(fused_score(whole, local, whole_weight=3, local_weight=1), torch.tensor([0.75, 0.25]))
