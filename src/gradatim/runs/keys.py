"""Stage keys: a digest of everything that a stage's result depends on.

Two stages with equal keys end with equal weights, so a finished one can be used in place of the other. The parts
of a key are kept beside it, so that a stale stage can be explained.
"""

import json
from collections.abc import Mapping
from typing import Any

from gradatim.plan.stage import Stage
from gradatim.weights.digest import text_digest

# Settings of a stage that change how it runs and not what it ends with.
_WITHOUT_EFFECT = frozenset({"workers", "init"})


def stage_key(
    stage: Stage,
    *,
    seed: int,
    model: Mapping[str, Any],
    parts: Mapping[str, str],
    data: str,
    code: str,
    version: str,
) -> dict[str, str]:
    """Key of a stage and what it is made of.

    Args:
        stage: resolved.
        seed: of the plan.
        model: settings of the parts, complete.
        parts: digest of each used part's weights at the stage's start.
        data: digest of the data.
        code: digest of the system's source.
        version: of gradatim.

    Returns:
        `key`, and the digest of each ingredient by name.
    """
    settings = stage.model_dump(mode="json", by_alias=True, exclude=set(_WITHOUT_EFFECT))
    ingredients = {
        "settings": _digest(settings),
        "seed": str(seed),
        "model": _digest(model),
        "weights": _digest(parts),
        "data": data,
        "code": code,
        "version": version,
    }
    return {"key": _digest(ingredients), **ingredients}


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Names of the ingredients in which two keys differ."""
    return [name for name in new if name != "key" and old.get(name) != new[name]]


def _digest(value: Any) -> str:
    return text_digest(json.dumps(value, sort_keys=True, default=str))
