"""What weights of FlowChroma were trained with must be what a plan goes on with."""

import pytest
import torch

from gradatim import WeightsError, explain, run
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.systems.flowchroma.parts.fusion import SimpleFusionNet
from tiny_flowchroma import MODEL, coloring_run, tiny_changes

PLACES = {"convs.0": 0, "norms.0": 1, "convs.1": 3, "norms.1": 4, "convs.2": 6, "norms.2": 7, "out": 9}


@pytest.fixture
def published(tmp_path):
    """A checkpoint of fusion training, as the original writes it."""
    state = SimpleFusionNet(widths=(4, 4, 2)).state_dict()
    theirs = {
        f"net.{PLACES[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": array for name, array in state.items()
    }
    matching = {"theta.weight": torch.zeros(16, 32, 1, 1), "theta.bias": torch.zeros(16)}
    torch.save({"epoch": 6, "fusion_unet": theirs, "swintexco_nonlocal": matching}, tmp_path / "fusion_epoch_6.pth")
    return tmp_path / "fusion_epoch_6.pth"


def plan(source, *changes):
    own = [f"stages.fuse.init.fusion={source}".replace("'", "")]
    return override(read_plan_document("flowchroma/scratch"), [*tiny_changes("flowchroma/scratch"), *own, *changes])


def test_a_published_fusion_network_asks_for_what_it_was_trained_with(published):
    source = {"checkpoint": str(published), "layout": "fusion"}

    (told,) = explain(plan(source))["unusable"]
    assert "flow_scale 8.0, the plan's model has 1.0; set `model: {flow_scale: 8.0}`" in told

    (told,) = explain(plan(source, "model.flow_scale=8"))["unusable"]
    assert "target_colors 'ground_truth'" in told
    assert explain(plan(source, "model.flow_scale=8", "model.target_colors=ground_truth"))["unusable"] == []
    assert explain(plan(source, "allow=[flow_scale, target_colors]"))["unusable"] == []


def test_a_fusion_network_of_ours_keeps_how_colors_are_carried(tmp_path):
    coloring_run(tmp_path / "run")
    source = {"checkpoint": str(tmp_path / "run" / "model.safetensors")}

    assert explain(plan(source))["unusable"] == []
    (told,) = explain(plan(source, "model.flow_scale=2"))["unusable"]
    assert "flow_scale 1.0, the plan's model has 2.0" in told
    with pytest.raises(WeightsError, match="max_history"):
        run(plan(source, "model.max_history=3"), tmp_path / "other")
    assert MODEL["fusion_width"] == 4
