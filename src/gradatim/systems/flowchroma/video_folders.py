"""Videos as plain folders of frames, without a list."""

from collections.abc import Sequence
from pathlib import Path

from gradatim.systems.flowchroma.videos import Found, PictureFile, Source, Video, folders_in, pictures_in


def folder_videos(root: Path, references: Sequence[Path], *, length: int, label: str = "") -> Found:
    """Each folder below a root with enough pictures; or the root itself, if only it holds pictures.

    Args:
        root: a folder.
        references: folders of pictures that colors may be taken from, for all frames alike; from a folder below them
            that is named as the video, if there is one. None for the first frame of each video.
        length: least number of pictures; folders with fewer are left out, with a note.
        label: goes before each video's name.
    """
    if not root.is_dir():
        return Found(wrong=(f"{root}: no such folder.",))
    aside = {folder.resolve() for folder in references}
    found = {folder: pictures_in(folder) for folder in folders_in(root) if folder.resolve() not in aside}
    if not any(found.values()):
        found = {root: pictures_in(root)}
    short = {folder: files for folder, files in found.items() if 0 < len(files) < length}
    long = {folder: files for folder, files in found.items() if len(files) >= length}
    if not long:
        told = "".join(f" {folder.name!r} has {len(files)}." for folder, files in list(short.items())[:5])
        return Found(wrong=(f"{root}: no list (*.csv), and no folder of at least {length} pictures.{told}",))
    videos, wrong = [], []
    for folder, files in long.items():
        candidates = _candidates(references, folder.name)
        if references and not candidates:
            where = ", ".join(str(reference) for reference in references)
            wrong.append(f"video {label + folder.name!r}: no reference picture in {where}.")
        frames = tuple(PictureFile(path) for path in files)
        videos.append(Video(label + folder.name, frames, (candidates,) * len(frames)))
    notes = [
        f"{folder} is not used: it has {len(files)} picture(s), and a sequence takes {length}."
        for folder, files in short.items()
    ]
    return Found(tuple(videos), tuple(wrong), tuple(notes))


def _candidates(references: Sequence[Path], video: str) -> tuple[Source, ...]:
    folders = [own if (own := folder / video).is_dir() else folder for folder in references]
    return tuple(PictureFile(path) for folder in folders if folder.is_dir() for path in pictures_in(folder))
