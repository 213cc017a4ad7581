"""PNG pairs in, PNG out: our files against those that the published test script wrote with the same weights."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from gradatim.data.image import read_image
from gradatim.systems.maefuse.predict import fuse_pairs, plan_jobs
from gradatim.systems.maefuse.steps import compare, decode, encode, merge
from parity.maefuse.support import grid_of, load, settings_of, undrawn

pytestmark = pytest.mark.parity
pytest.importorskip("cv2")

LEVELS = 1
"""The network is float32 and its output is cut down to whole numbers, so one gray level may tip over."""
TIPPED = 0.01
"""Share of values that may."""


def test_files_are_those_of_the_published_script(parity_root, tmp_path):
    files = sorted((parity_root / "maefuse").glob("end_to_end*.npz"))
    assert files
    for file in files:
        told = json.loads(file.with_suffix(".json").read_text())
        arrays = dict(np.load(file))
        assert {name: list(array.shape) for name, array in arrays.items()} == told["arrays"]
        cases = sorted(match[1] for name in arrays if (match := re.fullmatch(r"vi(\d+)_bgr", name)))
        assert {f"{kind}{case}_bgr" for kind in ("vi", "ir", "out") for case in cases} == set(arrays)
        root = tmp_path / file.stem
        for case in cases:
            for kind in ("vi", "ir"):
                (root / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(arrays[f"{kind}{case}_bgr"][:, :, ::-1].copy()).save(root / kind / f"{case}.png")

        settings, fuse = _model(parity_root, told)
        jobs = plan_jobs(root, None, root / "out", mode="original")
        done = list(fuse_pairs(jobs, fuse, size=settings.image_size, mode="original"))

        assert [job.output.name for job in done] == [f"{case}.png" for case in cases]
        for case in cases:
            ours = read_image(root / "out" / f"{case}.png")[:, :, ::-1].astype(int)
            difference = np.abs(ours - arrays[f"out{case}_bgr"])
            print(f"{file.stem}, pair {case}: largest {difference.max()}, differing {(difference > 0).mean():.2e}")
            assert difference.max() <= LEVELS
            assert (difference > 0).mean() <= TIPPED


def _model(parity_root, told):
    """The file's network with the shared weights, as a function of two images, and its settings."""
    settings = settings_of(told["options"], fusion_heads=told["fusion"]["num_heads"], attention_axis="sample")
    assert (settings.grid, settings.width) == (grid_of(told["fusion"]["grid"]), told["fusion"]["embed_dim"])
    parts = undrawn(settings, "encoder", "decoder", "cfm", "mfm")
    load(parity_root, told["keys"], parts, "whole")

    def fuse(visible, infrared):
        tokens = encode(parts["encoder"], visible, infrared)
        return decode(parts["decoder"], merge(parts["mfm"], compare(parts["cfm"], *tokens), *tokens))[1]

    return settings, fuse
