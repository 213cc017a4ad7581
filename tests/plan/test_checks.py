"""Every mistake in a plan gives one line with its place and the nearest right name, and nothing besides."""
# ruff: noqa: E501 - one case a line

from dataclasses import replace

import pytest

from gradatim.errors import PlanError
from gradatim.plan import Rule, interpret, parse, raise_all
from gradatim.weights.adapters import ADAPTERS
from plan.support import PLAN, SECOND, changed, findings, told
from toy import FOREIGN, TOY

STAGE_KEYS = (
    "accumulate, batch_size, cache, clip, compile, data, epochs, guards, init, log_every, losses, lr, name, optimizer, "
    "options, precision, schedule, snapshot_every, steps, task, train, updates, validate, weight_decay, workers."
)
SOURCE = "Write `fresh`, or a mapping with one of the keys checkpoint, hub, run, source, stage."
ORIGIN = (
    "has no origin: stage 'fit' is the first to use it; say `fresh`, or give a checkpoint, hub repository, stage or run"
)
UPDATES = ("    train: [head]\n    losses: {mse: 1}\n", "    updates: {%s}\n")


def head(source):
    return changed(("head: fresh", f"head: {source}"))


def line(text):
    return changed(more=f"    {text}\n")


def updates(text):
    return changed((UPDATES[0], UPDATES[1] % text))


def defaults(text, *changes):
    return changed(("stages:", f"defaults: {text}\nstages:"), *changes)


UNKNOWN = {
    "part": (changed(("[head]", "[haed]")), "6, stages[0].train: unknown part 'haed'. Did you mean 'head'? Known: body, critic, head, stem."),
    "part with settings": (changed(("[head]", "{haed: {lr: 1}}")), "6, stages[0].train: unknown part 'haed'. Did you mean 'head'? Known: body, critic, head, stem."),
    "part in init": (changed(("head: fresh", "haed: fresh")), "5, stages[0].init.haed: unknown part 'haed'. Did you mean 'head'? Known: body, critic, head, stem."),
    "part of a source": (changed(more=SECOND % "init: {head: {stage: fit, part: bdoy}}"), "10, stages[1].init.head: unknown part 'bdoy'. Did you mean 'body'? Known: body, critic, head, stem."),
    "task": (changed(("task: fit", "task: fot")), "4, stages[0].task: unknown task 'fot'. Did you mean 'fit'? Known: cut, fit, gan, noisy."),
    "loss": (changed(("mse: 1", "mes: 1")), "7, stages[0].losses: unknown loss 'mes'. Did you mean 'mse'? Known: fool, mse, stay, tell_apart, useless."),
    "metric": (line("validate: {metric: closenes}"), "10, stages[0].validate.metric: unknown metric 'closenes'. Did you mean 'closeness'? Known: closeness, fool, mse, stay, tell_apart, useless."),
    "stage": (changed(more=SECOND % "init: {head: {stage: fti}}"), "10, stages[1].init.head: unknown stage 'fti'. Did you mean 'fit'? Known: fit."),
    "key of a plan": (changed(more="sede: 1\n"), "10, sede: unknown key 'sede'. Did you mean 'seed'? Known: allow, defaults, model, seed, sources, stages, system."),
    "key of a stage": (line("batch_sise: 3"), f"10, stages[0].batch_sise: unknown key 'batch_sise'. Did you mean 'batch_size'? Known: {STAGE_KEYS}"),
    "key of guards": (line("guards: {los_band: 3}"), "10, stages[0].guards.los_band: unknown key 'los_band'. Did you mean 'loss_band'? Known: drift, loss_band, nonfinite, patience, spike, then."),
    "key of a schedule": (line("schedule: {cosine: {warmpu: 3}}"), "10, stages[0].schedule.cosine.warmpu: unknown key 'warmpu'. Did you mean 'warmup'? Known: every, final, least, warmup."),
    "schedule": (line("schedule: {cosin: {warmup: 3}}"), "10, stages[0].schedule.cosin: unknown key 'cosin'. Did you mean 'cosine'? Known: constant, cosine, epoch_cosine, one_cycle, polynomial, step."),
    "schedule's name": (line("schedule: cosin"), "10, stages[0].schedule: unknown choice 'cosin'. Did you mean 'cosine'? Known: constant, cosine, epoch_cosine, one_cycle, polynomial, step."),
    "schedule named like its key": (line("schedule: schedule"), "10, stages[0].schedule: unknown choice 'schedule'. Known: constant, cosine, epoch_cosine, one_cycle, polynomial, step."),
    "key of an optimizer": (line("optimizer: {sgd: {momentun: 0}}"), "10, stages[0].optimizer.sgd.momentun: unknown key 'momentun'. Did you mean 'momentum'? Known: momentum, nesterov."),
    "key of a part": (changed(("[head]", "{head: {lrr: 3}}")), "6, stages[0].train.head.lrr: unknown key 'lrr'. Did you mean 'lr'? Known: layer_decay, lr, weight_decay."),
    "key of an update": (updates("a: {train: [head], loses: {mse: 1}}"), "6, stages[0].updates.a.loses: unknown key 'loses'. Did you mean 'losses'? Known: clip, losses, lr, optimizer, schedule, train, weight_decay."),
    "key of a source": (head("{checkpoint: a.pth, layuot: foreign}"), "5, stages[0].init.head.layuot: unknown key 'layuot'. Did you mean 'layout'? Known: allow_missing, checkpoint, layout, part, reinitialise, rename, resize."),
    "key of a hub source": (head("{hub: a/b, revison: main}"), "5, stages[0].init.head.revison: unknown key 'revison'. Did you mean 'revision'? Known: allow_missing, file, hub, layout, part, reinitialise, rename, resize, revision."),
    "kind of source": (head("{chekpoint: a.pth}"), "5, stages[0].init.head: {'chekpoint': 'a.pth'} is no source. Did you mean 'checkpoint'? " + SOURCE),
    "word for a source": (head("frehs"), "5, stages[0].init.head: 'frehs' is no source. Did you mean 'fresh'? " + SOURCE),
    "key of the data": (line("data: {sampels: 3}"), "10, stages[0].data.sampels: unknown key 'sampels'. Did you mean 'samples'? Known: empty, jitter, poison, samples."),
    "key of the model": (changed(more="model: {widht: 3}\n"), "10, model.widht: unknown key 'widht'. Did you mean 'width'? Known: flavor, width."),
    "layout": (head("{checkpoint: a.pth, layout: foreing}"), "5, stages[0].init.head: unknown layout 'foreing'. Did you mean 'foreign'? Known: foreign, gradatim."),
    "option": (line("options: {mse.powr: 3}"), "10, stages[0].options.mse.powr: unknown option 'mse.powr'. Did you mean 'mse.power'? Known: mse.power."),
    "rule": (changed(more="allow: [fats]\n"), "10, allow: unknown rule 'fats'. Did you mean 'fast'? Known: fast, flavor."),
    "named source": (changed(("head: fresh", "head: {source: pubic}"), more="sources: {public: fresh}\n"), "5, stages[0].init.head: unknown source 'pubic'. Did you mean 'public'? Known: public."),
    "trained part of a guard": (line("guards: {drift: {haed: 0.1}}"), "10, stages[0].guards.drift.haed: unknown trained part 'haed'. Did you mean 'head'? Known: head."),
}  # fmt: skip


@pytest.mark.parametrize("what", UNKNOWN)
def test_an_unknown_name_is_answered_with_the_nearest_and_nothing_else(what):
    text, expected = UNKNOWN[what]

    assert told(text) == [expected]


WRONG = {
    "source ahead": (head("{stage: two}") + SECOND % "", "5, stages[0].init.head: stage 'two' does not come before 'fit'"),
    "source in itself": (changed(more=SECOND % "init: {head: {stage: two}}"), "10, stages[1].init.head: stage 'two' does not come before 'two'"),
    "nothing trained": (changed(("[head]", "[]")), "6, stages[0].train: stage 'fit': `train` is empty: nothing would learn"),
    "train left out": (changed(("    train: [head]\n", "")), "3, stages[0].train: stage 'fit': `train` is empty: nothing would learn"),
    "losses empty": (changed(("{mse: 1}", "{}")), "7, stages[0].losses: stage 'fit': `losses` is empty: nothing to learn from"),
    "losses left out": (changed(("    losses: {mse: 1}\n", "")), "3, stages[0].losses: stage 'fit': `losses` is empty: nothing to learn from"),
    "value that nobody makes": (changed(("{mse: 1}", "{fool: 1}")), "7, stages[0].losses: loss 'fool' needs value 'false_score', which nobody makes: unknown value 'false_score'. Known: features, hidden, predicted, x, y."),
    "metric's value": (changed(("task: fit", "task: cut"), ("{mse: 1}", "{useless: 1}"), more="    validate: {metric: closeness}\n"), "10, stages[0].validate.metric: metric 'closeness' needs value 'predicted', which nobody makes: unknown value 'predicted'. Known: detached, features, hidden, x, y."),
    "part that no loss reaches": (changed(("[head]", "[body, head]"), ("{mse: 1}", "{stay: 1}")), "6, stages[0].train: part 'head' is reached by no loss: stay needs hidden, features"),
    "part outside the task": (changed(("[head]", "[head, critic]")), "6, stages[0].train: part 'critic' is used by no step of task 'fit'"),
    "part named twice": (changed(("[head]", "[head, head]")), "6, stages[0].train: part 'head' is trained twice"),
    "part and its child": (changed(("[head]", "[stem, stem.0]")), "6, stages[0].train: part 'stem.0' is trained twice"),
    "child and its part": (changed(("[head]", "[stem.0, stem]")), "6, stages[0].train: part 'stem' is trained twice"),
    "part in two updates": (updates("a: {train: [head], losses: {mse: 1}}, b: {train: [head], losses: {mse: 1}}"), "6, stages[0].updates.b.train: part 'head' is trained twice"),
    "both lengths": (line("steps: 3"), "9, stages[0].epochs: stage 'fit': give `epochs` or `steps`; found both"),
    "no length": (changed(("    epochs: 2\n", "")), "3, stages[0].epochs: stage 'fit': give `epochs` or `steps`; found neither"),
    "name left out": (changed(("- name: fit\n    task", "- task")), "3, stages[0].name: `name` is missing"),
    "task left out": (changed(("    task: fit\n", "")), "3, stages[0].task: `task` is missing"),
    "two of one name": (changed(more=SECOND.replace("name: two", "name: fit") % ""), "10, stages[1].name: a stage named 'fit' stands above"),
    "name that is no folder": (changed(("name: fit", "name: a/b")), "3, stages[0].name: 'a/b': use letters, digits, '.', '_', '+', '-'"),
    "drift of a frozen part": (line("guards: {drift: {body: 0.1}}"), "10, stages[0].guards.drift.body: unknown trained part 'body'. Known: head."),
    "patience alone": (line("guards: {patience: 3}"), "10, stages[0].guards.patience: patience needs `validate` with a metric"),
    "updates beside train": (line("updates: {a: {train: [head], losses: {mse: 1}}}"), "10, stages[0].updates: a stage with `updates` has no `train` and `losses` of its own"),
    "two schedules": (line("schedule: {cosine: {}, step: {}}"), "10, stages[0].schedule: give exactly one of: constant, cosine, epoch_cosine, step, one_cycle, polynomial"),
    "source of a source": (changed(("head: fresh", "head: {source: a}"), more="sources: {a: {source: b}, b: fresh}\n"), "10, sources.a: a named source cannot refer to another one"),
    "no stages": ("system: toy\n", "1, stages: a plan needs at least one stage"),
    "stages null": ("system: toy\nstages:\n", "2, stages: None: a list belongs here"),
    "stages a mapping": ("system: toy\nstages: {name: fit}\n", "2, stages: a list belongs here"),
    "a stage that is a word": ("system: toy\nstages: [fit]\n", "2, stages[0]: 'fit': a mapping belongs here"),
    "no system": (changed(("system: toy\n", "seed: 1\n")), "1, system: `system` is missing"),
    "a list": ("- a\n", "1: a plan is a mapping with the keys `system` and `stages`"),
    "a word": ("maefuse\n", "1: a plan is a mapping with the keys `system` and `stages`"),
    "rule": (changed(("1e-4", "2")), "8, stages[0].lr: lr 2: a rate above 1 diverges (rule 'fast'; `--allow fast` silences it)"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_contradiction_is_worded_once_at_its_place(what):
    text, expected = WRONG[what]

    assert told(text) == [expected]


TYPES = {
    "lr": (changed(("1e-4", "fast")), "8, stages[0].lr: 'fast': input should be a valid number, unable to parse string as a number"),
    "lr zero": (changed(("1e-4", "0")), "8, stages[0].lr: '0': input should be greater than 0"),
    "lr infinite": (changed(("1e-4", "inf")), "8, stages[0].lr: 'inf': input should be a finite number"),
    "loss weight": (changed(("mse: 1", "mse: nan")), "7, stages[0].losses.mse: 'nan': input should be a finite number"),
    "steps": (changed(("epochs: 2", "steps: many")), "9, stages[0].steps: 'many': input should be a valid integer, unable to parse string as an integer"),
    "epochs": (changed(("epochs: 2", "epochs: -2")), "9, stages[0].epochs: '-2': input should be greater than 0"),
    "name": (changed(("name: fit", "name: ")), "3, stages[0].name: None: text belongs here"),
    "precision": (line("precision: fp16"), "10, stages[0].precision: 'fp16': input should be 'fp32' or 'bf16-mixed'"),
    "validate": (line("validate: closeness\n    guards: {patience: 2}"), "10, stages[0].validate: 'closeness': a mapping belongs here"),
    "metric": (line("validate: {every: 2}\n    guards: {patience: 2}"), "10, stages[0].validate.metric: `metric` is missing"),
    "every": (line("validate: {metric: closeness, every: no}"), "10, stages[0].validate.every: 'no': input should be a valid integer, unable to parse string as an integer"),
    "a part's settings": (changed(("[head]", "{head: no}")), "6, stages[0].train.head: 'no': a mapping belongs here"),
    "a part's lr": (changed(("[head]", "{head: {lr: fast}}"), more="    guards: {drift: {head: 1}}\n"), "6, stages[0].train.head.lr: 'fast': input should be a valid number, unable to parse string as a number"),
    "warmup": (line("schedule: {cosine: {warmup: x}}"), "10, stages[0].schedule.cosine.warmup: 'x': input should be a valid integer, unable to parse string as an integer"),
    "betas": (line("optimizer: {adamw: {betas: 3}}"), "10, stages[0].optimizer.adamw.betas: '3': a list belongs here"),
    "one beta": (line("optimizer: {adamw: {betas: [a, 0.9]}}"), "10, stages[0].optimizer.adamw.betas[0]: 'a': input should be a valid number, unable to parse string as a number"),
    "update": (updates("a: "), "6, stages[0].updates.a: None: a mapping belongs here"),
    "source null": (head(""), "5, stages[0].init.head: None is no source. " + SOURCE),
    "source a list": (head("[fresh]"), "5, stages[0].init.head: ['fresh'] is no source. " + SOURCE),
    "hub without revision": (head("{hub: a/b}"), "5, stages[0].init.head.revision: `revision` is missing"),
    "path": (head("{checkpoint: }"), "5, stages[0].init.head.checkpoint: None: a path belongs here"),
    "adapter": (head("{checkpoint: a, resize: psoition}"), "5, stages[0].init.head.resize: 'psoition': input should be 'position'"),
    "init": (changed(("{stem: fresh, body: fresh, head: fresh}", "fresh")), "5, stages[0].init: 'fresh': a mapping belongs here"),
    "option": (line("options: {mse.power: three}"), "10, stages[0].options.mse.power: 'three': input should be a valid number, unable to parse string as a number"),
    "model": (changed(more="model: 3\n"), "10, model: '3': a mapping belongs here"),
    "width": (changed(more="model: {width: three}\n"), "10, model.width: 'three': input should be a valid integer, unable to parse string as an integer"),
    "defaults": (changed(more="defaults: 3\n"), "10, defaults: '3': a mapping belongs here"),
    "seed": (changed(more="seed: x\n"), "10, seed: 'x': input should be a valid integer, unable to parse string as an integer"),
}  # fmt: skip


@pytest.mark.parametrize("what", TYPES)
def test_a_value_of_the_wrong_kind_is_named_without_invented_errors_behind_it(what):
    text, expected = TYPES[what]

    assert told(text) == [expected]


SHARED = {
    "loss": (defaults("{losses: {mes: 1}}", ("    losses: {mse: 1}\n", "")), "2, defaults.losses: unknown loss 'mes'. Did you mean 'mse'? Known: fool, mse, stay, tell_apart, useless."),
    "data": (defaults("{data: {sampels: 3}}"), "2, defaults.data.sampels: unknown key 'sampels'. Did you mean 'samples'? Known: empty, jitter, poison, samples."),
    "guard": (defaults("{guards: {patience: 3}}"), "2, defaults.guards.patience: patience needs `validate` with a metric"),
    "metric": (defaults("{validate: {metric: closenes}}"), "2, defaults.validate.metric: unknown metric 'closenes'. Did you mean 'closeness'? Known: closeness, fool, mse, stay, tell_apart, useless."),
    "type": (defaults("{batch_size: many}"), "2, defaults.batch_size: 'many': input should be a valid integer, unable to parse string as an integer"),
    "key": (defaults("{name: x}"), f"2, defaults.name: unknown key 'name'. Known: {STAGE_KEYS.replace('init, ', '').replace('name, ', '').replace('task, ', '')}"),
    "rule": (defaults("{lr: 2}", ("    lr: 1e-4\n", "")), "2, defaults.lr: lr 2: a rate above 1 diverges (rule 'fast'; `--allow fast` silences it)"),
    "lengths": (defaults("{epochs: 2, steps: 3}", ("    epochs: 2\n", "")), "2, defaults.epochs: stage 'fit': give `epochs` or `steps`; found both"),
    "source": (changed(("head: fresh", "head: {source: a}"), more="sources: {a: {checkpoint: x, layout: foreing}}\n"), "10, sources.a: unknown layout 'foreing'. Did you mean 'foreign'? Known: foreign, gradatim."),
    "source's key": (changed(("head: fresh", "head: {source: a}"), more="sources: {a: {checkpoint: x, layuot: foreign}}\n"), "10, sources.a.layuot: unknown key 'layuot'. Did you mean 'layout'? Known: allow_missing, checkpoint, layout, part, reinitialise, rename, resize."),
    "source's value": (changed(("head: fresh", "head: {source: a}"), more="sources: {a: {checkpoint: }}\n"), "10, sources.a.checkpoint: None: a path belongs here"),
}  # fmt: skip


@pytest.mark.parametrize("what", SHARED)
def test_what_is_wrong_in_a_shared_setting_points_there(what):
    text, expected = SHARED[what]

    assert told(text) == [expected]


def test_a_shared_mistake_is_told_once_for_all_stages_that_take_it():
    text = defaults("{data: {sampels: 3}}") + SECOND % ""

    assert len(told(text)) == 1


def test_each_part_without_an_origin_is_named():
    text = changed(("stem: fresh, body: fresh, ", ""))

    assert told(text) == [f"5, stages[0].init.{part}: part {part!r} {ORIGIN}" for part in ("stem", "body")]


def test_a_good_plan_has_no_findings():
    assert told(PLAN) == []
    assert told(changed(("[head]", "{head: }"), more="    validate: {metric: mse}\n")) == []


def test_two_mistakes_in_one_mapping_are_both_told():
    text = changed(("{mse: 1}", "{mse: lots, mes: 1}"), ("[head]", "{head: {lr: fast}, haed: {}}"))

    assert told(text) == [
        "6, stages[0].train.head.lr: 'fast': input should be a valid number, unable to parse string as a number",
        "6, stages[0].train: unknown part 'haed'. Did you mean 'head'? Known: body, critic, head, stem.",
        "7, stages[0].losses.mse: 'lots': input should be a valid number, unable to parse string as a number",
        "7, stages[0].losses: unknown loss 'mes'. Did you mean 'mse'? Known: fool, mse, stay, tell_apart, useless.",
    ]


def test_what_an_unknown_loss_would_have_reached_is_not_guessed():
    text = changed(("[head]", "[body, head]"), ("{mse: 1}", "{stay: 1, mes: 1}"))

    (only,) = told(text)
    assert "unknown loss 'mes'" in only


def test_a_misspelt_key_is_read_as_the_one_that_was_meant():
    text = changed(("losses: {mse: 1}", "loses: {mes: 1}"))

    assert (
        told(text)
        == [
            f"7, stages[0].loses: unknown key 'loses'. Did you mean 'losses'? Known: {STAGE_KEYS}",
            "3, stages[0].losses: unknown loss 'mes'. Did you mean 'mse'? Known: fool, mse, stay, tell_apart, useless.",
        ][::-1]
    )


def test_the_misspelt_name_of_a_system_leaves_its_other_errors_readable():
    document = parse(changed(("toy", "tyo"), ("epochs: 2", "epochs: two")), "plan.yaml")
    read = interpret(document)

    with pytest.raises(PlanError, match=r"plan\.yaml:9, stages\[0\]\.epochs: 'two'"):
        raise_all(document, read.findings)


MANY = """system: toy
sede: 3
model: {width: wide}
defaults: {batch_size: 0, data: {jiter: 0.1}}
stages:
  - name: one
    task: fit
    init: {stem: fresh, head: {stage: two}}
    train: [haed]
    losses: {mes: 1}
    epochs: 2
  - name: two
    task: fitt
    train: {head: {lr: quick}}
    losses: {mse: 1}
    schedule: {cosine: {warmpu: 5}}
    guards: {patience: 3}
    epochs: 1
    steps: 1
  - name: two
    task: fit
    init: {body: {checkpoint: a.pth, layout: foreing}}
    losses: {mse: 1}
    options: {mse.powr: 1}
    epochs: 1
allow: [slow]
"""


def test_one_message_tells_everything_in_the_order_of_the_file():
    assert told(MANY) == [
        "2, sede: unknown key 'sede'. Did you mean 'seed'? Known: allow, defaults, model, seed, sources, stages, system.",
        "3, model.width: 'wide': input should be a valid integer, unable to parse string as an integer",
        "4, defaults.batch_size: '0': input should be greater than 0",
        "4, defaults.data.jiter: unknown key 'jiter'. Did you mean 'jitter'? Known: empty, jitter, poison, samples.",
        "8, stages[0].init.head: stage 'two' does not come before 'one'",
        "8, stages[0].init.body: part 'body' " + ORIGIN.replace("fit", "one"),
        "9, stages[0].train: unknown part 'haed'. Did you mean 'head'? Known: body, critic, head, stem.",
        "10, stages[0].losses: unknown loss 'mes'. Did you mean 'mse'? Known: fool, mse, stay, tell_apart, useless.",
        "13, stages[1].task: unknown task 'fitt'. Did you mean 'fit'? Known: cut, fit, gan, noisy.",
        "14, stages[1].train.head.lr: 'quick': input should be a valid number, unable to parse string as a number",
        "16, stages[1].schedule.cosine.warmpu: unknown key 'warmpu'. Did you mean 'warmup'? Known: every, final, least, warmup.",
        "17, stages[1].guards.patience: patience needs `validate` with a metric",
        "18, stages[1].epochs: stage 'two': give `epochs` or `steps`; found both",
        "20, stages[2].name: a stage named 'two' stands above",
        "20, stages[2].train: stage 'two': `train` is empty: nothing would learn",
        "22, stages[2].init.body: unknown layout 'foreing'. Did you mean 'foreign'? Known: foreign, gradatim.",
        "24, stages[2].options.mse.powr: unknown option 'mse.powr'. Did you mean 'mse.power'? Known: mse.power.",
        "26, allow: unknown rule 'slow'. Known: fast, flavor.",
    ]


def test_a_rule_that_is_allowed_finds_nothing():
    assert told(changed(("1e-4", "2"), more="allow: [fast]\n")) == []


def test_a_setting_that_weights_record_may_be_allowed_by_name():
    assert told(changed(more="allow: [flavor]\n")) == []


def test_a_rule_that_only_warns_does_not_stop_the_plan():
    warning = replace(TOY, rules={"fast": Rule(why="it diverges", check=TOY.rules["fast"].check, error=False)})
    document, found = findings(changed(("1e-4", "2")), warning)

    raise_all(document, found)
    (finding,) = found
    assert finding.place == ("stages", 0, "lr")
    assert "it diverges" in finding.message


def test_rules_wait_until_the_plan_makes_sense():
    text = changed(("1e-4", "2"), ("[head]", "[haed]"))

    assert [line.partition(",")[0] for line in told(text)] == ["6"]


def test_a_plan_may_name_every_adapter_layout_and_our_own():
    for resize in ADAPTERS:
        assert told(head(f"{{checkpoint: a.pth, resize: {resize}}}")) == []
    for layout in (FOREIGN.name, "gradatim"):
        assert told(head(f"{{checkpoint: a.pth, layout: {layout}}}")) == []
