"""Lineage of a file or run, read back."""

from pathlib import Path

from gradatim.errors import RunError
from gradatim.runs.folder import RunFolder, read_json
from gradatim.runs.lineage import Lineage
from gradatim.weights import header_of, read_weights


def lineage_of(path: Path) -> dict[str, Lineage]:
    """Lineage of every part in a file of ours, or in a run; empty for a foreign file.

    Raises:
        RunError: the folder is no run, or none of its stages is finished.
    """
    if not path.is_dir():
        told = header_of(read_weights(path)).get("lineage", {})
        return {name: Lineage.from_json(value) for name, value in told.items()}
    files = sorted(path.glob("[0-9][0-9]-*/lineage.json"))
    if not RunFolder(path).exists() or not files:
        raise RunError(f"{path}: no run with a finished stage")
    return {name: Lineage.from_json(value) for name, value in read_json(files[-1]).items()}
