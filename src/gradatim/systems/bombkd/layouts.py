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
        rules=(*_PROFILER, *_fusion(r"(?:fusion\.)?", "fusion")),
        requires={"fusion": {"teacher_scale": ("sqrt",)}},
    ),
    Layout(
        name="older_fusion",
        summary="fusion of a `fusion_ep*.pt` without the field `advance_cls_head`",
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

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _SAVED}
