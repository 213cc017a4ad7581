"""Data of the fusion stage: augmentation of references, resizing, and lists of frames cut into windows."""

import numpy as np
import pytest
import torch

from gradatim.data.image import resize
from gradatim.systems.flowchroma.data import SequenceSettings, open_sequences
from gradatim.systems.flowchroma.references import (
    PRESETS,
    bent,
    brightened,
    hue_turned,
    mirrored,
    reordered,
    saturated,
)
from parity.flowchroma.support import PART, case, index_of, names_of, told, values_of
from pictures import save

pytestmark = pytest.mark.parity


def test_augmentation_of_references(parity_root):
    pytest.importorskip("cv2")
    cases = names_of(parity_root, "augmentation")
    for name in cases:
        found, words = case(parity_root, name), told(parity_root, name)
        source = found.input("src").numpy()
        moves = found.input("tps_u").numpy().reshape(-1, 2).astype(np.float64)
        for said in ("hue: shift of +18 deg", "=1.18;", "=1.12;", "channels (b,r,g)", "strength 0.8,"):
            assert said in words
        found.check("hue", torch.from_numpy(hue_turned(source, 18)), atol=0)
        found.check("sat", torch.from_numpy(saturated(source, 1.18)), atol=0)
        found.check("bri", torch.from_numpy(brightened(source, 1.12)), atol=0)
        found.check("perm", torch.from_numpy(reordered(source, (2, 0, 1))), atol=0)
        found.check("flip", torch.from_numpy(mirrored(source)), atol=0)
        found.check("tps", torch.from_numpy(bent(source, moves, 0.8)), atol=0)
        found.close()
    assert cases
    assert list(PRESETS) == ["none", "minimal", "moderate", "strong"]


def test_resizing(parity_root):
    cases = names_of(parity_root, "resize")
    for name in cases:
        found = case(parity_root, name)
        source = found.input("src").numpy()
        for kind in ("lanczos", "bilinear"):
            height, width = found.arrays[kind].shape[:2]
            found.check(kind, torch.from_numpy(resize(source, (height, width), kind=kind)), atol=0)
        found.close()
    assert cases


def test_windows_of_a_list(parity_root, tmp_path):
    pytest.importorskip("cv2")
    (name,) = names_of(parity_root, "dataset_windows")
    found, values = case(parity_root, name), values_of(parity_root, name, 3)
    frames = [found.input(f"src{number}").numpy() for number in range(2)]
    reference = found.input("ref_src").numpy()
    (tmp_path / "list.csv").write_text(values["csv"])
    for video in ("001", "002"):
        for number in range(5):
            # The case has the two frames of its first window only.
            save(tmp_path / video / f"f{number:03d}.png", frames[max(number - 1, 0) % 2])
    for number in range(5):
        save(tmp_path / "pictures" / f"r{number}.png", reference)
    _, _, height, width = found.arrays["frame_lab"].shape
    assert "windows of length 2" in index_of(parity_root)[name]["what"]

    settings = SequenceSettings(
        root=tmp_path, references=tmp_path / "pictures", length=2, size=(height, width), match_size=(height, width)
    )
    data = open_sequences(settings, "all")
    sample = data.sample(0, ("frames", "references"), None)

    listed = [
        # The original reads the names as numbers.
        {"frames": [frame.name for frame in window.frames], "video": str(int(window.video.name))}
        for window in data.windows
    ]
    assert listed == values["windows"]
    assert {window.video.name for window in data.windows} == {"001", "002"}
    found.check("frame_lab", sample["frames"], atol=PART)
    seen = resize(data.windows[0].references[0][2].read(), (height, width), kind="lanczos")
    found.check("ref_u8", torch.from_numpy(seen), atol=0)
    # A video's own first frame as reference, which the original could not read.
    alone = open_sequences(settings.model_copy(update={"real_reference_probability": 0.0}), "all")
    assert alone.sample(0, ("references",), None)["references"].shape == (1, 3, height, width)
    found.close()
