"""The original's post-processing from raw predictions to whole pixels, by the functions that `detect` uses."""

import pytest
import torch

from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.model import COCO_ANCHORS
from gradatim.systems.multigriddet.predict import Search, find_objects
from parity.multigriddet.support import DECODED, Folder

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("kind", ["diou", "cluster", "soft", "wbf"])
def test_the_original_way_finds_the_originals_boxes(kind, parity_root):
    folder = Folder(parity_root)
    info, arrays = folder.json("postprocess"), folder.arrays("postprocess")
    raw, anchors = [arrays[f"p{n}"] for n in range(3)], [torch.tensor(one) for one in COCO_ANCHORS]
    place = Letterbox(tuple(info["image_shape"]), tuple(info["input_shape"]))
    search = Search(
        confidence=info["confidence"], suppression=kind, threshold=info["nms_threshold"], most=info["max_boxes"],
        by_class=kind == "wbf", original=True,
    )  # fmt: skip

    (found,) = find_objects(raw, anchors, [place], search)

    # Theirs are in an order of each method's own.
    order = arrays[f"{kind}_scores"].argsort(descending=True, stable=True)
    assert len(found) > 10
    assert torch.equal(torch.from_numpy(found.boxes).int(), arrays[f"{kind}_boxes"][order])
    assert torch.equal(torch.from_numpy(found.classes).int(), arrays[f"{kind}_classes"][order])
    torch.testing.assert_close(
        torch.from_numpy(found.scores).float(), arrays[f"{kind}_scores"][order], atol=1e-6, rtol=DECODED
    )
