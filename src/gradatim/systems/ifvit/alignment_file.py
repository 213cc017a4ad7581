"""Motions between prints of files, written once by whoever aligned them and read when matching is trained."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from gradatim.errors import DataError
from gradatim.files import write_text
from gradatim.systems.ifvit.warping import Matrix

Names = tuple[str, str]
Row = tuple[float, float, float]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    first: str
    second: str
    matrix: tuple[Row, Row, Row]


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: PositiveInt
    pairs: tuple[_Entry, ...]


def write_alignments(path: Path, size: int, matrices: Mapping[Names, Matrix]) -> None:
    """Write motions as JSON.

    Args:
        path: of the file.
        size: side of the squares that prints were fitted into when they were aligned, in pixels.
        matrices: (3, 3), from the first print's points to the second's, by the names of both; genuine pairs and
            imposters.
    """
    pairs = [
        {"first": first, "second": second, "matrix": np.asarray(matrix).tolist()}
        for (first, second), matrix in matrices.items()
    ]
    lines = ",\n".join(json.dumps(pair) for pair in pairs)
    write_text(path, f'{{"size": {size}, "pairs": [\n{lines}\n]}}\n')


def read_alignments(path: Path, size: int) -> dict[Names, Matrix]:
    """Read motions for prints in squares of a size, whatever size they were found at.

    Args:
        path: of a file that `write_alignments` wrote.
        size: side of the squares now, in pixels.

    Raises:
        DataError: the file is missing, or is not what was written.
    """
    try:
        content = _Content.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no file of alignments: {error}") from error
    factor = size / content.size
    # Whole numbers are the pixels' middles, so the square begins at -0.5.
    change = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    back = np.linalg.inv(change)
    return {(pair.first, pair.second): change @ np.array(pair.matrix) @ back for pair in content.pairs}
