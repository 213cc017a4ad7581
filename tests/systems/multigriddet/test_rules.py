"""The guide's rules: the recipes keep them, and each change that breaks one is refused with its reason."""

import pytest

from gradatim import explain
from gradatim.errors import PlanError
from gradatim.find import read_plan_document
from gradatim.plan import override

FINETUNE, BACKBONE = "multigriddet/finetune", "multigriddet/from_backbone"


def findings(name, *changes):
    """Errors as text, or the warnings of a plan that holds."""
    document = override(read_plan_document(name), list(changes))
    try:
        told = explain(document)
    except PlanError as error:
        return str(error), []
    return "", told["warnings"]


def numbers(name):
    stages = {}
    for stage in explain(read_plan_document(name))["stages"]:
        trained = [part for part, how in stage["parts"].items() if how["state"] == "trained"]
        stages[stage["name"]] = (
            int(stage["length"].split()[0]),
            {how["lr"] for how in stage["parts"].values()} - {None},
            trained,
        )
    return stages


def test_the_recipes_have_the_numbers_of_the_guide():
    all_parts = ["backbone", "neck", "pre_predict", "predict"]
    assert numbers(FINETUNE) == {
        "heads": (5, {1e-4}, all_parts[3:]),
        "neck": (5, {5e-5}, all_parts[1:]),
        "all": (90, {3e-5}, all_parts),
    }
    assert numbers(BACKBONE) == {"heads": (10, {1e-4}, all_parts[1:]), "all": (90, {2e-4}, all_parts)}
    for name in (FINETUNE, BACKBONE):
        plan = read_plan_document(name).tree
        assert (plan["defaults"]["batch_size"], plan["defaults"]["accumulate"]) == (48, "auto")
        assert plan["defaults"]["losses"] == {"location": 5, "objectness": 1, "anchor": 1, "classification": 1}
        assert {stage["guards"]["patience"] for stage in plan["stages"]} == {10}
        mixed = {stage["name"]: stage.get("data", {}).get("augment") for stage in plan["stages"]}
        assert mixed.pop("heads") == (None if name == FINETUNE else {"mosaic": 0.3, "mixup": 0.1})
        assert set(map(str, mixed.values())) == {"{'mosaic': 0.3, 'mixup': 0.1}"}


@pytest.mark.parametrize(
    ("name", "change", "rule", "words"),
    [
        (FINETUNE, "stages.heads.lr=2e-4", "untraining-lr", "lr 0.0002 is above 0.0001"),
        (
            FINETUNE,
            "stages.all.train={backbone: {lr: 1e-3}, neck: {}, pre_predict: {}, predict: {}}",
            "untraining-lr",
            "lr 0.001 is above 0.0001",
        ),
        (BACKBONE, "stages.all.lr=3e-4", "untraining-lr", "lr 0.0003 is above 0.0002"),
        (FINETUNE, "stages.neck.train=[backbone, neck, pre_predict, predict]", "opened-at-once", "after 'heads'"),
        (FINETUNE, "stages.heads.data.augment={mosaic: 0.1}", "frozen-augmentation", "mosaic 0.1 with a frozen trunk"),
        (FINETUNE, "stages.heads.data.augment={mixup: 0.1}", "frozen-augmentation", "mixup 0.1 with a frozen trunk"),
        (FINETUNE, "stages.all.data.augment={mosaic: 0.5}", "strong-augmentation", "mosaic 0.5 is above 0.3"),
        (BACKBONE, "stages.all.data.augment={mixup: 0.2}", "strong-augmentation", "mixup 0.2 is above 0.1"),
        (FINETUNE, "stages.neck.losses.location=1", "loss-scales", "location weighs 1 instead of 5"),
        (FINETUNE, "stages.all.options={assess.no_object_scale: 1}", "loss-scales", "assess.no_object_scale is 1"),
        (FINETUNE, "stages.all.options={assess.normalization: [batch, grid]}", "grid-normalization", "number of cells"),
    ],
)
def test_what_would_untrain_is_refused_with_its_reason_and_allowed_by_name(name, change, rule, words):
    message, _ = findings(name, change)

    assert words in message
    assert rule in message
    assert findings(name, change, f"allow=[{rule}]")[0] == ""


def test_a_fresh_head_may_start_faster_and_other_losses_are_its_own_affair():
    assert findings(BACKBONE, "stages.heads.losses.location=2")[0] == ""
    assert findings(BACKBONE)[0] == ""
    assert findings(FINETUNE)[0] == ""


def test_several_knobs_and_positives_are_warned_of():
    _, told = findings(FINETUNE)
    assert any("several-knobs" in str(line) and "lr 0.0001 -> 5e-05, augmentation" in str(line) for line in told)
    _, told = findings(FINETUNE, "stages.all.options={assess.normalization: [batch, positives]}")
    assert any("positives-normalization" in str(line) for line in told)


def test_a_plan_from_nothing_has_nothing_to_lose():
    assert findings("multigriddet/shapes", "stages.all.lr=1e-2", "stages.all.losses.location=1") == ("", [])
