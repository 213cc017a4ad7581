"""Small JSON files that carry a digest of their own content, so that not one byte of them changes unnoticed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.errors import DataError
from gradatim.files import write_json
from gradatim.weights.digest import text_digest


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file; `content` holds JSON values and no key `digest`."""
    write_json(path, {**content, "digest": text_digest(json.dumps(content))})


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The content that `write_sealed` wrote.

    Raises:
        DataError: a byte of it changed; the message ends with `remedy`.
        FileNotFoundError: there is no such file.
    """
    try:
        text = path.read_bytes().decode()
        found: dict[str, Any] = json.loads(text)
        # Written again it must be the same text: white space that changed would pass the digest.
        whole = json.dumps(found, indent=1) + "\n" == text
        content = {name: value for name, value in found.items() if name != "digest"}
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); {remedy}") from error
    if not whole or found.get("digest") != text_digest(json.dumps(content)):
        raise DataError(f"{path}: damaged: its content does not have the digest that stands in it; {remedy}")
    return content
