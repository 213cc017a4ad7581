"""Clips and labels of every tree of files, as the original lists them, mistakes included."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gradatim.errors import DataError
from gradatim.systems.bombkd.datasets import ALIASES, DATASETS, dataset_name, list_clips
from gradatim.systems.bombkd.datasets.original import original_indices, padded_batch

pytestmark = pytest.mark.parity
NOT_TREES = ("frame_indices", "collate")


@pytest.fixture(scope="module")
def told(parity_root) -> dict:
    return json.loads((parity_root / "bombkd" / "datasets.json").read_text())


def plant(root: Path, files: dict) -> None:
    """Make a tree of small files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            np.save(path, np.array(content))


def listed(name: str, root: Path, split: str) -> list:
    return [[sample.path, sample.label] for sample in list_clips(name, root, split, labels="original").samples]


def bare(samples: list, like: list) -> list:
    """Our paths without the suffix of the file that was found, where the original looks for it only later."""
    return [
        [path if Path(other).suffix else str(Path(path).with_suffix("")), label]
        for (path, label), (other, _) in zip(samples, like, strict=True)
    ]


def test_every_split_of_every_tree_is_listed_as_the_original_lists_it(told, tmp_path):
    splits = 0
    for key in told.keys() - set(NOT_TREES):
        name, _, inner = key.partition("/")
        root = tmp_path / name
        plant(root / inner, told[key]["files"])
        roots = [root, root / inner] if inner else [root]
        assert dataset_name(name) in DATASETS
        for split, expected in told[key]["splits"].items():
            splits += 1
            for folder in roots:
                if "error" in expected:
                    with pytest.raises(DataError) as error:
                        list_clips(name, folder, split, labels="original")
                    words = expected["error"].partition("ROOT/")[2] or repr(split)
                    assert words in str(error.value), (key, split)
                    continue
                ours = listed(name, folder, split)
                assert len(ours) == len(expected["samples"]), (key, split)
                assert bare(ours, expected["samples"]) == expected["samples"], (key, split)
    assert splits >= len(told) - len(NOT_TREES) > 0
    print(f"{len(told) - len(NOT_TREES)} trees, {splits} splits")


def test_every_name_that_the_original_accepts_is_known():
    names = ["hmdb51", "diving48", "ssv2", "breakfast", "ucf101", "uav", "shanghaitech", "stech", "shtech"]
    assert all(dataset_name(name) in DATASETS for name in names)
    assert set(ALIASES.values()) <= set(DATASETS)


def test_frame_indices_are_the_originals(told):
    cases = told["frame_indices"]
    assert cases
    for case, expected in cases.items():
        n, _, total = case.partition("_of_")
        assert original_indices(int(total), int(n)).tolist() == expected, case
    print(f"{len(cases)} cases of frame indices")


def test_a_batch_has_the_largest_size_and_padding_adds_nothing(told):
    rows, frames, channels, height, width = told["collate"]["shape"]
    sums = [told["collate"][f"row{row}_sum"] for row in range(rows)]
    shapes = [(frames, channels, height, 1), (1, channels, 1, width)]
    clips = [torch.full(shapes[row % 2], 1.0).mul_(sums[row] / np.prod(shapes[row % 2])) for row in range(rows)]

    batch = padded_batch(clips)

    assert list(batch.shape) == told["collate"]["shape"]
    assert batch.sum(dim=(1, 2, 3, 4)).tolist() == pytest.approx(sums)
    assert not batch[0, :, :, :, 1:].any()
    assert not batch[1, 1:].any()
    assert not batch[1, :, :, 1:].any()
