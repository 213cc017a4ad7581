"""What was found, as files: our JSON, COCO's results, and YOLO's text files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.files import write_json, write_text
from gradatim.systems.multigriddet.predict import Detections


@dataclass(frozen=True, kw_only=True)
class Result:
    """Objects of a picture, or of a frame of a video.

    Args:
        name: of the picture or video.
        size: (height, width).
        found: the objects.
        labels: file for YOLO's text.
        frame: number in the video; None for a picture.
        fps: of the video.
    """

    name: str
    size: tuple[int, int]
    found: Detections
    labels: Path
    frame: int | None = None
    fps: float | None = None


def write_results(out: Path, results: Sequence[Result], names: Sequence[str], formats: Sequence[str]) -> list[Path]:
    """Write results into a folder; each file is complete or absent.

    `json`: `detections.json`. `coco`: `coco_results.json`, a list that COCO's tools load, and beside it
    `coco_images.json` with the images and categories that it refers to; categories count from 1, and images have the
    number in their name where all names are different numbers. `yolo`: `labels/NAME.txt`, one for each picture or
    frame, empty where nothing was found.

    Args:
        out: the folder.
        results: pictures and frames in order.
        names: of the classes.
        formats: any of `jobs.FORMATS`.

    Returns:
        The files of the first two formats, and the folder of the third.
    """
    written: list[Path] = []
    if "json" in formats:
        written.append(out / "detections.json")
        write_json(written[-1], as_json(results, names))
    if "coco" in formats:
        images, found = as_coco(results, names)
        for name, value in (("coco_results.json", found), ("coco_images.json", images)):
            written.append(out / name)
            write_json(written[-1], value)
    if "yolo" in formats:
        written.append(out / "labels")
        for one in results:
            write_text(one.labels, as_yolo(one))
    return written


def objects_of(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """Objects as JSON values: corners in pixels, score and name of the class."""
    return [
        {"box": box, "score": score, "class": names[label]}
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    ]


def as_json(results: Sequence[Result], names: Sequence[str]) -> dict[str, Any]:
    """Our own form: pictures by name, videos by name and frame."""
    pictures: dict[str, Any] = {}
    videos: dict[str, Any] = {}
    for one in results:
        objects = objects_of(one.found, names)
        if one.frame is None:
            pictures[one.name] = {"size": list(one.size), "objects": objects}
            continue
        video = videos.setdefault(one.name, {"size": list(one.size), "fps": one.fps, "frames": []})
        video["frames"].append({"number": one.frame, "objects": objects})
    return {"classes": list(names), "pictures": pictures, "videos": videos}


def as_coco(results: Sequence[Result], names: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Images and categories, and COCO's list of results."""
    files = [one.name if one.frame is None else f"{one.name}/{one.frame:06d}" for one in results]
    numbers = _numbers(files)
    images = [
        {"id": number, "file_name": file, "height": one.size[0], "width": one.size[1]}
        for number, file, one in zip(numbers, files, results, strict=True)
    ]
    found = []
    for number, one in zip(numbers, results, strict=True):
        for box, score, label in zip(one.found.boxes, one.found.scores, one.found.classes, strict=True):
            left, top, right, bottom = box.tolist()
            bbox = [left, top, right - left, bottom - top]
            found.append(
                {"image_id": number, "category_id": int(label) + 1, "bbox": bbox, "score": float(score)}
            )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return {"images": images, "categories": categories, "annotations": []}, found


def _numbers(files: Sequence[str]) -> list[int]:
    stems = [Path(file).stem for file in files]
    if all(stem.isdecimal() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(files) + 1))


def as_yolo(one: Result) -> str:
    """`class cx cy w h score` a line, in shares of the picture."""
    height, width = one.size
    lines = ""
    for box, score, label in zip(one.found.boxes, one.found.scores, one.found.classes, strict=True):
        left, top, right, bottom = box.tolist()
        values = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        lines += f"{int(label)} {' '.join(f'{value:.6f}' for value in (*values, float(score)))}\n"
    return lines
