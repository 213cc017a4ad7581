"""Backbones by name, their tokens, their pixels, and what is said where one cannot be built."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gradatim.errors import DataError, MissingExtraError, PlanError, WeightsError
from gradatim.systems.bombkd import backbones
from gradatim.systems.bombkd.backbones import Backbone, TokenLayout, build_backbone, frame_indices, reorder, sines
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.names import BACKBONES, FAMILIES, PUBLISHED, find_backbone
from gradatim.systems.bombkd.preprocess import center_crop, default_preprocessing, read_preprocessing, resize_shortest
from gradatim.weights import Weights, transfer

TINY = {
    "vjepa2": {"crop_size": 32, "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1},
    "videomae": {
        "image_size": 32,
        "num_frames": 4,
        "hidden_size": 24,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    },
    "timesformer": {
        "image_size": 32,
        "num_frames": 4,
        "hidden_size": 24,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    },
    "vivit": {"image_size": 32, "num_frames": 4, "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1},
}
SMALL = {name: {**fields, **({} if name == "vjepa2" else {"intermediate_size": 48})} for name, fields in TINY.items()}


def tiny(family: str) -> Backbone:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    return build_backbone(family, SMALL[family]).eval()


def test_names_of_both_tables_are_known_in_any_case():
    assert find_backbone("VJEPA2").hub == "facebook/vjepa2-vitl-fpc64-256"
    assert find_backbone("Facebook/VJEPA2-vitg-fpc64-384") is find_backbone("vjepa2g")
    assert find_backbone("timesformer").config["num_frames"] == 8
    assert find_backbone("timesformer-k600").config["image_size"] == 448
    assert len(BACKBONES) == sum(len(published.names) + 1 for published in PUBLISHED) == 30
    with pytest.raises(PlanError, match=r"unknown backbone 'vjepa'\. Did you mean 'vjepa2"):
        find_backbone("vjepa")


def test_the_sines_of_videomae_are_the_librarys_own_to_the_bit():
    code = pytest.importorskip("transformers.models.videomae.modeling_videomae")
    # From its text, since the module may have been given ours by now.
    tree = ast.parse(Path(code.__file__).read_text())
    tree.body = [one for one in tree.body if getattr(one, "name", "") == "get_sinusoid_encoding_table"]
    exec(compile(tree, code.__file__, "exec"), own := {"np": np, "torch": torch})
    original = own["get_sinusoid_encoding_table"]

    for count, width in ((8, 24), (40, 768), (20, 1280)):
        assert torch.equal(sines(count, width), original(count, width))
    used = tiny("videomae").net.embeddings.position_embeddings
    assert torch.equal(used, original(*used.shape[1:]))
    assert code.get_sinusoid_encoding_table is sines


def test_true_sizes_are_the_published_ones():
    pytest.importorskip("transformers")
    widths = {"vjepa2g": (1408, 1_010_000_000), "videomaeg": (1280, 630_000_000), "vivit": (768, 88_000_000)}
    for name, (width, count) in widths.items():
        with torch.device("meta"):
            backbone = build_backbone(name)
        assert backbone.dim == width
        assert sum(p.numel() for p in backbone.parameters()) == pytest.approx(count, rel=0.02)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_tokens_have_the_number_and_order_that_the_layout_says(family):
    backbone = tiny(family)
    clip = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    still = clip.clone()
    still[:, 2:] = 0

    with torch.no_grad():
        tokens, changed = backbone(clip), backbone(still)

    layout = backbone.layout(4)
    assert tokens.shape == (2, layout.times * layout.height * layout.width, 24)
    assert layout[1:] == ((4, 2, 2) if family == "timesformer" else (2, 2, 2))
    if family == "timesformer":  # tokens of one place, then of the next
        assert layout.order == "hwt"
    difference = (reorder(tokens, layout, "thw") - reorder(changed, layout, "thw")).abs().mean(dim=(0, 2))
    early, late = difference.view(layout.times, -1).mean(dim=1)[[0, -1]]
    assert late > early


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_whole_numbers_and_fractions_are_the_same_pixels(family):
    backbone = tiny(family)
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(1, 1, 3, 16, 16)

    found = backbone.normalized(levels)

    torch.testing.assert_close(found, backbone.normalized(levels.float() / 255), atol=1e-5, rtol=0)
    low, high = {"vivit": (-3.0, 1.0), "timesformer": (-2.0, 2.444)}.get(family, (-2.118, 2.64))
    assert found.min().item() == pytest.approx(low, abs=1e-2)
    assert found.max().item() == pytest.approx(high, abs=1e-2)


def test_frames_are_chosen_where_their_number_is_fixed():
    clip = torch.rand(1, 9, 3, 32, 32)
    backbone = tiny("videomae")

    with torch.no_grad():
        assert torch.equal(backbone(clip), backbone(clip[:, [0, 2, 5, 8]]))
        assert tiny("vjepa2")(clip[:, :8]).shape == (1, 16, 24)
    with pytest.raises(DataError, match="4 of 0 frames"):
        frame_indices(0, 4)


def test_orders_of_tokens_are_each_others_inverse():
    tokens = torch.arange(12.0).view(1, 12, 1)
    layout = TokenLayout("thw", 3, 2, 2)

    by_place = reorder(tokens, layout, "hwt")

    assert by_place.flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert torch.equal(reorder(by_place, layout._replace(order="hwt"), "thw"), tokens)
    with pytest.raises(DataError, match="12 tokens are not"):
        reorder(tokens, TokenLayout("thw", 3, 2, 3), "hwt")


def test_a_field_that_the_configuration_lacks_is_refused():
    pytest.importorskip("transformers")
    with pytest.raises(PlanError, match=r"unknown field of VivitConfig 'hiden_size'\. Did you mean 'hidden_size'"):
        build_backbone("vivit", {"hiden_size": 24})
    with pytest.raises(PlanError, match="unknown field of the identity backbone 'width'"):
        build_backbone("identity", {"width": 24})


def test_a_missing_library_is_answered_with_the_line_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'gradatim\[backbones\]'"):
        build_backbone("vivit")


def test_a_broken_torchvision_is_named(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(backbones, "import_module", fail)

    with pytest.raises(PlanError, match="pip uninstall torchvision"):
        build_backbone("vivit")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_file_with_an_array_more_or_less_is_refused(family, tmp_path):
    backbone = tiny(family)
    own = {name.removeprefix("net."): array for name, array in backbone.state_dict().items()}
    arrays = {f"encoder.{name}": array for name, array in own.items()} if family == "vjepa2" else own

    def load(names):
        weights = Weights(path=tmp_path / "x", format="test", arrays=names)
        return transfer(weights, {"student": backbone}, layout=LAYOUTS[family])

    assert load(arrays)[0].complete
    first = next(iter(arrays))
    with pytest.raises(WeightsError, match="missing in the file"):
        load({name: array for name, array in arrays.items() if name != first})
    with pytest.raises(WeightsError, match="unexpected in the file"):
        load({**arrays, "encoder.layer.0.stranger.weight": torch.ones(1)})


def test_frames_are_resized_to_the_shortest_edge_and_cut_in_the_middle():
    frames = torch.randint(0, 256, (2, 3, 40, 56), dtype=torch.uint8)

    assert resize_shortest(frames, 32).shape == (2, 3, 32, 44)
    assert resize_shortest(frames.transpose(2, 3), 32).shape == (2, 3, 44, 32)
    assert torch.equal(center_crop(frames, (40, 30)), frames[..., 13:43])
    padded = center_crop(frames, (50, 50))
    assert padded.shape == (2, 3, 50, 50)
    assert torch.equal(padded[..., 5:45, :], frames[..., 3:53])
    assert padded[..., :5, :].max() == 0


def test_profiles_differ_where_the_authors_cut_more_than_they_must():
    sizes = {
        name: [default_preprocessing(name, size, profile).resize for profile in ("original", "checkpoint")]
        for name, size in (("vjepa2", 384), ("videomae", 224), ("timesformer", 448), ("vivit", 224))
    }

    assert sizes == {"vjepa2": [384, 438], "videomae": [224, 224], "timesformer": [448, 448], "vivit": [224, 256]}


def test_a_preprocessor_that_cannot_be_understood_is_named(tmp_path):
    assert read_preprocessing(tmp_path, "vivit", 224) == default_preprocessing("vivit", 224)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"longest_edge": 3}}')

    with pytest.raises(DataError, match=r"preprocessor_config\.json: not understood"):
        read_preprocessing(tmp_path, "vivit", 224, "checkpoint")
