"""Changes from the command line, by dotted path."""

import pytest

from gradatim.errors import PlanError
from gradatim.plan import Plan, check, interpret, override, parse, raise_all
from plan.support import PLAN, SECOND, changed
from toy import TOY


def after(*changes, text=PLAN + SECOND % ""):
    return override(parse(text, "plan.yaml"), changes).tree


@pytest.mark.parametrize(
    ("change", "place", "value"),
    [
        ("stages.fit.lr=1e-5", ("stages", 0, "lr"), "1e-5"),
        ("stages.1.lr=1e-5", ("stages", 1, "lr"), "1e-5"),
        ("stages.two.data.jitter=0.5", ("stages", 1, "data"), {"jitter": "0.5"}),
        ("stages.fit.losses.stay=2", ("stages", 0, "losses"), {"mse": "1", "stay": "2"}),
        ("stages.fit.train.head.lr=1", ("stages", 0, "train"), {"head": {"lr": "1"}}),
        ("stages.fit.train.body.lr=1", ("stages", 0, "train"), {"head": {}, "body": {"lr": "1"}}),
        ("stages.fit.train=[body, head]", ("stages", 0, "train"), ["body", "head"]),
        ("stages.fit.schedule.cosine.warmup=5", ("stages", 0, "schedule"), {"cosine": {"warmup": "5"}}),
        ("stages.fit.clip=", ("stages", 0, "clip"), None),
        ("stages.fit.init.head.checkpoint=a=b.pth", ("stages", 0, "init", "head"), {"checkpoint": "a=b.pth"}),
        ("seed=7", ("seed",), "7"),
        ("model.width=8", ("model",), {"width": "8"}),
        ("defaults.data.samples=8", ("defaults",), {"data": {"samples": "8"}}),
        ("allow=[fast]", ("allow",), ["fast"]),
    ],
)
def test_a_path_is_followed_by_names_and_positions_and_made_where_it_ends(change, place, value):
    tree = after(change)

    for step in place:
        tree = tree[step]
    assert tree == value


def test_the_document_that_was_given_stays_as_it_is():
    document = parse(PLAN)
    override(document, ["stages.fit.train.head.lr=1", "stages.fit.epochs=9"])

    assert document == parse(PLAN)


@pytest.mark.parametrize(("length", "other"), [("epochs", "steps"), ("steps", "epochs")])
def test_one_length_replaces_the_other(length, other):
    text = changed(("epochs: 2", f"{other}: 2"))

    (stage,) = after(f"stages.fit.{length}=5", text=text)["stages"]
    assert stage[length] == "5"
    assert other not in stage


def test_a_choice_gives_way_to_another_and_keeps_what_is_not_changed():
    text = changed(more="    schedule: {cosine: {warmup: 5, final: 0.1}}\n    optimizer: sgd\n")

    (stage,) = after("stages.fit.schedule.cosine.warmup=9", "stages.fit.optimizer.sgd.nesterov=yes", text=text)[
        "stages"
    ]
    assert stage["schedule"] == {"cosine": {"warmup": "9", "final": "0.1"}}
    assert stage["optimizer"] == {"sgd": {"nesterov": "yes"}}
    (stage,) = after("stages.fit.schedule.step.every=9", text=text)["stages"]
    assert stage["schedule"] == {"step": {"every": "9"}}


def test_a_source_of_another_kind_replaces_the_old_one():
    text = changed(("head: fresh", "head: {stage: old}, body: {run: a, stage: b}"), ("body: fresh, ", ""))

    (stage,) = after("stages.fit.init.head.checkpoint=a.pth", "stages.fit.init.body.stage=c", text=text)["stages"]
    assert stage["init"] == {"stem": "fresh", "head": {"checkpoint": "a.pth"}, "body": {"run": "a", "stage": "c"}}


def test_one_trained_name_stays_trained_when_another_gets_a_rate():
    text = changed(("[head]", "head"))

    (stage,) = after("stages.fit.train.body.lr=1", text=text)["stages"]
    assert stage["train"] == {"head": {}, "body": {"lr": "1"}}


def test_a_changed_plan_passes_its_checks_and_reads_as_meant():
    document = override(parse(PLAN, "plan.yaml"), ["stages.fit.train.head.lr=1e-3", "stages.fit.steps=5"])
    read = interpret(document)

    raise_all(document, check(document, read, TOY.vocabulary))
    assert isinstance(read.plan, Plan)
    (stage,) = read.plan.stages
    assert (stage.train["head"].lr, stage.steps, stage.epochs) == (1e-3, 5, None)


def test_everything_that_leads_nowhere_is_told_at_once_with_the_nearest_stage():
    with pytest.raises(PlanError) as error:
        after("stages.fti.lr=1", "seed", "stages.7.lr=1", "stages.fit=1", "a..b=1", "stages.fit.lr=[")

    assert str(error.value).split("\n") == [
        "overrides that lead nowhere:",
        "  --set stages.fti.lr=1: unknown stage 'fti'. Did you mean 'fit'? Known: fit, two.",
        "  --set seed: write PATH=VALUE, such as stages.fuse.lr=1e-5",
        "  --set stages.7.lr=1: unknown stage '7'. Known: fit, two.",
        "  --set stages.fit=1: name what to change, such as stages.NAME.lr",
        "  --set a..b=1: name what to change, such as stages.NAME.lr",
        "  --set stages.fit.lr:1: not valid YAML: expected the node content, but found '<stream end>'",
    ]


def test_one_wrong_change_needs_no_heading():
    with pytest.raises(PlanError, match=r"^--set stages\.fti\.lr=1: unknown stage 'fti'\. Did you mean 'fit'\?"):
        after("stages.fti.lr=1")


def test_what_is_no_plan_is_left_to_the_checks():
    for text in ("[a]", "a", ""):
        assert after("seed=1", text=text) == ({"seed": "1"} if not text else parse(text).tree)
    with pytest.raises(PlanError, match=r"stages\.0 is 'fit', which holds no settings"):
        after("stages.0.lr=1", text="stages: [fit]")
