"""Diving48, version 2: clips of dives, one class for each form."""

from pathlib import Path

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets.listing import (
    Labels,
    Listing,
    VideoSample,
    read_json,
    refuse_problems,
    with_suffix_found,
    wrong_split,
)

CLASSES = 48
VOCABULARY = "Diving48_vocab.json"


def list_diving48(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips of Diving48.

    Args:
        root: holds Diving48_V2_train.json, Diving48_V2_test.json and the videos, in `rgb/` or beside them; .mp4 or
            .webm. Names of classes come from Diving48_vocab.json where it is.
        split: "train" or "test". There is no validation split; "original" answers "validation" with the clips of
            training, which is refused otherwise.
        labels: see `split`.

    Raises:
        DataError: a file is missing, the split does not exist, or an item lacks what a clip needs.
    """
    if split in ("validation", "val") and labels == "corrected":
        raise DataError(
            "diving48: has no validation split; the published program validates on its training clips. "
            "Set `holdout: 0.1` to keep a part of training out, or validate on `test`."
        )
    kind = {"validation": "train", "val": "train"}.get(split, split)
    if kind not in ("train", "test"):
        raise wrong_split("diving48", split, ("train", "test"))
    source = root / f"Diving48_V2_{kind}.json"
    folder = "rgb/" if (root / "rgb").is_dir() else ""
    samples, wrong = [], []
    for number, item in enumerate(read_json(source)):
        missing = [key for key in ("vid_name", "label") if key not in item]
        if missing:
            wrong.append(f"item {number}: has no {' and no '.join(missing)}.")
            continue
        start, end = int(item.get("start_frame", 0)), item.get("end_frame")
        path = with_suffix_found(root, f"{folder}{item['vid_name']}", (".mp4", ".webm"))
        samples.append(
            VideoSample(path=path, label=int(item["label"]), start=start, end=None if end is None else int(end))
        )
    refuse_problems(str(source), wrong)
    return Listing(dataset="diving48", split=split, root=root, classes=_classes(root), samples=tuple(samples))


def _classes(root: Path) -> tuple[str, ...]:
    path = root / VOCABULARY
    if not path.is_file():
        return tuple(f"dive {number}" for number in range(CLASSES))
    return tuple("-".join(name) if isinstance(name, list) else str(name) for name in read_json(path))
