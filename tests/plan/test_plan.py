"""Plans in Python and in YAML are one: defaults, named sources, and text that reads back as it was."""

import pytest
from pydantic import ValidationError

from gradatim.plan import Plan, Stage, StageDefaults, check, interpret, parse, write_yaml
from gradatim.plan.stage import Guards, PartTraining, Update, Validation
from gradatim.systems.maefuse.recipes import RECIPES
from plan.support import changed
from toy import TOY

TEXT = """system: toy
seed: 3
model: {width: 8}
sources:
  public: {checkpoint: a.pth, layout: foreign, rename: {x.: y.}, allow_missing: [bias]}
defaults: {data: {samples: 12, jitter: 0.5}, batch_size: 4, guards: {patience: 3, drift: {head: 0.1}}, compile: no}
allow: [fast]
stages:
  - name: one
    task: fit
    init: {stem: fresh, body: {source: public}, head: {source: public, part: body}}
    train: [body, head]
    losses: {mse: 1}
    lr: 1e-4
    schedule: cosine
    validate: {metric: closeness}
    epochs: 2
  - name: two
    task: gan
    init: {critic: {hub: org/name, revision: abc}, stem: {run: old, stage: one}, body: {stage: one}}
    updates:
      generator: {train: head, losses: {fool: 0.5}, optimizer: {sgd: {momentum: 0}}}
      critic: {train: {critic: {lr: 1e-3, layer_decay: 0.9}}, losses: {tell_apart: 1}, clip: 1}
    data: {jitter: 0}
    guards: {patience: null}
    steps: 7
"""


def in_python():
    return Plan(
        system="toy",
        seed=3,
        model={"width": "8"},
        sources={
            "public": {"checkpoint": "a.pth", "layout": "foreign", "rename": {"x.": "y."}, "allow_missing": ["bias"]}
        },
        defaults=StageDefaults(
            data={"samples": "12", "jitter": "0.5"},
            batch_size=4,
            guards=Guards(patience=3, drift={"head": 0.1}),
            compiled=False,
        ),
        allow=("fast",),
        stages=(
            Stage(
                name="one",
                task="fit",
                init={"stem": "fresh", "body": {"source": "public"}, "head": {"source": "public", "part": "body"}},
                train=("body", "head"),
                losses={"mse": 1},
                lr=1e-4,
                schedule="cosine",
                validation=Validation(metric="closeness"),
                epochs=2,
            ),
            Stage(
                name="two",
                task="gan",
                init={
                    "critic": {"hub": "org/name", "revision": "abc"},
                    "stem": {"run": "old", "stage": "one"},
                    "body": {"stage": "one"},
                },
                updates={
                    "generator": Update(train="head", losses={"fool": 0.5}, optimizer={"sgd": {"momentum": 0}}),
                    "critic": Update(
                        train={"critic": PartTraining(lr=1e-3, layer_decay=0.9)}, losses={"tell_apart": 1}, clip=1
                    ),
                },
                data={"jitter": "0"},
                guards={"patience": None},
                steps=7,
            ),
        ),
    )


def test_a_plan_in_python_and_its_yaml_are_equal_before_and_after_defaults():
    written = Plan.model_validate(parse(TEXT).tree)

    assert written == in_python()
    assert written.resolved() == in_python().resolved()
    assert check(parse(TEXT), interpret(parse(TEXT)), TOY.vocabulary) == ()


def reread(plan):
    return Plan.model_validate(parse(write_yaml(plan.model_dump(mode="json", exclude_unset=True, by_alias=True))).tree)


def test_a_plan_that_is_written_reads_back_equal():
    plans = [in_python(), in_python().resolved(), *(recipe() for recipe in RECIPES.values())]

    for plan in plans:
        assert as_text(reread(plan)) == as_text(plan)
        assert as_text(reread(plan).resolved()) == as_text(plan.resolved())
    assert reread(in_python()) == in_python()
    assert len(plans) == 14


def as_text(plan):
    return write_yaml(plan.model_dump(mode="json", exclude_unset=True, by_alias=True)).replace("'", "")


def test_a_resolved_plan_resolves_to_itself():
    once = in_python().resolved()

    assert once.resolved() == once


def test_data_and_guards_are_merged_key_by_key():
    one, two = in_python().resolved().stages

    assert one.data == {"samples": "12", "jitter": "0.5"}
    assert two.data == {"samples": "12", "jitter": "0"}
    assert (one.guards.patience, one.guards.drift) == (3, {"head": 0.1})
    assert (two.guards.patience, two.guards.drift) == (None, {"head": 0.1})


@pytest.mark.parametrize(
    ("key", "shared", "own"),
    [
        ("train", {"head": {"lr": 1}}, {"body": {}}),
        ("losses", {"mse": 1.0}, {"stay": 1.0}),
        ("schedule", {"cosine": {"warmup": 5}}, {"step": {"every": 2}}),
        ("schedule", {"cosine": {"warmup": 5}}, {"cosine": {"final": 0.5}}),
        ("optimizer", {"sgd": {"momentum": 0.5}}, {"adamw": {"eps": 1.0}}),
        ("updates", {"a": {"train": ["head"]}}, {"b": {"train": ["body"]}}),
    ],
)
def test_choices_are_replaced_whole(key, shared, own):
    plan = Plan.model_validate(
        {"system": "s", "defaults": {key: shared}, "stages": [{"name": "n", "task": "t", key: own}]}
    )

    (stage,) = plan.resolved().stages
    assert getattr(stage, key) == getattr(Stage.model_validate({"name": "n", "task": "t", key: own}), key)


def test_a_stages_length_replaces_the_shared_one_of_the_other_kind():
    stages = [{"name": "a", "task": "t", "steps": 5}, {"name": "b", "task": "t"}]
    plan = Plan.model_validate({"system": "s", "defaults": {"epochs": 3}, "stages": stages}).resolved()

    assert [(stage.epochs, stage.steps) for stage in plan.stages] == [(None, 5), (3, None)]


def test_named_sources_take_their_place_and_the_part_that_each_use_names():
    stage, _ = in_python().resolved().stages

    assert stage.init["body"].checkpoint.name == stage.init["head"].checkpoint.name == "a.pth"
    assert (stage.init["body"].part, stage.init["head"].part) == (None, "body")
    assert stage.init["head"].rename == {"x.": "y."}


def test_a_plan_and_its_stages_cannot_be_changed():
    plan = in_python()

    with pytest.raises(ValidationError, match="frozen"):
        plan.seed = 4
    with pytest.raises(ValidationError, match="frozen"):
        plan.stages[0].lr = 1.0


def test_a_stage_tells_its_updates_parts_and_losses_in_order():
    one, two = in_python().stages

    assert (list(one.trainings()), one.trained(), one.loss_names()) == (["main"], ("body", "head"), ("mse",))
    assert (list(two.trainings()), two.trained()) == (["generator", "critic"], ("head", "critic"))
    assert two.loss_names() == ("fool", "tell_apart")


def test_one_name_and_a_list_of_names_are_the_same_training():
    for train in ("train: head", "train: {head: }", "train: {head: {}}"):
        (stage,) = Plan.model_validate(parse(changed(("train: [head]", train))).tree).stages
        assert stage.train == {"head": PartTraining()}
