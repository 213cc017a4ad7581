"""BombKD's steps, and the tasks they make up.

see -> translate -> fuse: the student's tokens, translated into each teacher's space, added to themselves and
classified. teach: the teachers' tokens, which only the training of converters needs. Clips are uint8; a mask of tokens
is true where a token is valid, and None where all are. Letters: B batch, T frames, N tokens, D width.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from gradatim.systems.bombkd.backbones import reorder
from gradatim.systems.bombkd.parts.fusion import LinearProbe, ResidualGatedFusion, SelfResidualProbe
from gradatim.systems.bombkd.parts.kinds import convert_all
from gradatim.systems.bombkd.parts.projection import ProjectionHead, clip_score
from gradatim.task import makes

Tokens = dict[str, Tensor]
Order = Literal["own", "thw"]
Pool = Literal["none", "space", "time", "clip"]
"""Mean of tokens over the places of a time step, over the time of a place, or over everything."""


@makes("student_tokens")
def see(student: nn.Module, student_clip: Tensor, *, order: Order = "own", pool: Pool = "none") -> Tensor:
    """Tokens of the student, (B, T, 3, H, W) -> (B, N, D).

    Args:
        student: backbone.
        student_clip: uint8, resized and cut.
        order: `thw` puts time first whatever the backbone's own order.
        pool: `space` keeps one token a time step, `time` one a place, `clip` one in all: features of a hundredth of
            the size.
    """
    return _seen(student, student_clip, order, pool)


@makes("teacher_tokens")
def teach(teachers: nn.ModuleDict, teacher_clips: Tokens, *, order: Order = "own", pool: Pool = "none") -> Tokens:
    """Tokens of each teacher, (B, T_i, 3, H_i, W_i) -> (B, N_i, D_i); options as for `see`."""
    return {name: _seen(teacher, teacher_clips[name], order, pool) for name, teacher in teachers.items()}


def _seen(backbone: nn.Module, clip: Tensor, order: Order, pool: Pool) -> Tensor:
    tokens: Tensor = backbone(clip)
    if order == "own" and pool == "none":
        return tokens
    own: Any = backbone.layout
    layout = own(clip.shape[1])
    if pool == "none":
        return reorder(tokens, layout, "thw")
    _, times, height, width = layout
    grid: Tensor = reorder(tokens, layout, "thw").reshape(len(tokens), times, height * width, -1)
    axes: tuple[int, ...] = {"space": (2,), "time": (1,), "clip": (1, 2)}[pool]
    pooled: Tensor = grid.mean(axes)
    return pooled if pooled.dim() == 3 else pooled.unsqueeze(1)


@makes("translated", "translated_mask")
def translate(
    converters: nn.ModuleDict, student_tokens: Tensor, student_tokens_mask: Tensor | None = None
) -> tuple[Tokens, Tokens | None]:
    """The student's tokens in each teacher's space, (B, N, D) -> (B, N', D_i)."""
    return convert_all(converters, student_tokens, student_tokens_mask)


@makes("fused", "gates", "logits")
def fuse(
    fusion: ResidualGatedFusion,
    student_tokens: Tensor,
    translated: Tokens,
    student_tokens_mask: Tensor | None = None,
    translated_mask: Tokens | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Fused tokens (B, N, D), gate of each teacher at each token (B, N, teachers), scores of classes (B, classes)."""
    masks = None if translated_mask is None else [translated_mask.get(name) for name in translated]
    fused, gates, logits = fusion(student_tokens, list(translated.values()), student_tokens_mask, masks)
    return fused, gates, logits


@makes("fused", "gates", "logits")
def probe_student(
    probe: LinearProbe | SelfResidualProbe, student_tokens: Tensor, student_tokens_mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As `fuse`, from the student alone."""
    fused, gates, logits = probe(student_tokens, student_tokens_mask)
    return fused, gates, logits


@makes("teacher_logits")
def probe_teachers(teacher_heads: nn.ModuleDict, teacher_tokens: Tokens) -> Tokens:
    """Scores of classes from each teacher alone, (B, N_i, D_i) -> (B, classes)."""
    return {name: head(teacher_tokens[name]) for name, head in teacher_heads.items()}


@makes("score", "projected")
def judge(
    projection: ProjectionHead,
    student_tokens: Tensor,
    fused: Tensor,
    student_tokens_mask: Tensor | None = None,
    *,
    reduce: Literal["mean", "sum"] = "mean",
) -> tuple[Tensor, Tensor]:
    """Anomaly score of each clip, (B,): how far fusion moved its tokens; and the student's, projected, (B, N, d)."""
    projected: Tensor = projection(student_tokens)
    return clip_score(projected, projection(fused), student_tokens_mask, reduce=reduce), projected


TASKS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "translate": (see, teach, translate),
    "classify": (see, translate, fuse),
    "probe": (see, probe_student),
    "probe_teachers": (teach, probe_teachers),
    "judge": (see, translate, fuse, judge),
}
