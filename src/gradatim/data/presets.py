"""What settings of augmentation share: presets by name, and ranges whose least comes first."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from gradatim.errors import unknown


def with_preset(value: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """Fields of a preset, and what is given beside its name; other values as they are.

    Args:
        value: what a user gave: a preset's name, or fields, one of which may be `preset`.
        presets: fields by name.

    Raises:
        ValueError: no such preset; names the nearest.
    """
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping) or "preset" not in value:
        return value
    given = dict(value)
    name = str(given.pop("preset"))
    if name not in presets:
        raise ValueError(unknown("preset", name, presets))
    return {**presets[name], **given}


def check_ordered(settings: BaseModel, names: Sequence[str]) -> None:
    """Refuse ranges whose first value is above the second.

    Raises:
        ValueError: names the range.
    """
    for name in names:
        low, high = getattr(settings, name)
        if low > high:
            raise ValueError(f"{name}: {low:g} to {high:g}: the least comes first")
