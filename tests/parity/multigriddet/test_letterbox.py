"""Our letterbox beside the original's."""

import numpy as np
import pytest

from gradatim.systems.multigriddet.letterbox import Letterbox

pytestmark = pytest.mark.parity


def test_the_letterbox_equals_the_originals_to_the_last_bit(parity_root):
    case = np.load(parity_root / "multigriddet" / "letterbox_pil.npz")
    assert sorted(case.files) == ["image", "out", "out_hw"]
    picture = case["image"]
    height, width = case["out_hw"].tolist()

    ours = Letterbox(picture.shape[:2], (height, width)).picture(picture)

    assert np.array_equal(ours[None] / np.float32(255), case["out"])
