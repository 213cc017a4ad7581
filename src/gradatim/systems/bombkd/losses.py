"""BombKD's losses: functions of the values that its steps make, and the figures that go with them.

Converters are trained on one vector a clip: the mean over tokens of what a converter made, and of what the teacher
made. The losses on those sum over the teachers. All compute in float32 even where autocast left 16 bits.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.systems.bombkd.parts.tokens import masked_mean

Pool = Literal["mean", "original"]
Tokens = dict[str, Tensor]


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of vectors (B, D)."""
    return F.mse_loss(x, y)


def absolute_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of vectors (B, D)."""
    return F.l1_loss(x, y)


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """One minus the mean cosine of vectors (B, D)."""
    return 1 - F.cosine_similarity(x, y, dim=1, eps=1e-8).mean()


def contrastive(x: Tensor, y: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of finding each prediction's own target among those of the batch, by cosine.

    Args:
        x: predictions, (B, D).
        y: targets, same shape.
        temperature: divides the cosines.

    Source:
        InfoNCE in one direction, from prediction to target (van den Oord et al. 2018).
    """
    similarity = F.normalize(x, dim=1) @ F.normalize(y, dim=1).T / temperature
    return F.cross_entropy(similarity, torch.arange(len(x), device=x.device))


def variance_invariance_covariance(x: Tensor, y: Tensor) -> Tensor:
    """25 * squared error + 25 * missing variance of both + covariance of both; vectors (B, D), B of 2 or more.

    Raises:
        DataError: a batch of one clip.

    Source:
        VICReg (Bardes et al. 2022). The target's own terms are part of the value and give no gradient to x.
    """
    _need_two(x, "vic")
    spread = _missing_variance(x) + _missing_variance(y)
    return 25 * F.mse_loss(x, y) + 25 * spread + _covariance(x) + _covariance(y)


def _missing_variance(x: Tensor) -> Tensor:
    return F.relu(1 - (x.var(dim=0) + 1e-4).sqrt()).mean()


def _covariance(x: Tensor) -> Tensor:
    centered = x - x.mean(dim=0)
    covariance = centered.T @ centered / (len(x) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]


def cross_correlation(x: Tensor, y: Tensor, *, off_diagonal: float = 5e-3) -> Tensor:
    """Distance of the correlation of x's channels with y's to the identity; vectors (B, D), B of 2 or more.

    Args:
        x: predictions, (B, D).
        y: targets, same shape.
        off_diagonal: weight of what different channels have in common.

    Raises:
        DataError: a batch of one clip.

    Source:
        Barlow Twins (Zbontar et al. 2021), summed over channels.
    """
    _need_two(x, "bar")
    first, second = ((v - v.mean(dim=0)) / (v.std(dim=0) + 1e-9) for v in (x, y))
    correlation = first.T @ second / len(x)
    diagonal = correlation.diagonal()
    others = correlation.square().sum() - diagonal.square().sum()
    return (diagonal - 1).square().sum() + off_diagonal * others


def _need_two(x: Tensor, name: str) -> None:
    if len(x) < 2:
        raise DataError(
            f"loss {name!r} compares the clips of a batch, and here is a batch of one: its spread is not defined, and "
            "every weight would become nan. Choose a `batch_size` that leaves no single clip over, or leave the last "
            f"batch out, or give {name!r} the weight 0."
        )


def pooled(
    translated: Tokens,
    teacher_tokens: Tokens,
    translated_mask: Tokens | None = None,
    teacher_tokens_mask: Tokens | None = None,
    student_tokens: Tensor | None = None,
    student_tokens_mask: Tensor | None = None,
    *,
    pool: Pool = "mean",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Vectors (B, d) of prediction and target in float32, teacher by teacher.

    Args:
        translated: (B, L', d) by teacher.
        teacher_tokens: (B, N, d) by teacher.
        translated_mask: (B, L') by teacher; None: all valid.
        teacher_tokens_mask: (B, N) by teacher; None: all valid.
        student_tokens: (B, L, D); only their number counts, and only for `original`.
        student_tokens_mask: (B, L); likewise.
        pool: `mean` over the valid tokens. `original` sums as many of the translated tokens as the student has and
            divides by that number, as the published code does even where a converter changed the length; it is for
            comparison with that code alone.

    Raises:
        DataError: `original` without the student's tokens, or a converter whose teacher's tokens are not there.
    """
    lengths = _student_lengths(student_tokens, student_tokens_mask) if pool == "original" else None
    absent = sorted(set(translated) - set(teacher_tokens))
    if absent:
        raise DataError(f"converters of {', '.join(absent)} have no teacher's tokens to learn from")
    for name, tokens in translated.items():
        target = masked_mean(teacher_tokens[name].float(), (teacher_tokens_mask or {}).get(name))
        if lengths is None:
            yield masked_mean(tokens.float(), (translated_mask or {}).get(name)), target
        else:
            yield length_pool(tokens.float(), lengths), target


def _student_lengths(tokens: Tensor | None, mask: Tensor | None) -> Tensor:
    if mask is not None:
        return mask.sum(dim=1)
    if tokens is None:
        raise DataError("pool 'original' needs the student's tokens, whose number it divides by")
    return torch.full((len(tokens),), tokens.shape[1], device=tokens.device)


def length_pool(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Sum of the first `lengths` (B,) tokens of (B, L, C), divided by that number even where L is smaller."""
    first = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
    return torch.einsum("blc,bl->bc", tokens, first.to(tokens.dtype)) / lengths.clamp_min(1).unsqueeze(1)


def pool_sequence(tokens: Tensor) -> Tensor:
    """Mean over all axes between the first and the last: (B, ..., C) -> (B, C)."""
    return tokens.flatten(1, -2).mean(dim=1)


def summed(distance: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss that sums a distance of vectors over teachers.

    Args:
        distance: of predictions and targets, (B, D) each -> scalar; keyword-only arguments are its options.

    Returns:
        A function with the arguments of `pooled`, and with the distance's options behind them.
    """
    shared, own = inspect.signature(pooled), inspect.signature(distance).parameters
    options = [argument for argument in own.values() if argument.kind is argument.KEYWORD_ONLY]

    def loss(*values: Any, **chosen: Any) -> Tensor:
        apart = {option.name: chosen.pop(option.name) for option in options if option.name in chosen}
        return _sum(distance(x, y, **apart) for x, y in pooled(*values, **chosen))

    # What tasks and plans read of a function: names of the values, names and types of the options.
    signature = shared.replace(parameters=[*shared.parameters.values(), *options], return_annotation=Tensor)
    loss.__signature__ = signature  # type: ignore[attr-defined]
    loss.__annotations__ = {name: argument.annotation for name, argument in signature.parameters.items()}
    return loss


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()


def classification(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of the clips that have a label.

    Args:
        logits: (B, classes).
        label: (B,) int64; clips whose label is no class, such as -1, do not count.

    Returns:
        Scalar; 0 if no clip has a label.
    """
    known = (label >= 0) & (label < logits.shape[1])
    each = F.cross_entropy(logits.float(), label.where(known, 0), reduction="none")
    return each.where(known, 0).sum() / known.sum().clamp_min(1)


def teacher_classification(teacher_logits: Tokens, label: Tensor) -> Tensor:
    """Cross-entropy of each teacher's own scores (B, classes), summed over teachers; see `classification`."""
    return _sum(classification(logits, label) for logits in teacher_logits.values())


def sparsity(
    gates: Tensor,
    student_tokens_mask: Tensor | None = None,
    *,
    kind: Literal["l1", "entropy"] = "l1",
) -> Tensor:
    """How far the gates are open, or how undecided they are.

    Args:
        gates: (B, N, n) in [0, 1].
        student_tokens_mask: (B, N), valid tokens; None: all.
        kind: `l1`, mean of the gates; `entropy`, their mean binary entropy in nats.

    Source:
        The authors give it the weight 1e-3 and train with `l1`.
    """
    gates = gates.float()
    if kind == "entropy":
        gates = gates.clamp(1e-6, 1 - 1e-6)
        values = -(gates * gates.log() + (1 - gates) * (1 - gates).log())
    else:
        values = gates.abs()
    return masked_mean(values.mean(dim=2, keepdim=True).flatten(0, 1).unsqueeze(0), _flat(student_tokens_mask)).sum()


def _flat(mask: Tensor | None) -> Tensor | None:
    """All clips in a row, as one."""
    return None if mask is None else mask.flatten().unsqueeze(0)


def margin(score: Tensor, label: Tensor, *, margin: float = 1.0) -> Tensor:
    """Anomaly scores of normal clips to zero, and those of abnormal ones beyond a margin.

    Args:
        score: (B,), 0 or more.
        label: (B,) int64, 0 normal, 1 abnormal; clips with another label, such as -1, do not count.
        margin: of abnormal clips.

    Returns:
        Scalar; 0 if no clip has a label. With normal clips alone it is the mean score, whose least is reached by
        fusing nothing.
    """
    score = score.float()
    known = (label == 0) | (label == 1)
    each = torch.where(label == 1, F.relu(margin - score), score)
    return each.where(known, 0).sum() / known.sum().clamp_min(1)


def spread(projected: Tensor, student_tokens_mask: Tensor | None = None) -> Tensor:
    """How much the channels of projected tokens vary less than one, so that scores cannot all become zero.

    Args:
        projected: (B, N, d).
        student_tokens_mask: (B, N), valid tokens; None: all.

    Source:
        The variance term of VICReg (Bardes et al. 2022), over all tokens of the batch.
    """
    tokens = projected.float().flatten(0, 1)
    return _missing_variance(tokens if student_tokens_mask is None else tokens[student_tokens_mask.flatten()])


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "l2": summed(squared_error),
    "l1": summed(absolute_error),
    "cos": summed(cosine_distance),
    "nce": summed(contrastive),
    "vic": summed(variance_invariance_covariance),
    "bar": summed(cross_correlation),
    "classification": classification,
    "teacher_classification": teacher_classification,
    "sparsity": sparsity,
    "margin": margin,
    "spread": spread,
}
