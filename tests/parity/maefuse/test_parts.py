"""Each part, fed with the original's weights and inputs, gives the original's outputs."""

import re

import pytest
import torch
from torch import Tensor, nn

from gradatim.systems.maefuse.losses import reconstruction
from gradatim.systems.maefuse.parts import legacy
from gradatim.systems.maefuse.parts.fusion import ComparativeFusion, MergingFusion
from gradatim.vision.normalization import from_imagenet
from gradatim.vision.patches import patchify, unpatchify
from gradatim.vision.positions import sine_cosine_table
from parity.maefuse.support import Case, build, cases, grid_of, load, settings_of
from parity.support import filled

pytestmark = pytest.mark.parity


def test_position_tables_are_the_originals(parity_root):
    for case in cases(parity_root, "positions*"):
        rows = case.input("rows")
        for name in sorted(case.open_arrays):
            width, first, second, some = re.fullmatch(r"pos_(\d+)_(\d+)(?:x(\d+))?(_rows)?", name).groups()
            table = sine_cosine_table(int(width), (int(first), int(second or first)))
            case.check(name, table[rows] if some else table)
        case.close()


def mae_parts(root, case: Case) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of a case, with the original's weights."""
    parts = build(settings_of(case.entry("options")), "encoder", "decoder")
    load(root, case.entry("keys"), parts, "mae")
    case.check_norms(*parts.values())
    return parts["encoder"], parts["decoder"]


def test_encoder_decoder_and_patches_are_the_originals(parity_root):
    for case in cases(parity_root, "mae*"):
        encoder, decoder = mae_parts(parity_root, case)
        image = case.input("x")
        latent = encoder(image)
        prediction = decoder(latent).detach().requires_grad_()
        patches = encoder.patch_embed(image).flatten(2).transpose(1, 2)
        values = {
            "patch_embed": lambda patches=patches: patches,
            "block0_out": lambda encoder=encoder, patches=patches: encoder.blocks[0](patches + encoder.pos_embed),
            "latent": lambda latent=latent: latent,
            "pred": lambda prediction=prediction: prediction,
            "recon": lambda decoder=decoder, prediction=prediction: unpatchify(prediction, decoder.grid),
            "patchified": lambda decoder=decoder, image=image: patchify(image, decoder.patch_size),
        }
        check_reconstruction(case, from_imagenet(image), prediction)
        case.check_all(values)
        case.close()


def check_reconstruction(case: Case, image: Tensor, prediction: Tensor) -> None:
    """Compare the reconstruction loss and its gradient's norm, for both targets, where the file has them."""
    for suffix, option in (("", False), ("_norm_pix", True)):
        if "loss" + suffix in case.open_arrays:
            loss = reconstruction(prediction, image, normalize_patches=option)
            (slope,) = torch.autograd.grad(loss, prediction)
            case.check("loss" + suffix, loss, atol=0, rtol=1e-6)
            case.check("grad_norm" + suffix, slope.norm(), atol=0, rtol=1e-5)


def fusion_head(root, case: Case, axis: str) -> tuple[nn.Module, nn.Module]:
    """CFM and MFM of a case, with the original's weights."""
    options = case.entry("options")
    assert set(options) == {"embed_dim", "num_heads", "grid"}
    parts = {
        name: kind(
            grid_of(options["grid"]), options["embed_dim"], heads=options["num_heads"], attention_axis=axis
        ).eval()
        for name, kind in (("cfm", ComparativeFusion), ("mfm", MergingFusion))
    }
    load(root, case.entry("keys"), parts, "head")
    return parts["cfm"], parts["mfm"]


FUSION_ARRAYS = re.compile(r"(token_attention_)?(cfm|out)(?:_b(\d+))?(?:_every_(\d+)[a-z]*_token)?")


def fusion_result(root, case: Case, match: re.Match, visible: Tensor, infrared: Tensor) -> Tensor:
    """What an array of a fusion file holds, from its name: which axis, how many samples, CFM's output or the head's."""
    tokens, kind, batch, every = match.groups()
    count = int(batch or len(visible))
    axis = "tokens" if tokens else "sample" if count == 1 else "batch"
    if count > 1:
        visible, infrared = visible[:count], infrared[:count]
    cfm, mfm = fusion_head(root, case, axis)
    pattern = cfm(visible, infrared)
    result = pattern if kind == "cfm" else mfm(pattern, visible, infrared)
    return result[:, :: int(every or 1)]


def test_the_fusion_head_is_the_originals_on_all_three_axes(parity_root):
    for case in cases(parity_root, "fusion*"):
        visible, infrared = case.input("vi"), case.input("ir")
        for name in sorted(case.open_arrays):
            match = FUSION_ARRAYS.fullmatch(name)
            case.check(name, fusion_result(parity_root, case, match, visible, infrared))
        case.close()


def test_one_sample_gives_the_same_on_the_batch_axis_and_the_sample_axis(parity_root):
    for case in cases(parity_root, "fusion*"):
        visible, infrared = case.input("vi")[:1], case.input("ir")[:1]
        results = []
        for axis in ("batch", "sample"):
            cfm, mfm = fusion_head(parity_root, case, axis)
            results.append(mfm(cfm(visible, infrared), visible, infrared))
        torch.testing.assert_close(*results, atol=1e-5, rtol=0)


def conv_key(key: str) -> str:
    """Our key of an array of the authors' two convolutional networks."""
    key = re.sub(r"^(down|up)sample(\d)\.", r"\1\2.", key)
    key = re.sub(r"^(conv|bn)([1-3])\.", lambda m: f"stages.{int(m[2]) - 1}.{0 if m[1] == 'conv' else 2}.", key)
    return key.replace("conv4.", "last.")


def legacy_head_key(key: str) -> str | None:
    """Our key of an array of the authors' two earlier heads; None for the layers they never call."""
    if re.match(r"(vi|ir)\d\.", key):
        return None
    key = re.sub(r"^(fc\d)\.", r"mlp.\1.", key)
    ours = {"cross": "compare", "merge": "merge", "compare": "attn"}
    key = re.sub(r"^(cross|merge|compare)_model\.", lambda match: f"{ours[match[1]]}.", key)
    return key.replace(".in_proj_", ".qkv.").replace(".out_proj.", ".proj.")


def segmentation_key(key: str) -> str | None:
    """Our key of an array of the segmentation head; None for its patch embedding, which is never called."""
    if key.startswith("patch_embed."):
        return None
    return re.sub(r"^pred\.", "head.", key.removeprefix("decoder_"))


def legacy_modules(options) -> dict[str, tuple[nn.Module, object, tuple[str, ...]]]:
    """Name in the file: our module, its renaming, and the arrays that it is fed with."""
    mean, plain = options["cross_fusion_mean"], options["cross_fusion_FFN_re"]
    pyramid, stack, attention, segmentation = (
        options[name] for name in ("FPN", "Feature_Net", "SelfAttention", "Seg_module")
    )
    assert len(set(pyramid)) == 1
    side = segmentation["img_size"] // 16
    heads = (
        kind(grid_of(o["grid"]), o["embed_dim"], attention_axis="batch")
        for kind, o in ((legacy.MeanFusion, mean), (legacy.PlainFusion, plain))
    )
    return {
        "cross_fusion_mean": (next(heads), legacy_head_key, ("vi", "ir")),
        "cross_fusion_FFN_re": (next(heads), legacy_head_key, ("vi", "ir")),
        "FPN": (legacy.ConvPyramid(pyramid[0]), conv_key, ("feature_map",)),
        "Feature_Net": (legacy.ConvStack(stack[0]), conv_key, ("feature_map",)),
        "SelfAttention": (
            legacy.UnscaledAttention(attention["embed_dim"], attention["num_heads"]),
            lambda key: key,
            ("sa_x",),
        ),
        "Seg_module": (
            legacy.SegmentationHead((side, side), segmentation["embed_dim"]),
            segmentation_key,
            ("seg_x",),
        ),
    }


def test_the_earlier_heads_are_the_originals(parity_root):
    for case in cases(parity_root, "legacy*"):
        modules = legacy_modules(case.entry("options"))
        keys = case.entry("keys")
        assert set(modules) == set(keys)
        inputs = {name: case.input(name) for name in ("vi", "ir", "feature_map", "sa_x", "seg_x")}
        for name, (module, rename, feeds) in modules.items():
            ours = {rename(key): array for key, array in filled(parity_root, keys[name]).items()}
            module.eval().load_state_dict({key: array for key, array in ours.items() if key is not None})
            output = module(*(inputs[feed] for feed in feeds))
            case.check(name, output)
            if name == "Seg_module":
                side = int(output.shape[1] ** 0.5)
                case.check("Seg_module_image", unpatchify(output, (side, side)))
        case.close()
