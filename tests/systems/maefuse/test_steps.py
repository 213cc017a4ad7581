import pytest
import torch

from gradatim.errors import PlanError
from gradatim.systems.maefuse.losses import masked_reconstruction, reconstruction
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.systems.maefuse.steps import TASKS, decode, encode, encode_image, encode_visible_patches, mask, restore
from gradatim.task import read_tasks
from gradatim.vision.normalization import to_imagenet

FIELDS = ("visible", "infrared", "image")
CHAINS = read_tasks(TASKS, PARTS, FIELDS)
SETTINGS = MaeFuseSettings(
    image_size=(8, 12), patch_size=4, width=32, depth=1, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2
)
USES = {
    "align_pattern": ("encoder", "cfm"),
    "align_fused": ("encoder", "cfm", "mfm"),
    "fuse_pattern": ("encoder", "cfm", "decoder"),
    "fuse": ("encoder", "cfm", "mfm", "decoder"),
    "reconstruct": ("encoder", "decoder"),
    "pretrain": ("encoder", "mask_token", "decoder"),
}


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return {name: build(SETTINGS) for name, build in PARTS.items()}


@pytest.fixture
def sample():
    torch.manual_seed(1)
    return {field: torch.rand(2, 3, 8, 12) for field in FIELDS}


def test_each_task_uses_the_parts_that_it_is_about():
    assert {name: task.parts for name, task in CHAINS.items()} == USES


@pytest.mark.parametrize("name", TASKS)
def test_each_task_makes_finite_values_of_the_images_size(name, parts, sample):
    want = {"align_pattern": "pattern", "align_fused": "fused_tokens", "reconstruct": "reconstructed"}
    value = {"pretrain": "reconstructed"}.get(name, want.get(name, "fused"))

    made = CHAINS[name].compute(parts, sample, want=(value,), generator=torch.Generator().manual_seed(0))[value]

    assert made.shape == ((2, 6, 32) if value in ("pattern", "fused_tokens") else (2, 3, 8, 12))
    assert made.isfinite().all()


def test_encode_gives_each_image_the_tokens_that_it_has_alone(parts, sample):
    visible_tokens, infrared_tokens = encode(parts["encoder"], sample["visible"], sample["infrared"])

    torch.testing.assert_close(visible_tokens, parts["encoder"](to_imagenet(sample["visible"])))
    torch.testing.assert_close(infrared_tokens, parts["encoder"](to_imagenet(sample["infrared"])))


def test_kept_patches_are_encoded_in_the_same_units_as_whole_images(parts, sample):
    everything = torch.arange(6).expand(2, 6)

    kept_tokens = encode_visible_patches(parts["encoder"], sample["image"], everything)

    torch.testing.assert_close(kept_tokens, encode_image(parts["encoder"], sample["image"]))
    torch.testing.assert_close(kept_tokens, parts["encoder"](to_imagenet(sample["image"])))


def test_decoded_pixels_and_patches_are_the_same_picture(parts):
    patches, fused = decode(parts["decoder"], torch.randn(2, 6, 32))

    torch.testing.assert_close(reconstruction(patches, fused), torch.tensor(0.0), atol=1e-10, rtol=0)


def test_mask_hides_the_given_part_of_each_image_and_repeats_with_its_generator(parts, sample):
    draws = [mask(parts["encoder"], sample["image"], torch.Generator().manual_seed(3), ratio=0.5) for _ in range(2)]
    (keep, hidden), again = draws

    assert torch.equal(keep, again[0])
    assert torch.equal(hidden, again[1])
    assert keep.shape == (2, 3)
    assert hidden.sum(dim=1).tolist() == [3, 3]
    assert not hidden.gather(1, keep).any()
    assert not torch.equal(keep[0].sort()[0], keep[1].sort()[0])


@pytest.mark.parametrize(("ratio", "kept"), [(0.9, 0), (0.0, 6)])
def test_a_ratio_that_hides_all_or_nothing_is_refused(parts, sample, ratio, kept):
    with pytest.raises(PlanError, match=f"mask.ratio: {ratio} keeps {kept} of 6 patches"):
        mask(parts["encoder"], sample["image"], torch.Generator(), ratio=ratio)


def test_pretraining_never_sees_what_is_hidden_and_teaches_all_three_parts(parts, sample):
    def run(image):
        made = CHAINS["pretrain"].compute(
            parts, {"image": image}, want=("image_patches", "hidden"), generator=torch.Generator().manual_seed(0)
        )
        return made["image_patches"], made["hidden"]

    patches, hidden = run(sample["image"])
    shown = (~hidden).view(2, 1, 2, 3).repeat_interleave(4, 2).repeat_interleave(4, 3)
    masked_reconstruction(patches, sample["image"], hidden).backward()

    assert torch.equal(patches, run(sample["image"] * shown)[0])
    for name in USES["pretrain"]:
        assert all(parameter.grad is not None for parameter in parts[name].parameters()), name


def test_restore_puts_the_learned_token_exactly_where_patches_are_hidden(parts):
    hidden = torch.tensor([[True, False, True, False]])
    kept = torch.randn(1, 2, 32)

    tokens = restore(parts["mask_token"], kept, torch.tensor([[3, 1]]), hidden)

    assert torch.equal(tokens[0, [3, 1]], kept[0])
    assert torch.equal(tokens[hidden], parts["mask_token"].token[0].expand(2, 32))
