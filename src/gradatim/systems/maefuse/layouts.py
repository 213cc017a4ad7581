"""Names in other people's checkpoints, translated into ours.

    mae          encoder and decoder alone, position tables included: the authors' `--resume` file
    head         both fusion parts with the table that they share: the authors' `--fusion_weight` file
    whole        both of the above behind `model1.` and `model2.`: the authors' trained and published model
    facebook     the public masked autoencoders, where training starts
    huggingface  the same networks under the names of `transformers`

MaeFuse has no class token, so the public files' one is dropped, and its row in their position tables with it. Their
tables are those of a smaller grid, by the same formula as ours; the part keeps its own unless the source says
`resize: position`.
"""

import re
from collections.abc import Mapping

from gradatim.weights.layout import Drop, Join, Keep, Layout, Rename, Rule, Surplus

_BLOCK = r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)"
_END = r"\.(weight|bias)"

_NETWORKS: tuple[Rule, ...] = (
    Rename(rf"patch_embed\.proj{_END}", r"encoder.patch_embed.\1"),
    Rename(rf"blocks\.(\d+)\.{_BLOCK}", r"encoder.blocks.\1.\2.\3"),
    Rename(rf"norm{_END}", r"encoder.norm.\1"),
    Rename(rf"decoder_embed{_END}", r"decoder.embed.\1"),
    Rename(rf"decoder_blocks\.(\d+)\.{_BLOCK}", r"decoder.blocks.\1.\2.\3"),
    Rename(rf"decoder_norm{_END}", r"decoder.norm.\1"),
    Rename(rf"decoder_pred{_END}", r"decoder.head.\1"),
)
_TABLES: tuple[Rule, ...] = (
    Rename(r"pos_embed", "encoder.pos_embed"),
    Rename(r"decoder_pos_embed", "decoder.pos_embed"),
)
_HEAD: tuple[Rule, ...] = (
    Rename(r"pos_embed", ("cfm.pos_embed", "mfm.pos_embed")),
    Rename(r"cross_model\.in_proj_(weight|bias)", r"cfm.attn.qkv.\1"),
    Rename(rf"cross_model\.out_proj{_END}", r"cfm.attn.proj.\1"),
    Rename(r"merge_model\.in_proj_(weight|bias)", r"mfm.attn.qkv.\1"),
    Rename(rf"merge_model\.out_proj{_END}", r"mfm.attn.proj.\1"),
    Rename(rf"fc([12]){_END}", r"mfm.mlp.fc\1.\2"),
    Rename(rf"ln{_END}", r"mfm.norm.\1"),
)
_PUBLIC: tuple[Rule, ...] = (
    Surplus(r"decoder\.blocks\.\d+\..+", "the public decoder has more blocks; the first ones are taken"),
    Keep(r"(encoder|decoder)\.pos_embed", "by formula for this grid; `resize: position` takes the file's"),
)
_AXIS = {part: {"attention_axis": ("sample", "batch")} for part in ("cfm", "mfm")}
"""The authors' attention takes the batch for the sequence, and their weights mean something only so."""

_NO_CLASS = "MaeFuse has no class token"
_NO_MASK = "the public mask token has the decoder's width, ours the encoder's"
_OTHER_GRID = "table of another grid, with a class token's row"


def _behind(prefix: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The same renaming of names that begin with `prefix`."""
    return tuple(Rename(re.escape(prefix) + r.pattern, r.to, r.transpose) for r in rules if isinstance(r, Rename))


def _transformers(part: str, layer: str) -> tuple[Rule, ...]:
    """Blocks of one part, whose number is the only group of `layer`, under the library's older and newer names."""
    query, key, value = (
        rf"{layer}\.attention\.(?:attention\.{name}|{name[0]}_proj){_END}" for name in ("query", "key", "value")
    )
    to = rf"{part}.blocks.\1."
    return (
        Join((query, key, value), to + r"attn.qkv.\2"),
        Rename(rf"{layer}\.attention\.(?:output\.dense|o_proj){_END}", to + r"attn.proj.\2"),
        Rename(rf"{layer}\.layernorm_before{_END}", to + r"norm1.\2"),
        Rename(rf"{layer}\.layernorm_after{_END}", to + r"norm2.\2"),
        Rename(rf"{layer}\.(?:intermediate\.dense|mlp\.fc1){_END}", to + r"mlp.fc1.\2"),
        Rename(rf"{layer}\.(?:output\.dense|mlp\.fc2){_END}", to + r"mlp.fc2.\2"),
    )


_VIT = r"(?:vit\.)?"
_HUGGINGFACE: tuple[Rule, ...] = (
    Rename(rf"{_VIT}embeddings\.patch_embeddings\.projection{_END}", r"encoder.patch_embed.\1"),
    *_transformers("encoder", rf"{_VIT}(?:encoder\.layer|layers)\.(\d+)"),
    Rename(rf"{_VIT}layernorm{_END}", r"encoder.norm.\1"),
    Rename(rf"decoder\.decoder_embed{_END}", r"decoder.embed.\1"),
    *_transformers("decoder", r"decoder\.decoder_(?:layers|encoder\.layer)\.(\d+)"),
    Rename(rf"decoder\.decoder_norm{_END}", r"decoder.norm.\1"),
    Rename(rf"decoder\.decoder_pred{_END}", r"decoder.head.\1"),
    Drop(rf"{_VIT}embeddings\.cls_token", _NO_CLASS),
    Drop(r"decoder\.mask_token", _NO_MASK),
    Drop(rf"{_VIT}embeddings\.position_embeddings|decoder\.decoder_pos_embed", _OTHER_GRID),
    *_PUBLIC,
)

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="mae",
            summary="encoder and decoder as MaeFuse's authors save them, `checkpoint-50.pth`",
            rules=(*_NETWORKS, *_TABLES),
        ),
        Layout(
            name="head",
            summary="fusion head of MaeFuse's authors alone: comparative and merging module",
            rules=_HEAD,
            requires=_AXIS,
        ),
        Layout(
            name="whole",
            summary="whole model as MaeFuse's authors publish it, `final_new_60.pth`",
            rules=(*_behind("model1.", (*_NETWORKS, *_TABLES)), *_behind("model2.", _HEAD)),
            requires=_AXIS,
        ),
        Layout(
            name="facebook",
            summary="public masked autoencoders, `mae_visualize_vit_*.pth` and `mae_pretrain_vit_*.pth`",
            rules=(
                *_NETWORKS,
                Drop(r"cls_token", _NO_CLASS),
                Drop(r"mask_token", _NO_MASK),
                Drop(r"(decoder_)?pos_embed", _OTHER_GRID),
                *_PUBLIC,
            ),
            resized=_TABLES,
        ),
        Layout(
            name="huggingface",
            summary="public masked autoencoders under the names of transformers, `facebook/vit-mae-*`",
            rules=_HUGGINGFACE,
            resized=(
                Rename(rf"{_VIT}embeddings\.position_embeddings", "encoder.pos_embed"),
                Rename(r"decoder\.decoder_pos_embed", "decoder.pos_embed"),
            ),
        ),
    )
}
