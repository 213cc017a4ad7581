"""Kinds of converters by name, and all converters of a model at once."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.errors import PlanError, unknown
from gradatim.systems.bombkd.parts.converters import ConvolutionConverter, LatentConverter, LinearConverter
from gradatim.systems.bombkd.parts.older_converters import OrthogonalConverter, ResidualConverter, TokenLearner
from gradatim.systems.bombkd.parts.tokens import flattened

KINDS: Mapping[str, Callable[..., nn.Module]] = {
    "a": LatentConverter,
    "b": ConvolutionConverter,
    "c": LinearConverter,
    "d": TokenLearner,
    "procrustes": OrthogonalConverter,
    "residual": ResidualConverter,
}
"""Converter of each kind; the last three existed before the published code."""

ALIASES: Mapping[str, str] = {
    "attn_resampler": "a",
    "perceiver": "a",
    "latent_xattn": "a",
    "linear_resampler": "b",
    "dsconv": "b",
    "single_linear": "c",
    "singlelinear": "c",
    "tokenlearner": "d",
}
"""Other names of the kinds."""


def kind_of(name: str) -> str:
    """The kind that a name stands for, in any case of letters.

    Raises:
        PlanError: no such kind. (The original takes kind b for every name that it does not know.)
    """
    lowered = name.lower()
    kind = ALIASES.get(lowered, lowered)
    if kind not in KINDS:
        raise PlanError(unknown("kind of converter", name, [*KINDS, *ALIASES]))
    return kind


def kind_in_checkpoint(name: str) -> str:
    """The kind that a checkpoint of the original means, which holds kind b under every name that is not of a or c."""
    kind = ALIASES.get(name.lower(), name.lower())
    return kind if kind in ("a", "c") else "b"


def build_converter(
    kind: str, d_in: int, d_out: int, *, target_len: int | None = None, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """A converter with fresh weights.

    Args:
        kind: one of `KINDS` or `ALIASES`.
        d_in: width of the student's tokens.
        d_out: width of the teacher's tokens.
        target_len: tokens of the result; None keeps the student's.
        options: keyword arguments of the kind's class.

    Raises:
        PlanError: no such kind or option, or sizes that do not fit together.
    """
    kind = kind_of(kind)
    check_options(kind, d_out, target_len, options or {})
    return KINDS[kind](d_in, d_out, target_len=target_len, **(options or {}))


def check_options(kind: str, d_out: int, target_len: int | None, options: Mapping[str, Any]) -> None:
    """Raise PlanError where options of a kind are unknown or do not fit the width and length of its result."""
    kind = kind_of(kind)
    signature = inspect.signature(KINDS[kind]).parameters
    known = [name for name in signature if name not in ("d_in", "d_out", "target_len")]
    wrong = [unknown(f"option of converter {kind}", name, known) for name in options if name not in known]
    value = {name: options.get(name, signature[name].default) for name in known}
    if kind == "a":
        wrong += _wrong_heads(kind, "d_lat", value["d_lat"], "n_heads_enc", value["n_heads_enc"])
        wrong += _wrong_heads(kind, "d_out", d_out, "n_heads_dec", value["n_heads_dec"])
    if kind == "b" and value["k"] % 2 == 0:
        wrong.append(f"converter b: `k` is {value['k']}; a kernel that keeps the length is odd: {value['k'] + 1}.")
    if kind == "d":
        wrong += _wrong_heads(kind, "d_out", d_out, "heads", value["heads"])
        if not target_len:
            wrong.append("converter d has no length of its own: give each teacher's tokens in `target_lens`.")
    if wrong:
        raise PlanError("\n".join(wrong))


def _wrong_heads(kind: str, width_name: str, width: int, heads_name: str, heads: int) -> list[str]:
    if width % heads == 0:
        return []
    what = "the width of the result" if width_name == "d_out" else f"`{width_name}`"
    near = next(n for n in range(heads, 0, -1) if width % n == 0)
    return [f"converter {kind}: {what} is {width}, no multiple of {heads} heads; set `{heads_name}: {near}`."]


def convert_all(
    converters: Mapping[str, nn.Module] | nn.ModuleDict, tokens: Tensor, mask: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Run every converter on the student's tokens.

    Args:
        converters: by teacher.
        tokens: (B, L, C).
        mask: (B, L), valid tokens; None: all.

    Returns:
        Translated tokens (B, L', d) by teacher, and their masks (B, L') by teacher; None where all are valid.
    """
    results = {name: converter(tokens, mask) for name, converter in converters.items()}
    translated = {name: flattened(y) for name, (y, _) in results.items()}
    if all(found is None for _, found in results.values()):
        return translated, None
    masks = {
        name: y.new_ones(y.shape[:2], dtype=torch.bool) if found is None else found
        for name, (y, found) in results.items()
    }
    return translated, masks
