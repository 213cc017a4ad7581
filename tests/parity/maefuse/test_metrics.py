"""Our metrics against the public evaluator's values."""

import json
import re

import numpy as np
import pytest

from gradatim.systems.maefuse.metrics import measure

pytestmark = pytest.mark.parity

RELATIVE = 2e-6
OUR_NAMES = {"VIFF": "VIF"}


def test_every_value_of_the_evaluator_is_reproduced(parity_root):
    files = sorted((parity_root / "maefuse").glob("metrics*.npz"))
    assert files
    checked = 0
    for file in files:
        arrays = np.load(file)
        values = json.loads(file.with_suffix(".json").read_text())["values"]
        assert {f"fused_{case}" for case in values} | {"visible_gray", "infrared_gray"} == set(arrays)
        for case, expected in values.items():
            pictures = arrays[f"fused_{case}"], arrays["visible_gray"], arrays["infrared_gray"]
            for name, value in expected.items():
                ours = _ours(name, *pictures)
                if np.isnan(value):
                    value = _without_the_constant_difference(*pictures)
                assert ours == pytest.approx(value, rel=RELATIVE), f"{file.name}: {case}: {name}"
                checked += 1
        assert checked >= 13 * len(values)


def _ours(name, fused, visible, infrared):
    """Our value for a name of the evaluator; SSIM's data range stands in the name."""
    ranged = re.fullmatch(r"SSIM_sum_range(\d+)", name)
    if ranged:
        return measure(fused, visible, infrared, data_range=float(ranged[1]))["SSIM"]
    return measure(fused, visible, infrared)[OUR_NAMES.get(name, name)]


def _without_the_constant_difference(fused, visible, infrared):
    """SCD where the fused picture is one of the sources: the undefined correlation counts as 0."""
    fused, visible, infrared = (picture.astype(float) for picture in (fused, visible, infrared))
    terms = [(infrared, fused - visible), (visible, fused - infrared)]
    assert any(np.ptp(difference) == 0 for _, difference in terms)
    return sum(np.corrcoef(source.ravel(), d.ravel())[0, 1] for source, d in terms if np.ptp(d) > 0)
