"""Tiny networks of each architecture, with the weights of a checkpoint, give the original's features."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from gradatim.systems.bombkd.backbones import Backbone, build_backbone, frame_indices
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.names import FAMILIES
from gradatim.systems.bombkd.preprocess import default_preprocessing, read_preprocessing
from gradatim.weights import Weights, transfer
from parity.bombkd.support import Case, filled

pytestmark = pytest.mark.parity
pytest.importorskip("transformers")


def test_every_backbone_gives_the_originals_features(parity_root, tmp_path):
    case = Case(parity_root, "backbones")
    names = list(case.entries["models"])
    assert names
    video = case.input("video_u8")
    for name in names:
        entry = case.entry("models", name)
        fields = dict(entry["config"])
        family = fields.pop("model_type")
        assert entry["forward_argument"] == FAMILIES[family].argument
        backbone = Backbone(family, fields).eval()
        arrays = filled(parity_root, entry["keys"])
        check_layouts(backbone, arrays, family)
        check_tokens(case, name, entry, backbone, arrays)
        if "wrapper" in entry:
            check_wrapper(case, name, entry, backbone, video, family, tmp_path)
    case.close()


def check_layouts(backbone: Backbone, arrays, family: str) -> None:
    """A file loads with and without a task's prefix and head, and without a word about what is not dropped."""
    prefixed = {f"{family}.{key}": array for key, array in arrays.items()}
    for names in ({**prefixed, "classifier.weight": torch.zeros(2, 2), "classifier.bias": torch.zeros(2)}, arrays):
        backbone.load_state_dict({key: torch.zeros_like(v) for key, v in backbone.state_dict().items()})
        weights = Weights(path=Path("by-rule"), format="rule", arrays=names)
        (account,) = transfer(weights, {"student": backbone}, layouts=LAYOUTS)
        assert account.layout == family
        assert account.complete
        dropped = {key for keys in account.dropped.values() for key in keys}
        assert len(names) == account.arrays[0] + len(dropped)


def check_tokens(case: Case, name: str, entry, backbone: Backbone, arrays) -> None:
    """Features of pixels in the network's range, and the library's own last state."""
    x = case.input(f"{name}.x")
    with torch.no_grad():
        whole = backbone.hidden(x)
    tokens = whole[:, 1:] if backbone.family.class_token else whole
    assert list(tokens.shape) == entry["feat_shape"]
    scale = float(tokens.abs().max())
    case.check(f"{name}.feat", tokens, atol=1e-4 * scale)
    assert float(tokens.abs().mean()) == pytest.approx(entry["absmean"], rel=1e-4)
    assert entry["feat_equals_last_hidden_state"] == (backbone.family.order == "thw")
    if backbone.family.order == "hwt":  # its last norm is no part of the backbone
        whole = F.layer_norm(
            whole,
            whole.shape[-1:],
            arrays["layernorm.weight"],
            arrays["layernorm.bias"],
            entry["config"]["layer_norm_eps"],
        )
    case.check(f"{name}.last_hidden_state", whole, atol=1e-4 * scale)
    layout = backbone.layout(x.shape[1], x.shape[-2:])
    assert layout.times * layout.height * layout.width == tokens.shape[1]


def check_wrapper(case: Case, name: str, entry, backbone: Backbone, video, family: str, folder) -> None:
    """From the decoded clip: frames, size, range, features; sizes come from our default and from the file alike."""
    size = backbone.size
    (folder / "preprocessor_config.json").write_text(json.dumps(entry["preprocessor_config"]))
    prepared = read_preprocessing(folder, family, size)
    assert prepared == default_preprocessing(family, size)
    own = read_preprocessing(folder, family, size, "checkpoint")
    assert own.resize == entry["preprocessor_config"]["size"]["shortest_edge"]
    assert own == default_preprocessing(family, size, "checkpoint")
    frames = video.permute(0, 1, 4, 2, 3)
    levels = backbone.chosen(prepared.cut(frames))
    pixels = backbone.normalized(levels)
    assert list(pixels.shape) == entry["wrapper"]["pixels"]
    level = prepared.factor / min(prepared.std)
    expected = torch.from_numpy(case.arrays[f"{name}.wrapper_pixels"])
    different = ((pixels - expected).abs() > level / 2).float().mean().item()
    assert different < 0.2, f"{name}: {different:.1%} of the pixels differ by a gray level"
    worst = case.worst
    case.check(f"{name}.wrapper_pixels", pixels, atol=1.01 * level)
    with torch.no_grad():
        features = backbone(levels)
        exact = backbone.hidden(expected)
    exact = exact[:, 1:] if backbone.family.class_token else exact
    assert list(features.shape) == entry["wrapper"]["feat"]
    case.worst = worst  # pixels may differ by a whole level, features of the same pixels by rounding alone
    scale = float(exact.abs().max())
    case.check(f"{name}.wrapper_feat", exact, atol=1e-4 * scale)
    assert float((features - exact).abs().mean()) < 0.05 * scale


def test_the_identity_backbone_is_a_layer_on_the_mean_color():
    backbone = build_backbone("Identity", {"hidden_size": 5})
    clip = torch.rand(2, 3, 3, 4, 6)

    assert torch.allclose(backbone(clip)[:, 0], backbone.proj(clip.mean(dim=(1, 3, 4))))


def test_frames_are_chosen_evenly():
    assert frame_indices(6, 4).tolist() == [0, 1, 3, 5]
    assert frame_indices(2, 5).tolist() == [0, 0, 0, 0, 1]
