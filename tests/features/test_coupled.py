"""What depends on the other samples of a batch is not kept, and what came from rounded values is not mistrusted."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradatim import explain, run
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.runs.events import read_events
from gradatim.task import makes
from toy import TOY, plan, stage


def kept(folder):
    """(values, those that were computed) of every feed of a run."""
    events = read_events(folder / "events.jsonl")
    return [(e["values"], e["computes"]) for e in events if e["event"] == "features" and e["state"] == "begun"]


def test_a_part_that_looks_at_the_whole_batch_is_computed_for_every_batch(tmp_path):
    coupled = replace(TOY, coupled=lambda settings: ("body",))

    result = run(plan(stage(train=["head"], epochs=3)), tmp_path / "run", system=coupled)

    states = result.stages["fit"]["states"]
    assert (states["stem"], states["body"]) == ("cached", "no gradient")
    assert kept(result.folder) == [(["features", "y"], ["features", "y"])]


def test_fusion_over_the_samples_of_a_batch_is_not_kept():
    def values(axis):
        document = read_plan_document("maefuse/train_MFM_mean_CFM_lock")
        (told,) = explain(override(document, [f"model.attention_axis={axis}"]))["stages"]
        return told["features"]["values"]

    assert values("tokens") == ["visible_tokens", "infrared_tokens", "pattern"]
    assert values("batch") == ["visible_tokens", "infrared_tokens"]


@makes("hidden")
def steep(body: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """A step that makes much of little: rounding of what it reads is a thousandfold in what it makes."""
    return torch.sin(2000 * features) + body(features)


@makes("predicted")
def from_both(head: nn.Module, hidden: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """A step that reads both, so that both are stored."""
    return head(hidden + features)


@pytest.mark.parametrize("first", [["body", "head"], ["head"]], ids=["one after the other", "together"])
def test_values_computed_from_rounded_ones_pass_the_check(tmp_path, first):
    system = replace(TOY, tasks={**TOY.tasks, "fit": (TOY.tasks["fit"][0], steep, from_both)})
    half = {"dtype": "float16"}
    stages = (stage("one", train=first, epochs=2, cache=half), stage("two", train=["head"], epochs=2, cache=half))

    result = run(plan(*stages), tmp_path / "run", system=system)

    assert result.stages["two"]["states"]["body"] == "cached"
