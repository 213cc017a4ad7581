"""Readers of video data sets as they lie on disk: which clips a split has, and their labels.

Nothing here opens a video. Each reader is a function (root, split, options) -> `Listing`.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gradatim.errors import DataError, problems, unknown
from gradatim.systems.bombkd.datasets.anomaly import list_shanghaitech, list_ucf_crime, read_mask
from gradatim.systems.bombkd.datasets.breakfast import list_breakfast
from gradatim.systems.bombkd.datasets.diving48 import list_diving48
from gradatim.systems.bombkd.datasets.folders import list_folders
from gradatim.systems.bombkd.datasets.hmdb51 import list_hmdb51
from gradatim.systems.bombkd.datasets.listing import NO_LABEL, Labels, Listing, VideoSample
from gradatim.systems.bombkd.datasets.ssv2 import list_ssv2
from gradatim.systems.bombkd.datasets.uav import list_uav
from gradatim.systems.bombkd.datasets.ucf101 import list_ucf101

DATASETS: Mapping[str, Callable[..., Listing]] = {
    "breakfast": list_breakfast,
    "diving48": list_diving48,
    "folders": list_folders,
    "hmdb51": list_hmdb51,
    "shanghaitech": list_shanghaitech,
    "ssv2": list_ssv2,
    "uav": list_uav,
    "ucf-crime": list_ucf_crime,
    "ucf101": list_ucf101,
}

ALIASES: Mapping[str, str] = {
    "stech": "shanghaitech",
    "shtech": "shanghaitech",
    "uav-human": "uav",
    "ucfcrime": "ucf-crime",
    "ucf_crime": "ucf-crime",
}

__all__ = [
    "ALIASES",
    "DATASETS",
    "NO_LABEL",
    "Labels",
    "Listing",
    "VideoSample",
    "check_options",
    "dataset_name",
    "list_clips",
    "read_mask",
]


def dataset_name(name: str) -> str:
    """Our name of a data set, from it or one of its other names.

    Raises:
        DataError: there is no such data set.
    """
    ours = ALIASES.get(name.lower(), name.lower())
    if ours not in DATASETS:
        raise DataError(unknown("data set", name, [*DATASETS, *ALIASES]))
    return ours


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a data set's reader, brought to their types.

    Raises:
        DataError: the data set or an option does not exist, or a value is of the wrong kind.
    """
    reader = DATASETS[dataset_name(name)]
    known = {
        option.name: option.annotation
        for option in inspect.signature(reader).parameters.values()
        if option.kind is option.KEYWORD_ONLY and option.name != "labels"
    }
    checked, wrong = {}, []
    for option, value in options.items():
        if option not in known:
            wrong.append(unknown("option", option, known))
            continue
        try:
            checked[option] = TypeAdapter(known[option]).validate_python(value)
        except ValidationError as error:
            wrong.append(f"option {option!r}, {value!r}: {error.errors()[0]['msg']}.")
    if wrong:
        raise DataError(problems(f"data set {name!r}:", wrong))
    return checked


def list_clips(name: str, root: Path, split: str, *, labels: Labels = "corrected", **options: Any) -> Listing:
    """The clips of a split of a data set by its name.

    Args:
        name: a key of `DATASETS` or `ALIASES`.
        root: its folder.
        split: as its reader explains.
        labels: whether known mistakes are mended, or made as the published program makes them.
        options: of its reader.

    Raises:
        DataError: all that is wrong with the name, the options or the folder; or the split is empty.
    """
    checked = check_options(name, options)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.")
    if labels == "corrected" and split in ("val", "valid", "validate"):
        split = "validation"
    listing = DATASETS[dataset_name(name)](root, split, labels=labels, **checked)
    if not listing.samples:
        raise DataError(f"{root}: split {split!r} of data set {name!r} has no clips there.")
    return listing
