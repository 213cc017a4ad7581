"""Our way from pixels to the model and back against the published test script's and training transform's."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from gradatim.data.color import pillow_ycbcr
from gradatim.systems.maefuse.data import PairSettings, open_pairs
from gradatim.systems.maefuse.original import fuse_original, model_inputs, put_back, to_gray, to_pixels, to_ycrcb

pytestmark = pytest.mark.parity
cv2 = pytest.importorskip("cv2")

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def test_every_array_of_the_original_is_reproduced_to_the_bit(parity_root, tmp_path):
    files = sorted((parity_root / "maefuse").glob("image_io*.npz"))
    assert files
    for file in files:
        expected = dict(np.load(file))
        note = json.loads(file.with_suffix(".json").read_text())["note"]
        size, stride = _size_and_stride(expected)
        inputs = {name: expected.pop(name) for name in ("visible_bgr", "infrared_bgr", "pred_small")}

        ours = _prediction(inputs, size) | _training(inputs, size, note, tmp_path / file.stem)

        checked = 0
        for name, value in expected.items():
            plain = re.sub(r"(_\d+)?_every_\d+$", "", name)
            thinned = _thin(ours[plain], stride) if "_every_" in name else ours[plain]
            np.testing.assert_array_equal(thinned, value, err_msg=f"{file.name}: {name}")
            checked += 1
        assert checked == len(json.loads(file.with_suffix(".json").read_text())["arrays"]) - len(inputs)


def _size_and_stride(expected):
    """Side of the model's square and the stride of the stored arrays, from names like y_640_every_16."""
    found = {match.groups() for name in expected if (match := re.fullmatch(r"y_(\d+)_every_(\d+)", name))}
    assert len(found) == 1
    side, stride = map(int, found.pop())
    return (side, side), stride


def _thin(array, stride):
    """Every so many-th row and column of (1, 3, H, W), (3, H, W), (H, W, 3) or (H, W)."""
    if array.ndim == 2 or array.shape[-1] == 3:
        return array[::stride, ::stride]
    return array[..., ::stride, ::stride]


def _prediction(inputs, size):
    """The test script's arrays by name, and those of its variant for validation."""
    visible, infrared = inputs["visible_bgr"], inputs["infrared_bgr"]
    y, rgb = model_inputs(visible, infrared, size)
    prediction = np.kron(inputs["pred_small"], np.ones([side // inputs["pred_small"].shape[-1] for side in size], "f"))
    fused = prediction[0].transpose(1, 2, 0) * STD + MEAN
    pixels = to_pixels(fused, "truncate")
    seen = []

    def fuse(visible, infrared):
        seen.extend([visible, infrared])
        return torch.from_numpy(fused.transpose(2, 0, 1)[None])

    output = fuse_original(visible, infrared, fuse, size=size)
    for tensor, picture in zip(seen, (y, rgb), strict=True):
        np.testing.assert_allclose(tensor[0].permute(1, 2, 0).numpy(), picture / 255, atol=1e-7)
    np.testing.assert_array_equal(put_back(visible, to_gray(pixels)), output)
    return {
        "ycrcb": to_ycrcb(visible),
        "y": y[:, :, 0],
        "ir": rgb,
        "x_vi": _normalized(y),
        "x_ir": _normalized(rgb),
        "fused_uint8": pixels,
        "fused_y": to_gray(pixels),
        f"fused_y_{size[0]}_validation": to_gray(to_pixels(fused, "round")),
        "output_bgr": output,
    }


def _normalized(picture):
    """(h, w, 3) uint8 to (1, 3, h, w) by ImageNet's constants, in the original's precision."""
    return ((picture / 255.0 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]


def _training(inputs, size, note, folder):
    """The training transform's arrays by name, read from files by our dataset."""
    height, width = map(int, re.search(r"height (\d+), width (\d+)", note).groups())
    visible, infrared = inputs["visible_bgr"], inputs["infrared_bgr"]
    enlarged = cv2.resize(visible, (width, height), interpolation=cv2.INTER_CUBIC)
    samples = {}
    for name, pair in {"plain": (visible, infrared), "shrink": (enlarged, enlarged)}.items():
        for sub, image in zip(("vi", "ir"), pair, strict=True):
            (folder / name / sub).mkdir(parents=True)
            Image.fromarray(image[:, :, ::-1].copy()).save(folder / name / sub / "1.png")
        dataset = open_pairs(PairSettings(root=folder / name, preprocess="original", size=size), "all")
        samples[name] = dataset.sample(0, ("visible", "infrared"), None)
    return {
        "train_x_vi": _normalized_tensor(samples["plain"]["visible"]),
        "train_x_ir": _normalized_tensor(samples["plain"]["infrared"]),
        "train_y_uint8": pillow_ycbcr(visible[:, :, ::-1].copy())[:, :, 0],
        "train_shrink": _normalized_tensor(samples["shrink"]["visible"]),
    }


def _normalized_tensor(picture):
    mean, std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (MEAN, STD))
    return ((picture - mean) / std).numpy()
