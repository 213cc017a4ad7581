"""Names in other people's checkpoints, translated into ours.

memflow  MemFlow with basic encoders: its published files (`MemFlowNet_*.pth`) and those of FlowChroma's color training
others   SwinTExCo's networks and the fusion networks; see `color_layouts`
"""

from collections.abc import Mapping

from gradatim.systems.flowchroma.color_layouts import COLOR_LAYOUTS
from gradatim.weights.layout import Drop, Layout, Rename, Rule

_ARRAY = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_ENCODERS = {"cnet": "context", "fnet": "features"}
_BLOCKS = {
    r"encoder\.convc1": "encoder.correlation1",
    r"encoder\.convc2": "encoder.correlation2",
    r"encoder\.convf2": "encoder.flow2",
    r"encoder\.conv": "encoder.merge",
    "gru": "state",
    "flow_head": "flow_head",
}
_LAYERS = {
    r"ffn1\.0": "before.conv1",
    r"ffn1\.2": "before.conv2",
    r"conv_list\.(\d+)": r"depthwise.\1",
    "pw": "pointwise",
    r"ffn2\.0": "after.conv1",
    r"ffn2\.2": "after.conv2",
}


def _encoder(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A residual encoder; names of its normalizations are there or not as the arrays are."""
    return (
        Rename(rf"{theirs}\.conv1\.{_ARRAY}", rf"memflow.{ours}.conv.\1"),
        Rename(rf"{theirs}\.norm1\.{_ARRAY}", rf"memflow.{ours}.norm.\1"),
        Rename(rf"{theirs}\.conv2\.{_ARRAY}", rf"memflow.{ours}.out.\1"),
        *(
            rule
            for stage in range(3)
            for block, at in ((rf"{theirs}\.layer{stage + 1}\.(\d)", rf"memflow.{ours}.stages.{stage}.\1"),)
            for rule in (
                Rename(rf"{block}\.((?:conv|norm)[12])\.{_ARRAY}", rf"{at}.\2.\3"),
                Rename(rf"{block}\.downsample\.([01])\.{_ARRAY}", rf"{at}.shortcut.\2.\3"),
            )
        ),
        Drop(
            rf"{theirs}\.layer\d\.0\.norm3\.{_ARRAY}",
            "the shortcut's normalization under a second name; what `downsample.1` holds counts",
        ),
    )


_MEMFLOW: tuple[Rule, ...] = (
    *(rule for theirs, ours in _ENCODERS.items() for rule in _encoder(theirs, ours)),
    *(
        Rename(rf"update_block\.{theirs}\.{layer}\.(weight|bias)", rf"memflow.update.{ours}.{name}.{group}")
        for theirs, ours in _BLOCKS.items()
        for layer, name in _LAYERS.items()
        for group in (r"\2" if "(" in layer else r"\1",)
    ),
    Rename(r"update_block\.encoder\.convf1\.(weight|bias)", r"memflow.update.encoder.flow1.\1"),
    Rename(r"update_block\.mask\.0\.(weight|bias)", r"memflow.update.mask1.\1"),
    Rename(r"update_block\.mask\.2\.(weight|bias)", r"memflow.update.mask2.\1"),
    Rename(r"update_block\.aggregator\.gamma", "memflow.update.gamma"),
    Rename(r"update_block\.aggregator\.to_v\.weight", "memflow.update.value.weight"),
    Rename(r"att\.to_qk\.weight", "memflow.query_key.weight"),
    Drop(r"att\.pos_emb\..+", "positions, which the attention of this network does not look at"),
)

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="memflow",
            summary="MemFlow with basic encoders (`MemFlowNet_*.pth`), also after FlowChroma's color training",
            rules=_MEMFLOW,
        ),
        *COLOR_LAYOUTS,
    )
}
