"""Any data set as folders of classes: `{split}/{class}/*.mp4`, or `{class}/*.mp4` without splits."""

from pathlib import Path

from gradatim.data.image import IMAGE_SUFFIXES
from gradatim.data.video import VIDEO_SUFFIXES
from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets.listing import (
    Labels,
    Listing,
    VideoSample,
    below,
    refuse_problems,
    wrong_split,
)

ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "validate"),
    "test": ("test", "testing"),
}


def list_folders(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips in folders that have the names of classes.

    Args:
        root: holds `{split}/{class}/` or `{class}/`; a clip is a video file, or a folder of pictures.
        split: "train", "validation" or "test", by its folder's name or a usual short form. Without folders of splits
            there is only "train" (or "all"), with everything.
        labels: only one way; for equal calls.

    Returns:
        Classes are in the order of the alphabet over all splits, so that numbers agree.

    Raises:
        DataError: the folder or the split is missing, or a class has no clip.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.")
    splits = {_meaning(path.name): path for path in _subfolders(root) if _meaning(path.name) is not None}
    wanted = _meaning(split) or split
    if not splits and wanted not in ("train", "all"):
        raise DataError(
            f"{root}: has no folder of the split {split!r}, only of classes; keep a part of training out with "
            "`holdout`, or sort the clips into train/, validation/ and test/."
        )
    if splits and wanted not in splits:
        raise wrong_split(f"{root}", split, sorted(path.name for path in splits.values()))
    everywhere = list(splits.values()) or [root]
    classes = sorted({folder.name for part in everywhere for folder in _subfolders(part)})
    chosen = splits[wanted] if splits else root
    samples, wrong = [], []
    for name in classes:
        clips = _clips(chosen / name)
        if not clips and (chosen / name).is_dir():
            wrong.append(f"{below(chosen / name, root)}: holds neither a video nor a folder of pictures.")
        samples += [VideoSample(path=below(clip, root), label=classes.index(name)) for clip in clips]
    if not classes:
        wrong.append("holds no folder of a class.")
    refuse_problems(str(root), wrong)
    return Listing(dataset="folders", split=split, root=root, classes=tuple(classes), samples=tuple(samples))


def _meaning(name: str) -> str | None:
    return next((split for split, names in ALIASES.items() if name.lower() in names), None)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _clips(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in inside if path.suffix.lower() in VIDEO_SUFFIXES or _holds_pictures(path)]


def _holds_pictures(path: Path) -> bool:
    return path.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())
