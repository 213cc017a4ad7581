"""Names in other people's checkpoints, translated into ours.

loftr             LoFTR's `outdoor_ds.ckpt` and its kin: its coarse transformer and backbone, for `loftr` parts
loftr-legacy      the same file for a `legacy` transformer: one layer of the file for the layers of both images
converter         the .npz that IFViT's converter makes of such a file, for a `loftr` transformer
converter-legacy  the same .npz for a `legacy` transformer
dense             Module 1 of IFViT's code, `dense_reg_ckpt.pkl`
matcher           Module 2 of IFViT's code, `matcher_ckpt.pkl`, a transformer for whole images and one for regions
fingernet...      the network that makes ridges clear; see `fingernet_layouts`
"""

from collections.abc import Iterable, Mapping

from gradatim.systems.ifvit.fingernet_layouts import FINGERNET_LAYOUTS
from gradatim.weights.layout import Drop, Keep, Layout, Rename, Rule, Surplus, Tie

_SWAP = (1, 0)
_KERNEL = (3, 2, 0, 1)
_LINEAR = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "merge": "merge",
    r"mlp\.0": "fc1",
    r"mlp\.2": "fc2",
}
_BOTH = (r"transformer.layers.\1.first", r"transformer.layers.\1.second")
_FEWER: tuple[Rule, ...] = (Surplus(r"transformer\.layers\.\d+\..+", "the model's transformer has fewer layers"),)
_NO_BIASES = Keep(
    r"transformer\.layers\.\d+\.(?:first|second)\.(?:query|key|value|merge|fc1|fc2)\.bias",
    "LoFTR has no biases; they begin at 0",
)


def _places(names: Iterable[str], end: str) -> tuple[str, ...]:
    return tuple(f"{name}.{end}" for name in names)


def _coarse(to: tuple[str, ...]) -> tuple[Rule, ...]:
    """Layers of LoFTR's coarse transformer into all of ours that `to` names."""
    layer = r"(?:matcher\.)?(?:loftr_coarse\.)?layers\.(\d+)"
    return (
        *(Rename(rf"{layer}\.{name}\.weight", _places(to, f"{ours}.weight")) for name, ours in _LINEAR.items()),
        *(
            Rename(rf"{layer}\.{norm}\.{array}", _places(to, f"{norm}.{array}"))
            for norm in ("norm1", "norm2")
            for array in ("weight", "bias")
        ),
    )


def _converted(to: tuple[str, ...]) -> tuple[Rule, ...]:
    """The same layers as IFViT's converter names them."""
    layer = r"layers\.(\d+)\.0"
    return (
        *(Rename(f"{layer}/{name}/kernel", _places(to, f"{ours}.weight"), _SWAP) for name, ours in _LINEAR.items()),
        *(
            Rename(f"{layer}/{norm}/{array}", _places(to, f"{norm}.{ours}"))
            for norm in ("norm1", "norm2")
            for array, ours in (("scale", "weight"), ("bias", "bias"))
        ),
    )


_NET = r"(?:matcher\.)?backbone\."
_ARRAY = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_FINE: tuple[Rule, ...] = (
    Drop(rf"{_NET}layer(?:1_outconv|2_outconv).*", "features for the fine stage, which this model has not"),
    Drop(r"(?:matcher\.)?(?:fine_preprocess|loftr_fine|fine_matching)\..+", "the fine stage, which this model has not"),
)
_FPN: tuple[Rule, ...] = (
    Rename(rf"{_NET}conv1\.weight", "backbone.conv.weight"),
    Rename(rf"{_NET}bn1\.{_ARRAY}", r"backbone.norm.\1"),
    Rename(rf"{_NET}layer3_outconv\.weight", "backbone.out.weight"),
    *(
        rule
        for stage in range(3)
        for rule in (
            Rename(rf"{_NET}layer{stage + 1}\.(\d)\.(conv[12])\.weight", rf"backbone.stages.{stage}.\1.\2.weight"),
            Rename(rf"{_NET}layer{stage + 1}\.(\d)\.bn([12])\.{_ARRAY}", rf"backbone.stages.{stage}.\1.norm\2.\3"),
            Rename(
                rf"{_NET}layer{stage + 1}\.(\d)\.downsample\.([01])\.{_ARRAY}",
                rf"backbone.stages.{stage}.\1.shortcut.\2.\3",
            ),
        )
    ),
)


def _norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A batch normalization of Flax, whose names end at `BatchNorm_`."""
    return (
        Rename(f"params/{theirs}/scale", f"{ours}.weight"),
        Rename(f"params/{theirs}/bias", f"{ours}.bias"),
        Rename(f"batch_stats/{theirs}/mean", f"{ours}.running_mean"),
        Rename(f"batch_stats/{theirs}/var", f"{ours}.running_var"),
    )


_BLOCK = r"ResNet18_0/ResidualBlock_(\d)"
_RESNET: tuple[Rule, ...] = (
    Rename("params/ResNet18_0/Conv_0/kernel", "backbone.stem.conv.weight", _KERNEL),
    *_norm("ResNet18_0/BatchNorm_0", "backbone.stem.norm"),
    *(
        rule
        for number, ours in enumerate(("first", "second", "shortcut"))
        for rule in (
            Rename(f"params/{_BLOCK}/Conv_{number}/kernel", rf"backbone.blocks.\1.{ours}.conv.weight", _KERNEL),
            *_norm(f"{_BLOCK}/BatchNorm_{number}", rf"backbone.blocks.\1.{ours}.norm"),
        )
    ),
    Drop(r"pos_encoding/.+", "a table of positions, which is computed"),
)


def _legacy(theirs: str, part: str) -> tuple[Rule, ...]:
    """IFViT's transformer with a layer for each image."""
    return tuple(
        rule
        for number, image in enumerate(("first", "second"))
        for layer, ours in ((rf"params/{theirs}/layers\.(\d+)\.{number}", rf"{part}.layers.\1.{image}"),)
        for rule in (
            *(Rename(f"{layer}/{name}/kernel", f"{ours}.{linear}.weight", _SWAP) for name, linear in _LINEAR.items()),
            *(Rename(f"{layer}/{name}/bias", f"{ours}.{linear}.bias") for name, linear in _LINEAR.items()),
            Rename(f"{layer}/(norm[12])/scale", rf"{ours}.\2.weight"),
            Rename(f"{layer}/(norm[12])/bias", rf"{ours}.\2.bias"),
        )
    )


def _dense(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A linear layer of Flax."""
    return (Rename(f"{theirs}/kernel", f"{ours}.weight", _SWAP), Rename(f"{theirs}/bias", f"{ours}.bias"))


def _siamese_block(theirs: str, ours: str, norms: tuple[str, ...]) -> tuple[Rule, ...]:
    """A block of the generic transformer; heads are axes of their own in its arrays."""
    root, attention = f"params/siamese_transformer/{theirs}", "MultiHeadDotProductAttention_0"
    return (
        *(
            Rename(f"{root}/LayerNorm_{number}/{array}", f"{ours}.{norm}.{name}")
            for number, norm in enumerate(norms)
            for array, name in (("scale", "weight"), ("bias", "bias"))
        ),
        Rename(f"{root}/{attention}/(query|key|value)/kernel", rf"{ours}.\2.weight", _SWAP, flatten=(1, 2)),
        Rename(f"{root}/{attention}/(query|key|value)/bias", rf"{ours}.\2.bias", flatten=(0, 1)),
        Rename(f"{root}/{attention}/out/kernel", f"{ours}.out.weight", _SWAP, flatten=(0, 1)),
        Rename(f"{root}/{attention}/out/bias", f"{ours}.out.bias"),
        *_dense(f"{root}/Dense_0", f"{ours}.fc1"),
        *_dense(f"{root}/Dense_1", f"{ours}.fc2"),
    )


_IMAGES = (("1", "first"), ("2", "second"))
_SIAMESE: tuple[Rule, ...] = (
    *(
        rule
        for number, (theirs, image) in enumerate(_IMAGES)
        for rule in (
            Rename(f"params/siamese_transformer/pos_encoding_{theirs}", f"transformer.positions_{image}"),
            *_dense(f"params/siamese_transformer/Dense_{number}", f"transformer.project_{image}"),
            *_siamese_block(
                rf"self_attn_{theirs}_layer_(\d+)", rf"transformer.layers.\1.self_{image}", ("norm1", "norm2")
            ),
            *_siamese_block(
                rf"cross_attn_{theirs}_layer_(\d+)",
                rf"transformer.layers.\1.cross_{image}",
                ("norm1", "norm_source", "norm2"),
            ),
        )
    ),
)

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="loftr",
            summary="LoFTR's published files (`outdoor_ds.ckpt`): coarse transformer and backbone",
            rules=(*_coarse((r"transformer.layers.\1",)), *_FINE, *_FPN, *_FEWER),
        ),
        Layout(
            name="loftr-legacy",
            summary="the same files for a `legacy` transformer, each layer for both images",
            rules=(*_coarse(_BOTH), *_FINE, *_FPN, *_FEWER, _NO_BIASES),
        ),
        Layout(
            name="converter",
            summary="the .npz of IFViT's converter, LoFTR's coarse transformer",
            rules=(*_converted((r"transformer.layers.\1",)), *_FEWER),
        ),
        Layout(
            name="converter-legacy",
            summary="the same .npz for a `legacy` transformer, each layer for both images",
            rules=(*_converted(_BOTH), *_FEWER, _NO_BIASES),
        ),
        Layout(
            name="dense",
            summary="Module 1 of IFViT's code (`dense_reg_ckpt.pkl`): backbone and transformer",
            tasks=("dense",),
            rules=(*_RESNET, *_legacy("loftr_transformer", "transformer"), *_SIAMESE),
        ),
        Layout(
            name="matcher",
            summary="Module 2 of IFViT's code (`matcher_ckpt.pkl`): backbone, transformers, embedding, centers",
            tasks=("dense", "match"),
            rules=(
                *_RESNET,
                *_legacy("loftr_transformer_global", "transformer"),
                *_legacy("loftr_transformer_local", "local_transformer"),
                *_SIAMESE,
                *_dense("params/EmbeddingHead_0/Dense_0", "embedding.linear"),
                Rename("arcface_params/arcface/params/weight", "centers.weight", _SWAP),
            ),
            ties=(
                Tie(
                    ("transformer", "local_transformer"),
                    "a model that shares one transformer cannot hold both. Load both, into `transformer` and "
                    "`local_transformer`; or take one of them from the file that `gradatim convert` makes of this one",
                ),
            ),
        ),
        *FINGERNET_LAYOUTS.values(),
    )
}


def told_of(layout: str, fields: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, object]:
    """Settings that the configuration in a file of IFViT's code tells, and the shapes of its arrays do not.

    Args:
        layout: name of the file's table.
        fields: what lies beside its arrays.
        shapes: of its arrays, by our names.
    """
    config = fields.get("config")
    if layout not in ("dense", "matcher") or not isinstance(config, Mapping):
        return {}
    names = {"heads": "num_heads"}
    if "transformer.layers.0.first.query.weight" in shapes:
        names["attention"] = "attention_type"
    else:
        names["dropout"] = "dropout_rate"
    return {ours: config[theirs] for ours, theirs in names.items() if theirs in config}
