"""Names in other people's checkpoints, translated into ours.

    converters     converters of every teacher: the authors' `converters_ep*.pt`
    fusion         fusion and its class head: the authors' `fusion_ep*.pt`
    older_fusion   the same of before the teachers' sum was divided: without the field `advance_cls_head`
    head           linear probe of a student alone, `head_ep*.pt`
    probe          self-residual probe of a student alone, `selfres_ep*.pt`
    anomaly        fusion, projection and, where they were trained along, converters by number: `vad_ep*.pt`
    vjepa2, videomae, timesformer, vivit   public backbones, with or without a task's head

A file of a public backbone feeds `student`; a teacher's source says `part: student`.
"""

from collections.abc import Mapping

from gradatim.weights.layout import Drop, Layout, Rename, Rule

_END = r"\.(weight|bias)"
_ATTENTION = r"(?:in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias)"
_CONVERTER = "|".join(
    (
        r"latents|query_embed",
        rf"(?:enc_xattn|dec_xattn|lat_blocks\.\d+\.self_attn)\.{_ATTENTION}",
        r"lat_blocks\.\d+\.(?:linear1|linear2|norm1|norm2)\.(?:weight|bias)",
        r"(?:in_proj|out_proj|kv_proj_in|kv_proj_lat)\.weight",
        r"(?:norm_q|norm_kv|norm_lat|norm_out|ffn\.0|ffn\.3)\.(?:weight|bias)",
        r"gamma1|gamma2|bound[012]\.(?:alpha|beta)|norm[012]\.weight",
        r"(?:proj|dw1|dw2|pw1|pw2|mlp\.0|mlp\.2)\.(?:weight|bias)",
    )
)
_PROFILER: tuple[Rule, ...] = (
    Drop(r"(?:.+\.)?total_(?:ops|params)", "left in the file by a profiler, no part of the model"),
)
_BATCH = {"converters": {"batch_stats": ("batch", "clip")}}
"""The authors' kind b takes statistics over the batch, which are a clip's own where it is alone."""


def _fusion(prefix: str, part: str) -> tuple[Rule, ...]:
    """Arrays of a fusion behind a prefix, into a part or a child of one."""
    return (
        Rename(rf"{prefix}(teacher_projections\.\d+\.[01]\.weight)", rf"{part}.\1"),
        Rename(rf"{prefix}(gating_networks\.\d+\.[02]){_END}", rf"{part}.\1.\2"),
        Rename(rf"{prefix}classification_head{_END}", rf"{part}.head.\1"),
        Rename(rf"{prefix}advance_cls_head\.(query|logit_scale|mix_gate)", rf"{part}.head.\1"),
        Rename(rf"{prefix}advance_cls_head\.(norm|fc1|fc2){_END}", rf"{part}.head.\1.\2"),
    )


_SAVED: tuple[Layout, ...] = (
    Layout(
        name="converters",
        summary="converters by teacher, the authors' `converters_ep*.pt`",
        rules=(*_PROFILER, Rename(rf"([^.]+)\.({_CONVERTER})", r"converters.\1.\2")),
        requires=_BATCH,
    ),
    Layout(
        name="fusion",
        summary="fusion with its class head, the authors' `fusion_ep*.pt`",
        fields=("advance_cls_head",),
        rules=(*_PROFILER, *_fusion(r"(?:fusion\.)?", "fusion")),
        requires={"fusion": {"teacher_scale": ("sqrt",)}},
    ),
    Layout(
        name="older_fusion",
        summary="fusion of a `fusion_ep*.pt` without the field `advance_cls_head`",
        fields=("!advance_cls_head", "!head_kind"),
        rules=(*_PROFILER, *_fusion(r"(?:fusion\.)?", "fusion")),
        requires={"fusion": {"teacher_scale": ("one",)}},
    ),
    Layout(
        name="head",
        summary="linear probe of a student alone, the authors' `head_ep*.pt`",
        rules=(*_PROFILER, Rename(r"(?:head\.)?(weight|bias)", r"probe.head.\1")),
    ),
    Layout(
        name="probe",
        summary="self-residual probe of a student alone, the authors' `selfres_ep*.pt`",
        fields=("head_kind",),
        rules=(*_PROFILER, *_fusion(r"(?:fusion\.)?", "probe.fusion")),
    ),
    Layout(
        name="anomaly",
        summary="fusion, projection and numbered converters of the authors' `vad_ep*.pt`",
        rules=(
            *_PROFILER,
            *_fusion(r"fusion\.", "fusion"),
            Rename(rf"proj\.(norm|proj\.0|proj\.2){_END}", r"projection.\1.\2"),
            Rename(rf"translators_state_dict\.(\d+)\.({_CONVERTER})", r"converters.\1.\2"),
        ),
        requires={**_BATCH, "fusion": {"teacher_scale": ("sqrt",)}},
    ),
)

_HEAD = Drop(r"(?:classifier|fc_norm)\..+", "classifies, makes no features")
_NET = "student.net."
_LAYER = r"(?:encoder\.layer|layers)\.(\d+)\."


def _patches(prefix: str, layer: str) -> Rename:
    return Rename(
        rf"{prefix}embeddings\.patch_embeddings\.{layer}{_END}", rf"{_NET}embeddings.patch_embeddings.{layer}.\1"
    )


def _norms(prefix: str) -> tuple[Rule, ...]:
    return (Rename(rf"{prefix}layernorm{_END}", rf"{_NET}layernorm.\1"),)


def _layers(prefix: str, names: str) -> Rename:
    """Layers whose names in the file are the library's present ones."""
    return Rename(rf"{prefix}encoder\.layer\.(\d+)\.({names}){_END}", rf"{_NET}encoder.layer.\1.\2.\3")


_VIDEOMAE = r"(?:videomae\.)?"
_TIMESFORMER = r"(?:timesformer\.)?"
_VIVIT = r"(?:vivit\.)?"
_DENSE = r"attention\.output\.dense|intermediate\.dense|output\.dense|layernorm_before|layernorm_after"

_PUBLIC: tuple[Layout, ...] = (
    Layout(
        name="vjepa2",
        summary="V-JEPA 2 under the names of transformers, `facebook/vjepa2-*`",
        rules=(
            Rename(rf"(?:vjepa2\.)?encoder\.(embeddings\.patch_embeddings\.proj|layernorm){_END}", rf"{_NET}\1.\2"),
            Rename(
                r"(?:vjepa2\.)?encoder\.layer\.(\d+)\."
                rf"(norm1|norm2|attention\.(?:query|key|value|proj)|mlp\.fc1|mlp\.fc2){_END}",
                rf"{_NET}layer.\1.\2.\3",
            ),
            Drop(r"(?:vjepa2\.)?predictor\..+", "predicts hidden tokens, makes no features"),
            Drop(r"(?:pooler|classifier)\..+", "classifies, makes no features"),
        ),
    ),
    Layout(
        name="videomae",
        summary="VideoMAE under the names of transformers, `MCG-NJU/videomae-*`",
        rules=(
            _patches(_VIDEOMAE, "projection"),
            Rename(
                rf"{_VIDEOMAE}encoder\.layer\.(\d+)\.attention\.attention\.q_bias",
                rf"{_NET}encoder.layer.\1.attention.attention.query.bias",
            ),
            Rename(
                rf"{_VIDEOMAE}encoder\.layer\.(\d+)\.attention\.attention\.v_bias",
                rf"{_NET}encoder.layer.\1.attention.attention.value.bias",
            ),
            _layers(_VIDEOMAE, rf"attention\.attention\.(?:query|key|value)|{_DENSE}"),
            *_norms(_VIDEOMAE),
            Drop(r"decoder\..+|encoder_to_decoder\.weight|mask_token", "reconstructs pixels, makes no features"),
            _HEAD,
        ),
    ),
    Layout(
        name="timesformer",
        summary="TimeSformer under the names of transformers, `facebook/timesformer-*`",
        rules=(
            Rename(
                rf"{_TIMESFORMER}embeddings\.(cls_token|position_embeddings|time_embeddings)",
                rf"{_NET}embeddings.\1",
            ),
            _patches(_TIMESFORMER, "projection"),
            _layers(
                _TIMESFORMER,
                r"(?:temporal_)?attention\.attention\.qkv|temporal_attention\.output\.dense|temporal_dense|"
                rf"temporal_layernorm|{_DENSE}",
            ),
            Drop(rf"{_TIMESFORMER}layernorm{_END}", "features are taken before the last norm"),
            _HEAD,
        ),
    ),
    Layout(
        name="vivit",
        summary="ViViT under the names of transformers, `google/vivit-*`",
        rules=(
            Rename(rf"{_VIVIT}embeddings\.(cls_token|position_embeddings)", rf"{_NET}embeddings.\1"),
            _patches(_VIVIT, "projection"),
            *(
                Rename(
                    rf"{_VIVIT}{_LAYER}attention\.(?:attention\.{name}|{name[0]}_proj){_END}",
                    rf"{_NET}layers.\1.attention.{name[0]}_proj.\2",
                )
                for name in ("query", "key", "value")
            ),
            Rename(
                rf"{_VIVIT}{_LAYER}attention\.(?:output\.dense|o_proj){_END}", rf"{_NET}layers.\1.attention.o_proj.\2"
            ),
            Rename(rf"{_VIVIT}{_LAYER}(?:intermediate\.dense|mlp\.fc1){_END}", rf"{_NET}layers.\1.mlp.fc1.\2"),
            Rename(rf"{_VIVIT}{_LAYER}(?:output\.dense|mlp\.fc2){_END}", rf"{_NET}layers.\1.mlp.fc2.\2"),
            Rename(rf"{_VIVIT}{_LAYER}(layernorm_before|layernorm_after){_END}", rf"{_NET}layers.\1.\2.\3"),
            *_norms(_VIVIT),
            Drop(rf"{_VIVIT}pooler\..+", "sums the clip up, makes no token"),
            _HEAD,
        ),
    ),
)

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (*_SAVED, *_PUBLIC)}
