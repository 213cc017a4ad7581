"""Videos as lists (CSV) tell them: which frames, and for each of them up to five reference pictures.

Names are text, so `001` stays `001`. Nothing is guessed: a name means the file or folder of just that name, but for
zeros before a number, which spreadsheets drop.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gradatim.errors import nearest
from gradatim.systems.flowchroma.videos import Found, PictureFile, Source, Video, frame_order, shortened

VIDEO, FRAME = "video_name", "current_frame"
REFERENCES = ("ref1", "ref2", "ref3", "ref4", "ref5")
_PADDED = (3, 4)
_MOST_NAMES = 20_000


@dataclass(frozen=True)
class Row:
    """One line of a list.

    Args:
        line: its number in the file, from 1.
        video: name of the video.
        frame: name of the frame's file.
        references: names of reference pictures, without those that are left empty.
    """

    line: int
    video: str
    frame: str
    references: tuple[str, ...]


@dataclass
class Search:
    """Where names of one list are looked up.

    Args:
        path: of the list, for messages.
        frames: folders of videos, the list's own first.
        references: folders of reference pictures.
    """

    path: Path
    frames: Sequence[Path]
    references: Sequence[Path]
    _known: dict[str, Path | None] = field(default_factory=dict)

    def folder(self, video: str) -> Path | None:
        """The folder of a video: the first that there is."""
        names = [video, *(video.zfill(digits) for digits in _PADDED if video.isdecimal())]
        return next((base / name for base in self.frames for name in names if (base / name).is_dir()), None)

    def loose_frame(self, frame: str) -> Path | None:
        """A frame that lies beside the videos' folders."""
        return next((base / frame for base in self.frames if (base / frame).is_file()), None)

    def reference(self, name: str) -> Path | None:
        """A reference picture, by its whole name or without the folders in it."""
        if name not in self._known:
            paths = (base / part for base in self.references for part in (name, Path(name).name))
            self._known[name] = next((path for path in paths if path.is_file()), None)
        return self._known[name]

    @cached_property
    def reference_names(self) -> list[str]:
        """What there is to be meant by a name that is missing; nothing where folders are too large to compare."""
        return _names_in(self.references)


def list_videos(
    path: Path, frames: Sequence[Path], references: Sequence[Path] | None, *, length: int, label: str = ""
) -> Found:
    """Read a list and find its files.

    Args:
        path: of the list, with the columns `video_name`, `current_frame` and at least one of `ref1` to `ref5`; others
            are not read. Lines may stand in any order; a frame that stands twice counts once, with the reference
            pictures of both lines.
        frames: folders that hold a folder for each video, or the frames of all; the list's own first.
        references: folders of reference pictures; None if they are not needed.
        length: least number of frames of a video.
        label: goes before each video's name.
    """
    rows, wrong = read_list(path, references=references is not None)
    search = Search(path, frames, references or ())
    videos, missing, unfound = [], [], dict[str, str]()
    by_video: dict[str, list[Row]] = {}
    for row in rows:
        by_video.setdefault(row.video, []).append(row)
    for name, own in sorted(by_video.items()):
        merged = _merged(own)
        if len(merged) < length:
            wrong.append(f"{path}: video {name!r} has {len(merged)} frame(s), and a sequence takes {length}.")
        files, absent = _frame_files(search, name, merged)
        missing += absent
        candidates = []
        for row in merged:
            found = {reference: search.reference(reference) for reference in row.references}
            unfound |= {key: _no_reference(search, key, row) for key in found.keys() - unfound.keys() if not found[key]}
            candidates.append(tuple(PictureFile(file) for file in found.values() if file is not None))
        videos.append(Video(label + name, tuple(files), tuple(candidates)))
    return Found(tuple(videos), (*shortened(wrong), *shortened(missing), *shortened(list(unfound.values()))))


def read_list(path: Path, *, references: bool) -> tuple[list[Row], list[str]]:
    """Lines of a list, and what is wrong with them; no other file is looked for.

    Args:
        path: of the list.
        references: whether its reference pictures are needed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [f"{path}: cannot be read as a list ({error})."]
    wrong = [_no_column(path, name, header) for name in (VIDEO, FRAME) if name not in header]
    columns = [name for name in REFERENCES if name in header] if references else []
    if references and not columns:
        wrong.append(_no_column(path, REFERENCES[0], header))
    if wrong:
        return [], wrong
    rows = []
    for line, cells in lines:
        if not any(cells):
            continue
        told = dict(zip(header, cells, strict=False))
        row = Row(line, told.get(VIDEO, ""), told.get(FRAME, ""), _filled(told, columns))
        empty = [name for name, value in ((VIDEO, row.video), (FRAME, row.frame)) if not value]
        if references and not row.references:
            empty.append("every reference")
        wrong += [f"{path}, line {line}: {name} is empty." for name in empty]
        rows.append(row)
    if not rows:
        wrong.append(f"{path}: the list has no lines.")
    return ([], wrong) if wrong else (rows, wrong)


def _filled(told: dict[str, str], columns: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(told[name] for name in columns if told.get(name)))


def _merged(rows: Sequence[Row]) -> list[Row]:
    """One row for each frame, in the order of the frames' names."""
    frames: dict[str, Row] = {}
    for row in rows:
        first = frames.get(row.frame, row)
        both = tuple(dict.fromkeys((*first.references, *row.references)))
        frames[row.frame] = Row(first.line, row.video, row.frame, both)
    return [frames[name] for name in sorted(frames, key=frame_order)]


def _frame_files(search: Search, video: str, rows: Sequence[Row]) -> tuple[list[Source], list[str]]:
    """Files of a video's frames, all in one folder, and which are missing."""
    folder = search.folder(video)
    paths = {row: folder / row.frame if folder else search.loose_frame(row.frame) for row in rows}
    if folder is None and not any(paths.values()):
        where = ", ".join(str(base) for base in search.frames)
        near = _hint(video, _names_in(search.frames))
        return [], [f"{search.path}, line {rows[0].line}: no folder of the video {video!r} in {where}.{near}"]
    files: list[Source] = [PictureFile(path) for path in paths.values() if path is not None and path.is_file()]
    absent = [row for row, path in paths.items() if path is None or not path.is_file()]
    names = _names_in([folder] if folder else search.frames) if absent else []
    where = str(folder) if folder else ", ".join(str(base) for base in search.frames)
    return files, [
        f"{search.path}, line {row.line}: frame {row.frame!r} of the video {video!r} is not in {where}."
        + _hint(row.frame, names)
        for row in absent
    ]


def _no_reference(search: Search, name: str, row: Row) -> str:
    where = ", ".join(str(base) for base in search.references)
    near = _hint(Path(name).name, search.reference_names)
    return f"{search.path}, line {row.line}: reference {name!r} is not in {where}.{near}"


def _no_column(path: Path, name: str, header: Sequence[str]) -> str:
    return f"{path}: no column {name!r}.{_hint(name, header)} Its columns: {', '.join(header) or 'none'}."


def _names_in(folders: Iterable[Path]) -> list[str]:
    names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return names if len(names) <= _MOST_NAMES else []


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near is not None else ""
