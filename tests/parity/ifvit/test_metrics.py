"""Equal error rates by both definitions, and what follows from a threshold."""

import numpy as np
import pytest
import torch

from gradatim.systems.ifvit.verification import at_threshold, equal_error, equal_error_of_curve, rates, tar_at
from parity.support import Case

pytestmark = pytest.mark.parity


def check(case, name, value, *, atol):
    """Compare a number."""
    case.check(name, torch.from_numpy(np.asarray(value).astype(case.arrays[name].dtype)), atol=atol)


def test_rates(parity_root):
    case = Case(parity_root / "ifvit" / "metrics.npz")
    genuine, imposter = case.input("genuine").numpy(), case.input("imposter").numpy()
    found = rates(genuine, imposter)

    for name, equal in (("utils", equal_error(found)), ("script", equal_error_of_curve(found))):
        check(case, f"eer_{name}", equal.rate, atol=1e-6)
        check(case, f"thr_{name}", equal.threshold, atol=1e-6)
    for name in sorted(case.open_arrays):
        if name.startswith("TAR_at_FAR_"):
            check(case, name, tar_at(found, float(name.rpartition("_")[2]))[0], atol=1e-6)
        else:
            threshold, _, figure = name.removeprefix("at").partition("_")
            check(case, name, at_threshold(genuine, imposter, float(threshold))[figure], atol=1e-6)
    case.close()
    assert np.isinf(found.thresholds[0])
