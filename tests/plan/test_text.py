"""Plans as text: scalars, places, and files that are no plan."""

import pytest

from gradatim.errors import PlanError
from gradatim.plan import Plan, parse, read_document, write_yaml

TEXT = """system: toy
# a comment
stages:
  - name: one
    lr: 1e-4
    compile: no
    train: [stem,
            head]
    options:
      'a.b': null
  - {name: two, clip: , data: {root: ~, x: "null", y: ''}}
"""


def test_scalars_stay_text_and_only_plain_null_is_none():
    one, two = parse(TEXT).tree["stages"]

    assert (one["lr"], one["compile"], one["options"]) == ("1e-4", "no", {"a.b": None})
    assert two == {"name": "two", "clip": None, "data": {"root": None, "x": "null", "y": ""}}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("system",), 1),
        (("stages",), 3),
        (("stages", 0), 4),
        (("stages", 0, "lr"), 5),
        (("stages", 0, "train", 1), 8),
        (("stages", 0, "options", "a.b"), 10),
        (("stages", 1, "data", "x"), 11),
        (("stages", 0, "losses", "mse"), 4),
        (("defaults", "lr"), 1),
    ],
)
def test_every_place_has_a_line_and_an_absent_one_that_of_what_would_hold_it(place, line):
    assert parse(TEXT).line(place) == line


def test_a_place_is_worded_with_file_line_and_path():
    assert parse(TEXT, "plan.yaml").where(("stages", 1, "data", "x")) == "plan.yaml:11, stages[1].data.x"


def test_fields_decide_what_text_means():
    plan = Plan.model_validate(
        parse("{system: s, seed: 07, stages: [{name: n, task: t, lr: 1e-4, compile: no, clip: null}]}").tree
    )

    (stage,) = plan.stages
    assert (plan.seed, stage.lr, stage.compiled, stage.clip) == (7, 1e-4, False, None)


def test_all_keys_that_stand_twice_are_named_at_once():
    with pytest.raises(PlanError) as error:
        parse("system: a\nstages:\n  - name: x\n    name: y\nsystem: b\n", "plan.yaml")

    assert str(error.value) == (
        "plan.yaml:4, stages[0].name: the key stands here twice\nplan.yaml:5, system: the key stands here twice"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [a\nb: c", r"^plan\.yaml:2: not valid YAML: "),
        ("a: b\n\tc: d", r"^plan\.yaml:2: not valid YAML: "),
        ("a: 1\n---\nb: 2\n", r"^plan\.yaml:2: not valid YAML: .*another document"),
        ("a: &x [*x]", r"^plan\.yaml: nested too deeply, or a value that contains itself"),
        ("[" * 5000, r"^plan\.yaml: nested too deeply"),
        ("a: *nobody", r"^plan\.yaml:1: not valid YAML: found undefined alias"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text, message):
    with pytest.raises(PlanError, match=message):
        parse(text, "plan.yaml")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("system: caf\xe9".encode("latin-1"))

    for name, why in (("none.yaml", "No such file"), ("latin.yaml", "utf-8"), (".", "Is a directory")):
        with pytest.raises(PlanError, match=rf"cannot be read as a plan: .*{why}"):
            read_document(tmp_path / name)


def test_an_alias_stands_for_what_it_names():
    assert parse("a: &x {lr: 1}\nb: *x\n").tree == {"a": {"lr": "1"}, "b": {"lr": "1"}}


def test_what_is_written_reads_back_as_text():
    tree = {"a": ["no", "null", "~", "", "1e-4", "é"], "b": {"x.y": None}, "c": {"z": "a: b"}}

    assert parse(write_yaml(tree)).tree == tree
