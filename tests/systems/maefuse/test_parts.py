import pytest
import torch

from gradatim.errors import DataError
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.systems.maefuse.parts.fusion import ComparativeFusion, MergingFusion
from gradatim.systems.maefuse.parts.masking import MaskToken

SMALL = {"patch_size": 4, "width": 32, "depth": 2, "heads": 2, "decoder_width": 16, "decoder_depth": 1}
TINY = MaeFuseSettings(image_size=(8, 12), decoder_heads=2, **SMALL)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def head(axis, grid=(2, 3), width=32):
    cfm, mfm = (kind(grid, width, attention_axis=axis) for kind in (ComparativeFusion, MergingFusion))
    return lambda visible, infrared: mfm(cfm(visible, infrared), visible, infrared)


def test_encoder_and_decoder_work_on_a_rectangular_grid():
    encoder, decoder = PARTS["encoder"](TINY), PARTS["decoder"](TINY)

    tokens = encoder(torch.rand(2, 3, 8, 12))

    assert tokens.shape == (2, 6, 32)
    assert decoder(tokens).shape == (2, 6, 48)


def test_an_image_of_another_size_is_answered_with_both_ways_out():
    with pytest.raises(DataError) as error:
        PARTS["encoder"](TINY)(torch.rand(2, 3, 12, 8))
    assert str(error.value) == (
        "encoder: the image is 12 x 8 pixels, the model was built for 8 x 12 (height x width). "
        "Set the model's `image_size: [12, 8]`, or let the data be resized with `size: [8, 12]`."
    )


def test_keeping_all_patches_in_another_order_permutes_the_tokens():
    encoder, image = PARTS["encoder"](TINY), torch.rand(2, 3, 8, 12)
    keep = torch.stack([torch.randperm(6), torch.randperm(6)])

    kept = encoder(image, keep=keep)

    torch.testing.assert_close(kept, encoder(image).gather(1, keep[..., None].expand(-1, -1, 32)))


def test_hidden_patches_have_no_influence_on_the_kept_tokens():
    encoder, image = PARTS["encoder"](TINY), torch.rand(1, 3, 8, 12)
    keep = torch.tensor([[0, 4]])
    other = image.clone()
    other[:, :, :4, 4:] = 0  # patches 1 and 2

    assert encoder(image, keep=keep).shape == (1, 2, 32)
    assert torch.equal(encoder(image, keep=keep), encoder(other, keep=keep))


def test_the_mask_token_stands_at_every_hidden_place():
    part = MaskToken(4)
    kept, keep = torch.rand(2, 2, 4), torch.tensor([[3, 0], [1, 2]])

    tokens = part(kept, keep, 4)

    assert torch.equal(tokens[0, [3, 0]], kept[0])
    assert torch.equal(tokens[1, [1, 2]], kept[1])
    assert torch.equal(tokens[0, [1, 2]], part.token[0].expand(2, 4))
    assert torch.equal(tokens[1, [0, 3]], part.token[0].expand(2, 4))


@pytest.mark.parametrize("axis", ["tokens", "sample"])
def test_a_sample_does_not_depend_on_its_batch(axis):
    fuse, (visible, infrared) = head(axis), torch.randn(2, 3, 6, 32)

    together = fuse(visible, infrared)
    alone = torch.cat([fuse(visible[i : i + 1], infrared[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_on_the_batch_axis_a_sample_depends_on_the_others_and_a_token_only_on_its_place():
    fuse, (visible, infrared) = head("batch"), torch.randn(2, 3, 6, 32)
    other = visible.clone()
    other[0, 2] += 1

    changed = (fuse(visible, infrared) - fuse(other, infrared)).abs().amax(dim=2) > 1e-4

    assert changed[:, 2].all()
    assert not changed[:, [0, 1, 3, 4, 5]].any()


def test_on_the_sample_axis_cfm_has_no_influence_and_gets_no_gradient():
    cfm = ComparativeFusion((2, 3), 32, attention_axis="sample")
    mfm = MergingFusion((2, 3), 32, attention_axis="sample")
    visible, infrared = torch.randn(2, 3, 6, 32)

    fused = mfm(cfm(visible, infrared), visible, infrared)
    fused.sum().backward()

    assert torch.equal(fused, mfm(torch.zeros(3, 6, 32), visible, infrared))
    assert all(parameter.grad is None for parameter in cfm.parameters())


def test_fusion_leaves_the_tokens_that_it_is_given_as_they_are():
    visible, infrared = torch.randn(2, 1, 6, 32)
    before = visible.clone(), infrared.clone()

    head("tokens")(visible, infrared)

    assert torch.equal(visible, before[0])
    assert torch.equal(infrared, before[1])


@pytest.mark.parametrize("name", PARTS)
def test_a_part_built_on_the_meta_device_is_completed_to_the_same_start(name):
    torch.manual_seed(1)
    expected = PARTS[name](TINY).state_dict()

    with torch.device("meta"):
        part = PARTS[name](TINY)
    part.to_empty(device="cpu")
    torch.manual_seed(1)
    part.reset_parameters()

    # Layers are first drawn by their constructors, so only what is not random can be equal to the bit.
    for key, value in part.state_dict().items():
        assert torch.isfinite(value).all(), key
        assert value.shape == expected[key].shape
        if key == "pos_embed" or "norm" in key or (key.endswith("bias") and "proj" in key):
            assert torch.equal(value, expected[key]), key
        elif value.std() > 0:
            assert 0.5 < value.std() / expected[key].std() < 2, key


@pytest.mark.parametrize("name", ["encoder", "decoder", "cfm", "mfm"])
def test_the_position_table_is_stored_but_never_learns(name):
    part = PARTS[name](TINY)

    assert "pos_embed" in part.state_dict()
    assert "pos_embed" not in dict(part.named_parameters())
    assert part.pos_embed.abs().max() == 1


def test_fusion_starts_as_the_frameworks_own_attention():
    attention = ComparativeFusion((2, 3), 32).attn

    assert 0.9 < attention.qkv.weight.abs().max() / (6 / (32 + 96)) ** 0.5 <= 1
    assert 0.9 < attention.proj.weight.abs().max() / 32**-0.5 <= 1
    assert not attention.qkv.bias.any()
    assert not attention.proj.bias.any()
