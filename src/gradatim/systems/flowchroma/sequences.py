"""The videos of all roots, found and looked at before the first is used."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from gradatim.data.image import image_size, is_gray, verify_image
from gradatim.errors import DataError
from gradatim.systems.flowchroma.references import LEAST_SIDE
from gradatim.systems.flowchroma.video_folders import folder_videos
from gradatim.systems.flowchroma.video_lists import list_videos
from gradatim.systems.flowchroma.videos import Found, PictureFile, Source, Video, shortened

Check = Literal["full", "headers"]


def find_videos(roots: Sequence[Path], references: Sequence[Path] | None, *, length: int) -> Found:
    """Videos of all roots; no picture is opened. Equal names in two roots are two videos.

    Args:
        roots: folders with a list (*.csv) and the videos it names, or a list itself, beside them; or folders without
            one, whose folders are the videos.
        references: folders of reference pictures; if empty, those of a list are looked for in the roots, and videos
            without a list have their first frame. None if references are not needed at all.
        length: least number of frames of a video.
    """
    wrong = [f"{folder}: no such folder, for references." for folder in references or () if not folder.is_dir()]
    bases = [root.parent if root.is_file() else root for root in roots]
    found = []
    for root, base, label in zip(roots, bases, root_labels(roots), strict=True):
        lists = _lists_of(root)
        if len(lists) > 1:
            names = ", ".join(path.name for path in lists)
            wrong.append(f"{root}: has {len(lists)} lists ({names}): give the path of the one that is meant as root.")
        elif lists:
            around = list(dict.fromkeys([base, *bases]))
            pictures = None if references is None else references or around
            found.append(list_videos(lists[0], around, pictures, length=length, label=label))
        else:
            found.append(folder_videos(root, references or (), length=length, label=label))
    videos = sorted((video for one in found for video in one.videos), key=lambda video: video.name)
    told = tuple(line for one in found for line in one.wrong)
    return Found(tuple(videos), (*wrong, *told), tuple(note for one in found for note in one.notes))


def looked_at(found: Found, *, check: Check) -> Found:
    """Look at every file that was found: unreadable, tiny and gray pictures are told.

    A gray reference is left out, with a note, as long as its frame has another one; it holds no color to be taken.

    Args:
        found: videos, and what is wrong so far.
        check: "full" decodes each picture to its end; "headers" looks at the first bytes, so that it finds empty files
            and files of another kind, but not truncated ones.
    """
    frames = dict.fromkeys(frame for video in found.videos for frame in video.frames)
    candidates = dict.fromkeys(
        source for video in found.videos for several in dict.fromkeys(video.references) for source in several
    )
    files = [source for source in {**frames, **candidates} if isinstance(source, PictureFile)]
    answers = _answers(files, verify_image if check == "full" else image_size)
    wrong = [answer for answer in answers.values() if isinstance(answer, str)]
    gray = {source for source, answer in answers.items() if answer is True}
    lost = [source.path for source in files if source in gray and source in frames]
    wrong_frames = [f"{path}: a gray picture; a frame must have the colors that are to be learned." for path in lost]
    videos = [_without(video, gray) for video in found.videos]
    pale = {
        f"{several[0].path}: a gray picture; it and all other references of video {video.name!r}, frame {frame.name!r}."
        for video, kept in zip(found.videos, videos, strict=True)
        for frame, several, left in zip(video.frames, video.references, kept.references, strict=False)
        if several and not left and isinstance(several[0], PictureFile)
    }
    notes = list(found.notes)
    left_out = sum(source in gray for source in candidates)
    if left_out and not pale:
        notes.append(f"{left_out} gray reference picture(s) are not used: they have no colors to take.")
    lines = (*found.wrong, *shortened(wrong), *shortened(wrong_frames), *shortened(sorted(pale)))
    return Found(tuple(videos), lines, tuple(notes))


def root_labels(roots: Sequence[Path]) -> list[str]:
    """Prefix of the names of each root: none for a single root, else the shortest end of its path that is unique.

    Raises:
        DataError: two roots are the same.
    """
    if len(roots) == 1:
        return [""]
    for parts in range(1, max((len(root.parts) for root in roots), default=1) + 1):
        labels = ["/".join(root.parts[-parts:]) + "/" for root in roots]
        if len(set(labels)) == len(labels):
            return labels
    raise DataError(f"a root is named twice: {', '.join(str(root) for root in roots)}.")


def _lists_of(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    inside = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in inside if path.suffix.lower() == ".csv" and not path.name.startswith("."))


def _answers(files: Sequence[PictureFile], look: Callable[[Path], tuple[int, int]]) -> dict[Source, str | bool]:
    """Of each file, what is wrong with it, or whether it is gray."""

    def attempt(file: PictureFile) -> str | bool:
        try:
            height, width = look(file.path)
            gray = is_gray(file.path)
        except DataError as error:
            return str(error)
        if min(height, width) < LEAST_SIDE:
            return f"{file.path}: {height} x {width} (height x width) is smaller than {LEAST_SIDE} x {LEAST_SIDE}."
        return gray

    # Pillow decodes without holding the interpreter's lock, so threads help.
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(files, pool.map(attempt, files), strict=True))


def _without(video: Video, gray: set[Source]) -> Video:
    if not gray:
        return video
    kept = tuple(tuple(source for source in several if source not in gray) for several in video.references)
    return replace(video, references=kept)
