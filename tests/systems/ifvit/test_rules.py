"""The golden rule: each mistake of the guide is refused with its place and its remedy, whatever a file is called."""

import shutil

import pytest

from commandline import gradatim, worked
from gradatim import explain
from gradatim.errors import PlanError
from gradatim.find import read_plan_document
from gradatim.plan import override
from systems.ifvit.foreign import dump, legacy_file, matcher_file, tree_of
from tiny_ifvit import MODEL, STAGES, chain, loftr, model, quick

TRANSFORMER = "stages.matcher.init.transformer="
UNTRAINED = (
    "untrained for registration: what dense registration teaches would be lost; train a stage with task `dense` before "
    "this one, or take the transformer from such a stage, its run or its file (rule 'golden-rule'; `--allow "
    "golden-rule` silences it)"
)
APART = [
    "stages.matcher.task=match_apart",
    "stages.matcher.train=[backbone, transformer, local_transformer, embedding, centers]",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A finished run of both stages, and LoFTR's file; not to be changed."""
    folder = tmp_path_factory.mktemp("chain")
    chain(folder / "runs" / "ifvit-1")
    loftr(folder / "outdoor_ds.ckpt")
    return folder


@pytest.fixture(autouse=True)
def here(files, monkeypatch):
    monkeypatch.chdir(files)


def plan(name, *changes, **settings):
    stages = STAGES if name in ("paper", "small") else (name,)
    return override(read_plan_document(f"ifvit/{name}"), [model(**settings), *quick(*stages), *changes])


def findings(name, *changes, **settings):
    """(what stops the plan, what is wrong with its files); both empty where it holds."""
    try:
        return "", explain(plan(name, *changes, **settings))["unusable"]
    except PlanError as error:
        return str(error), []


def test_the_recipes_keep_the_rules():
    for name in ("dense", "matcher", "paper", "small"):
        assert findings(name) == ("", [])


@pytest.mark.parametrize("layout", ["", ", layout: loftr"])
def test_loftr_straight_into_the_matcher_is_refused(layout):
    message, _ = findings("matcher", f"{TRANSFORMER}{{checkpoint: outdoor_ds.ckpt{layout}}}")

    assert message == (
        "ifvit/matcher, stages[0].init: the matcher's 'transformer' starts from outdoor_ds.ckpt (layout 'loftr'), "
        + UNTRAINED
    )


def test_a_refusal_names_the_line_of_a_file(tmp_path):
    text = (
        f"system: ifvit\nmodel: {MODEL}\nstages:\n"
        "  - name: matcher\n    task: match\n"
        "    init: {backbone: fresh, transformer: fresh, embedding: fresh, centers: fresh}\n"
        "    train: [transformer]\n    losses: {cosine: 1}\n    epochs: 1\n    data: {samples: matcher}\n"
    )
    (tmp_path / "plan.yaml").write_text(text)

    answer = gradatim("plan", tmp_path / "plan.yaml")

    assert answer.code == 1
    assert (
        f"plan.yaml:6, stages[0].init: the matcher's 'transformer' starts from fresh weights, {UNTRAINED}" in answer.err
    )


def test_a_matcher_without_dense_registration_before_it_is_refused():
    message, _ = findings("matcher", f"{TRANSFORMER}fresh")
    assert f"the matcher's 'transformer' starts from fresh weights, {UNTRAINED}" in message


def test_a_dense_stage_that_holds_its_transformer_still_trains_none():
    message, _ = findings("paper", "stages.dense.train=[backbone]")
    assert f"stages[1].init: the matcher's 'transformer' starts from outdoor_ds.ckpt (layout 'loftr'), {UNTRAINED}" in (
        message
    )


def test_the_rule_yields_to_a_word():
    assert findings("matcher", f"{TRANSFORMER}fresh", "allow=[golden-rule]") == ("", [])
    own = "{checkpoint: outdoor_ds.ckpt, layout: loftr}"
    assert findings("matcher", f"{TRANSFORMER}{own}", "allow=[golden-rule]") == ("", [])


@pytest.mark.parametrize(
    "source",
    [
        "{run: runs/ifvit-1, stage: dense}",
        "{run: runs/ifvit-1}",
        "{run: runs/ifvit-1, stage: matcher}",
        "{checkpoint: runs/ifvit-1/01-dense/weights.safetensors}",
        "{checkpoint: runs/ifvit-1/model.safetensors}",
    ],
)
def test_a_run_or_a_file_of_ours_that_was_trained_for_registration_holds(source):
    assert findings("matcher", TRANSFORMER + source) == ("", [])


def test_where_weights_come_from_decides_and_not_the_name_of_their_file(tmp_path):
    trained, untrained = tmp_path / "loftr_transformer.safetensors", tmp_path / "dense_reg.safetensors"
    shutil.copy("runs/ifvit-1/01-dense/weights.safetensors", trained)
    worked("convert", "outdoor_ds.ckpt", untrained, "--system", "ifvit", "--model", "heads=2")

    assert findings("matcher", f"{TRANSFORMER}{{checkpoint: {trained}}}") == ("", [])
    message, _ = findings("matcher", f"{TRANSFORMER}{{checkpoint: {untrained}}}")
    assert f"starts from dense_reg.safetensors, {UNTRAINED}" in message


@pytest.mark.parametrize("name", ["dense_reg_ckpt.pkl", "loftr.pkl"])
def test_files_of_both_modules_of_ifvits_code_are_trained(name, tmp_path, monkeypatch):
    width = MODEL["width"]
    kinds = {"dense": legacy_file(width=width), "matcher": matcher_file(tied=True, width=width)}
    for kind, arrays in kinds.items():
        content = tree_of(arrays)
        path = dump(tmp_path / f"{kind}_{name}", monkeypatch, lambda *_, content=content: {"state": content})
        source = f"{TRANSFORMER}{{checkpoint: {path}, layout: {kind}}}"
        assert findings("matcher", source, transformer="legacy") == ("", [])


def test_another_variant_than_the_dense_stages_is_refused_and_both_are_named():
    message, wrong = findings("matcher", transformer="legacy")

    assert not message
    assert wrong == [
        "stage 'matcher': runs/ifvit-1/01-dense/weights.safetensors: part 'transformer' was trained with transformer "
        "'loftr', the plan's model has 'legacy'; set `model: {transformer: loftr}`, or say `allow: [transformer]` to "
        "go on training it with 'legacy'"
    ]
    _, (allowed,) = findings("matcher", "allow=[transformer, positions]", transformer="legacy")
    assert "does not fit (layout 'gradatim'); nothing was changed" in allowed


def test_other_positions_fit_but_mean_nothing_unless_they_are_allowed():
    _, (wrong,) = findings("matcher", positions="fixed")
    assert "trained with positions 'outdoor', the plan's model has 'fixed'" in wrong
    assert findings("matcher", "allow=[positions]", positions="fixed") == ("", [])


def test_two_transformers_from_the_one_that_was_trained_are_refused_or_allowed_by_name():
    dense = "{run: runs/ifvit-1, stage: dense, part: transformer}"
    both = [*APART, f"stages.matcher.init.local_transformer={dense}"]

    message, _ = findings("matcher", *both)

    assert message == (
        "ifvit/matcher, stages[0].task: two transformers start from run runs/ifvit-1, stage 'dense', where one was "
        "trained: they drift apart and take twice the room; task `match` shares one (rule 'two-transformers'; `--allow "
        "two-transformers` silences it)"
    )
    assert findings("matcher", *both, "allow=[two-transformers]") == ("", [])


def test_two_transformers_in_one_plan_are_refused_too():
    own = "stages.matcher.init.local_transformer={stage: dense, part: transformer}"
    message, _ = findings("small", *APART, own)
    assert "stages[1].task: two transformers start from stage 'dense', where one was trained" in message


def test_a_transformer_for_regions_must_be_trained_too():
    message, _ = findings("small", *APART, "stages.matcher.init.local_transformer=fresh")
    assert f"the matcher's 'local_transformer' starts from fresh weights, {UNTRAINED}" in message


def test_a_file_that_cannot_be_read_is_told_once(tmp_path):
    (tmp_path / "dense.pkl").write_bytes(b"nothing")
    for name, what in (("dense.pkl", "not a file of weights"), ("gone.pkl", "no such file")):
        message, wrong = findings("matcher", f"{TRANSFORMER}{{checkpoint: {tmp_path / name}}}")
        assert not message
        assert len(wrong) == 1
        assert what in wrong[0]


def test_a_run_that_is_not_there_is_told_once():
    assert findings("matcher", f"{TRANSFORMER}{{run: runs/ifvit-7}}") == (
        "", ["stage 'matcher': runs/ifvit-7: no run there"]
    )  # fmt: skip
