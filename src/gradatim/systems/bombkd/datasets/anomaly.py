"""Data sets of anomalies with labels of frames: ShanghaiTech Campus and UCF-Crime."""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets.listing import (
    Labels,
    Listing,
    VideoSample,
    below,
    read_lines,
    refuse_problems,
    wrong_split,
)

NORMAL, ABNORMAL = 0, 1
CLASSES = ("normal", "abnormal")


def list_shanghaitech(root: Path, split: str, *, labels: Labels = "corrected") -> Listing:
    """Clips of ShanghaiTech Campus: all of training are normal; a test clip is abnormal if one of its frames is.

    Args:
        root: holds `training/videos/*.avi`, `testing/frames/{clip}/*.jpg` and a file of frame labels for each test
            clip, `test_frame_mask/{clip}.npy` or `testing/test_frame_mask/{clip}.npy`; or a folder ShanghaiTech
            that does.
        split: "train", "test" or "validation" (the test clips: there is no third).
        labels: "original" takes a test clip without frame labels for a normal one.

    Raises:
        DataError: the split does not exist, a folder is missing, or a test clip has no frame labels.
    """
    if split not in ("train", "test", "validation"):
        raise wrong_split("shanghaitech", split, ("train", "test", "validation"))
    root = root / "ShanghaiTech" if (root / "ShanghaiTech").is_dir() else root
    notes: tuple[str, ...] = ()
    if split == "train":
        videos = sorted(_folder(root / "training" / "videos").glob("*.avi"))
        samples = tuple(VideoSample(path=below(video, root), label=NORMAL) for video in videos)
    else:
        samples = _tested(root, labels)
        notes = ("ShanghaiTech has no validation split; its test clips are used.",) if split == "validation" else ()
    return Listing(dataset="shanghaitech", split=split, root=root, classes=CLASSES, samples=samples, notes=notes)


def list_ucf_crime(
    root: Path, split: str, *, labels: Labels = "corrected", task: Literal["anomaly", "classes"] = "anomaly"
) -> Listing:
    """Clips of UCF-Crime; the published program has no reader for it.

    Args:
        root: holds Anomaly_Train.txt, Anomaly_Test.txt, Temporal_Anomaly_Annotation_for_Testing_Videos.txt and
            `Videos/{Class}/*.mp4` (or the classes' folders themselves); or a folder UCF-Crime that does.
        split: "train", "test" or "validation" (the test clips: there is no third).
        labels: only one way; for equal calls.
        task: "anomaly" tells normal from abnormal; "classes" tells the kinds of crime and "Normal" apart.

    Raises:
        DataError: the split does not exist, a list is missing, or an abnormal test clip has no intervals.
    """
    if split not in ("train", "test", "validation"):
        raise wrong_split("ucf-crime", split, ("train", "test", "validation"))
    root = root / "UCF-Crime" if (root / "UCF-Crime").is_dir() else root
    source = root / f"Anomaly_{'Train' if split == 'train' else 'Test'}.txt"
    events = {} if split == "train" else _events(root / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt")
    paths = read_lines(source)
    names = _crimes(root, paths) if task == "classes" else list(CLASSES)
    folder = "Videos/" if (root / "Videos").is_dir() else ""
    samples, wrong = [], []
    for path in paths:
        crime = _crime(path)
        clip = path.rpartition("/")[2]
        if split != "train" and crime != "Normal" and not events.get(clip):
            wrong.append(f"{path}: is abnormal, but no interval tells when.")
        label = names.index(crime) if task == "classes" else int(crime != "Normal")
        intervals = None if split == "train" else tuple(events.get(clip, ()))
        samples.append(VideoSample(path=folder + path, label=label, intervals=intervals))
    refuse_problems(str(source), wrong)
    notes = ("UCF-Crime has no validation split; its test clips are used.",) if split == "validation" else ()
    return Listing(
        dataset="ucf-crime", split=split, root=root, classes=tuple(names), samples=tuple(samples), notes=notes
    )


def read_mask(path: Path) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether something abnormal happens, for each frame of a clip.

    Raises:
        DataError: the file is missing, is no array, or holds not one number a frame.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not an array of frame labels ({error}).") from error
    if not isinstance(values, np.ndarray) or values.squeeze().ndim > 1 or values.dtype.kind not in "biuf":
        raise DataError(f"{path}: must hold one number a frame.")
    abnormal: np.ndarray[tuple[int], np.dtype[np.bool_]] = values.reshape(-1) > 0
    return abnormal


def _tested(root: Path, labels: Labels) -> tuple[VideoSample, ...]:
    samples, wrong = [], []
    for clip in sorted(path for path in _folder(root / "testing" / "frames").iterdir() if path.is_dir()):
        masks = [folder / f"{clip.name}.npy" for folder in (root / "test_frame_mask", root / "testing/test_frame_mask")]
        mask = next((path for path in masks if path.is_file()), None)
        if mask is None:
            wrong.append(f"{below(clip, root)}: has no frame labels at {masks[0]} or {masks[1]}.")
        label = int(mask is not None and bool(read_mask(mask).any()))
        samples.append(VideoSample(path=below(clip, root), label=label, mask=below(mask, root) if mask else None))
    if labels == "corrected":
        refuse_problems(str(root), wrong)
    return tuple(samples)


def _events(path: Path) -> dict[str, list[tuple[int, int]]]:
    """First and last frame of each event by the clip's file name; -1 stands for no event."""
    events, wrong = {}, []
    for line in read_lines(path):
        words = line.split()
        if len(words) < 4 or not all(re.fullmatch(r"-?\d+", word) for word in words[2:]):
            wrong.append(f"line {line!r} is not a name, a class and pairs of frame numbers.")
            continue
        numbers = [int(word) for word in words[2:]]
        events[words[0]] = [(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=False) if a >= 0 and b >= a]
    refuse_problems(str(path), wrong)
    return events


def _crime(path: str) -> str:
    """Kind of crime of a clip; normal clips lie in folders of several names."""
    folder = path.rpartition("/")[0].rpartition("/")[2]
    return "Normal" if "normal" in (folder or path).lower() else folder


def _crimes(root: Path, paths: list[str]) -> list[str]:
    """Names of all kinds in both lists, in the order of the alphabet."""
    other = [root / name for name in ("Anomaly_Train.txt", "Anomaly_Test.txt")]
    lines = [*paths, *(line for path in other if path.is_file() for line in read_lines(path))]
    return sorted({_crime(line) for line in lines})


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"{path}: no such folder.")
    return path
