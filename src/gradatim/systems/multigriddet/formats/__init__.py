"""Readers of annotation formats: each turns its files into entries, and says what is wrong with them.

No reader opens an image or judges a box; `annotations.py` does that alike for all of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from gradatim.errors import DataError
from gradatim.systems.multigriddet.formats.coco import annotation_files, read_coco
from gradatim.systems.multigriddet.formats.entry import Reading, Wanted
from gradatim.systems.multigriddet.formats.lines import read_annotation_lines
from gradatim.systems.multigriddet.formats.text import NAME_FILES, read_text
from gradatim.systems.multigriddet.formats.voc import read_voc
from gradatim.systems.multigriddet.formats.yolo import read_yolo

Format = Literal["lines", "yolo", "coco", "voc"]

READERS: Mapping[Format, Callable[[Wanted], Reading | None]] = {
    "lines": read_annotation_lines,
    "yolo": read_yolo,
    "coco": read_coco,
    "voc": read_voc,
}


def format_of(root: Path) -> Format:
    """The format of a file or folder by what it holds.

    Raises:
        DataError: nothing in it tells.
    """
    if root.is_file():
        if root.suffix.lower() in (".yaml", ".yml"):
            return "yolo"
        return "coco" if read_text(root)[0].lstrip().startswith(("{", "[")) else "lines"
    if (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir():
        return "voc"
    described = any((root / name).is_file() for name in NAME_FILES)
    if described or (root / "labels").is_dir() or any(root.glob("*/labels")):
        return "yolo"
    if annotation_files(root):
        return "coco"
    if (root / "images").is_dir() or any(root.glob("*/images")):
        return "yolo"
    raise DataError(
        f"{root}: holds no annotations of a known kind: no images/ and labels/ (YOLO), no annotations/*.json (COCO), "
        "no Annotations/ and JPEGImages/ (VOC); a list of lines is given by its file."
    )
