"""Names in the checkpoints of SwinTExCo and of FlowChroma's fusion networks, translated into ours.

swin           `embed_net.pth`, or timm's own file of the backbone
warpnet        `nonlocal_net.pth`
colornet       `colornet.pth`, with 4 channels or with the original's 7
fusion-v1      the state of a `FusionNetV1`
fusion-simple  the state of a `SimpleFusionNet`
fusion-unet    the state of a `UNetFusionNet`
discriminator  `discriminator.pth`, for one frame or for two
vgg16          torchvision's VGG16 for ImageNet, its first layers
fusion         `fusion_epoch_N.pth` and `fusion_best.pth` of FlowChroma: all of these networks
"""

from collections.abc import Callable, Mapping

from gradatim.weights.layout import Drop, Keep, Layout, Rename, Rule, Surplus

_WB = r"(weight|bias)"
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"


def _swin(prefix: str = "") -> tuple[Rule, ...]:
    block = rf"{prefix}stages[._](\d)\.blocks\.(\d+)"
    ours = r"swin.stages.\1.\2"
    return (
        Rename(rf"{prefix}patch_embed\.proj\.{_WB}", r"swin.patches.\1"),
        Rename(rf"{prefix}patch_embed\.norm\.{_WB}", r"swin.norm.\1"),
        *(
            Rename(
                rf"{prefix}stages[._]{stage}\.downsample\.(norm|reduction)\.{_WB}", rf"swin.merges.{stage - 1}.\1.\2"
            )
            for stage in (1, 2, 3)
        ),
        Rename(rf"{block}\.attn\.logit_scale", f"{ours}.attn.log_scale"),
        Rename(rf"{block}\.attn\.meta_mlp\.(fc[12])\.{_WB}", rf"{ours}.attn.position.\3.\4"),
        Rename(rf"{block}\.(attn\.(?:qkv|proj)|mlp\.fc[12]|norm[123])\.{_WB}", rf"{ours}.\3.\4"),
    )


_HEAD = Drop(r"head\..+", "the classifier, which no one asks for features")
_PLACES = {
    "layer2_1": (0, 1, 3, 5, 7),
    "layer3_1": (1, 1, 3, 5, 7),
    "layer4_1": (2, 1, 3, 5, 7),
    "layer5_1": (3, 1, 3, 6, 8),
}
_LAYERS = ("conv1", "prelu1", "conv2", "prelu2")


def _warpnet(prefix: str = "") -> tuple[Rule, ...]:
    return (
        *(
            Rename(rf"{prefix}{theirs}\.{place}\.{_WB}", rf"warpnet.branches.{number}.{layer}.\1")
            for theirs, (number, *places) in _PLACES.items()
            for place, layer in zip(places, _LAYERS, strict=True)
        ),
        Rename(rf"{prefix}layer\.(\d)\.(conv[12]|prelu)\.{_WB}", r"warpnet.trunk.\1.\2.\3"),
        Rename(rf"{prefix}theta\.{_WB}", r"warpnet.query.\1"),
        Rename(rf"{prefix}phi\.{_WB}", r"warpnet.key.\1"),
    )


_LEVELS = {1: "encoder.0", 2: "encoder.1", 3: "encoder.2", 4: "middle.0", 5: "middle.1", 6: "middle.2", 7: "middle.3"}
_RISES = {8: (0, "3_3"), 9: (1, "2_2"), 10: (2, "1_2")}


def _colorvidnet(to: str, prefix: str = "") -> tuple[Rule, ...]:
    return (
        Rename(rf"{prefix}conv1_1\.0\.{_WB}", rf"{to}.stem.\1"),
        Rename(rf"{prefix}conv1_1\.2\.{_WB}", rf"{to}.encoder.0.convs.0.\1"),
        *(
            rule
            for level, ours in _LEVELS.items()
            for n in range(3)
            for rule in (
                Rename(rf"{prefix}conv{level}_{n + 1}\.{_WB}", rf"{to}.{ours}.convs.{n}.\1"),
                Rename(rf"{prefix}relu{level}_{n + 1}\.weight", f"{to}.{ours}.prelus.{n}.weight"),
            )
        ),
        *(
            Rename(rf"{prefix}conv{skip}norm_ss\.weight", f"{to}.halve.{2 - number}.weight")
            for number, skip in _RISES.values()
        ),
        *(
            rule
            for level, (number, skip) in _RISES.items()
            for rule in (
                Rename(rf"{prefix}conv{level}_1\.1\.{_WB}", rf"{to}.rise.{number}.conv.\1"),
                Rename(rf"{prefix}conv{skip}_short\.{_WB}", rf"{to}.rise.{number}.skip.\1"),
                Rename(rf"{prefix}relu{level}_1_comb\.weight", f"{to}.rise.{number}.prelu.weight"),
            )
        ),
        *(
            rule
            for level, n in ((8, 2), (8, 3), (9, 2))
            for rule in (
                Rename(rf"{prefix}conv{level}_{n}\.{_WB}", rf"{to}.decoder.{level - 8}.convs.{n - 2}.\1"),
                Rename(rf"{prefix}relu{level}_{n}\.weight", f"{to}.decoder.{level - 8}.prelus.{n - 2}.weight"),
            )
        ),
        Rename(rf"{prefix}conv10_2\.{_WB}", rf"{to}.last.\1"),
        Rename(rf"{prefix}conv10_ab\.{_WB}", rf"{to}.out.\1"),
    )


def _fusion_v1(prefix: str = "") -> tuple[Rule, ...]:
    return _colorvidnet("fusion.network", prefix)


def _fusion_simple(prefix: str = "") -> tuple[Rule, ...]:
    return (
        *(
            rule
            for n in range(3)
            for rule in (
                Rename(rf"{prefix}net\.{3 * n}\.{_WB}", rf"fusion.convs.{n}.\1"),
                Rename(rf"{prefix}net\.{3 * n + 1}\.{_NORM}", rf"fusion.norms.{n}.\1"),
            )
        ),
        Rename(rf"{prefix}net\.9\.{_WB}", r"fusion.out.\1"),
    )


def _fusion_unet(prefix: str = "") -> tuple[Rule, ...]:
    return (
        *(
            Rename(rf"{prefix}{theirs}\.{place}\.{_NORM}", rf"fusion.encoder.{n}.{layer}.\1")
            for n, theirs in enumerate(("enc1", "enc2", "enc3", "bottleneck"))
            for place, layer in ((0, "conv1"), (1, "norm1"), (3, "conv2"), (4, "norm2"))
        ),
        *(
            rule
            for n in range(3)
            for rule in (
                Rename(rf"{prefix}dec{3 - n}\.0\.{_WB}", rf"fusion.rise.{n}.\1"),
                Rename(rf"{prefix}dec{3 - n}\.1\.{_NORM}", rf"fusion.norms.{n}.\1"),
            )
        ),
        Rename(rf"{prefix}out_conv\.{_WB}", r"fusion.out.\1"),
        Keep(r"fusion\.merge\..+", "the original draws these layers anew in every pass and saves none of them"),
    )


_SPECTRAL = {"weight_bar": "weight", "bias": "bias", "weight_u": "u", "weight_v": "v"}
_ATTENTION = {"query_conv": "query", "key_conv": "key", "value_conv": "value"}


def _discriminator(prefix: str = "") -> tuple[Rule, ...]:
    convs = {
        **{rf"layer{n + 1}\.0": f"convs.{n}" for n in range(6)},
        **{rf"attention\.{theirs}": f"attention.{ours}" for theirs, ours in _ATTENTION.items()},
        "last": "last",
    }
    return (
        *(
            Rename(rf"{prefix}{conv}\.module\.{theirs}", f"discriminator.{name}.{ours}")
            for conv, name in convs.items()
            for theirs, ours in _SPECTRAL.items()
        ),
        Rename(rf"{prefix}attention\.gamma", "discriminator.attention.gamma"),
    )


_FUSIONS: Mapping[str, Callable[[str], tuple[Rule, ...]]] = {
    "v1": _fusion_v1,
    "simple": _fusion_simple,
    "unet": _fusion_unet,
}

COLOR_LAYOUTS = (
    Layout(
        name="swin",
        summary="SwinTExCo's `embed_net.pth`, or timm's own file of the backbone",
        rules=(*_swin(r"(?:pretrained\.)?"), _HEAD),
    ),
    Layout(name="warpnet", summary="SwinTExCo's `nonlocal_net.pth`", rules=_warpnet()),
    Layout(
        name="colornet", summary="SwinTExCo's `colornet.pth`, of 4 channels or of 7", rules=_colorvidnet("colornet")
    ),
    Layout(
        name="discriminator",
        summary="SwinTExCo's `discriminator.pth`, for one frame or for two",
        rules=_discriminator(),
    ),
    Layout(
        name="vgg16",
        summary="torchvision's VGG16 for ImageNet (`vgg16-*.pth`), its first layers",
        rules=(
            Rename(rf"features\.(\d+)\.{_WB}", r"vgg.features.\1.\2"),
            Surplus(r"vgg\.features\..+", "layers behind the last that is looked at"),
            Drop(r"classifier\..+", "the classifier, which no one asks for features"),
        ),
    ),
    *(
        Layout(name=f"fusion-{kind}", summary=f"a fusion network's own state, kind `{kind}`", rules=rules(""))
        for kind, rules in _FUSIONS.items()
    ),
    Layout(
        name="fusion",
        summary="FlowChroma's `fusion_epoch_N.pth` and `fusion_best.pth`",
        rules=(
            *(rule for rules in _FUSIONS.values() for rule in rules(r"fusion_unet\.")),
            *_swin(r"swintexco_embed\.pretrained\."),
            *_warpnet(r"swintexco_nonlocal\."),
            *_colorvidnet("colornet", r"swintexco_colornet\."),
            *_discriminator(r"discriminator\."),
        ),
        requires={"fusion": {"flow_scale": (8.0,), "target_colors": ("ground_truth",)}},
    ),
)
