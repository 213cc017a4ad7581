"""Metrics of colored frames."""

import pytest

from gradatim.systems.flowchroma.metrics import color_distribution_consistency, psnr, resized_for_comparison, ssim
from parity.flowchroma.support import LOSS, case, names_of, near, values_of

pytestmark = pytest.mark.parity
METRICS = {"ssim": ssim, "psnr": psnr}


def test_metrics(parity_root):
    pytest.importorskip("cv2")
    cases = names_of(parity_root, "metrics")
    for each in cases:
        found, values = case(parity_root, each), values_of(parity_root, each, 5)
        targets, frames = found.input("gt").numpy(), found.input("pred").numpy()
        pairs = list(zip(frames, targets, strict=False))
        small = [tuple(map(resized_for_comparison, pair)) for pair in pairs]
        for name, metric in METRICS.items():
            for of, taken in ((name, small), (f"{name}_native", pairs)):
                worst = max(near(metric(*pair), value, LOSS) for pair, value in zip(taken, values[of], strict=True))
                print(f"{each}, {of}: largest relative difference {worst:.1e}")
        worst = near(color_distribution_consistency(list(frames)), values["cdc"], LOSS)
        print(f"{each}, cdc: relative difference {worst:.1e}")
        found.close()
    assert cases
