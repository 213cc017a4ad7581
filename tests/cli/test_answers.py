"""Exit codes, what goes to stdout and to stderr, help, and errors of ours beside errors of gradatim's authors."""

import json

import pytest

from commandline import all_commands, gradatim, process, started, worked
from tiny import DEMO, sets

COMMANDS = sorted({words.partition(" ")[0] for words in all_commands()})
EVERY = sorted({*COMMANDS, *all_commands()})
# Arguments of a call that works in the prepared folder, for every command that knows --json.
WITH_JSON = {
    "align": ["matcher", "--set", "data.root=prints", "--set", "data.layout=fvc2002", "-o", "OUT.json"],
    "analyze classify": ["--train", "features", "--test", "features"],
    "analyze export": ["features", "-o", "OUT"],
    "analyze import": ["features", "-o", "OUT"],
    "analyze inspect": ["features"],
    "analyze labels": ["features"],
    "analyze plot": ["features", "-o", "OUT.png"],
    "classify": ["watched", "clips"],
    "colorize": ["colored.safetensors", "scenes", "-o", "OUT"],
    "convert": ["runs/maefuse-1", "OUT.safetensors"],
    "detect": ["detector", "boxes/images/val", "-o", "OUT"],
    "evaluate": ["runs/maefuse-1"],
    "export": ["detector", "--onnx", "-o", "OUT.onnx"],
    "features compute": ["maefuse/demo", *sets(*DEMO), "--estimate"],
    "features list": [],
    "features prune": ["--keep", "1GB"],
    "features verify": [],
    "fuse": ["runs/maefuse-1", "--visible", "pairs/vi", "--infrared", "pairs/ir", "-o", "OUT"],
    "inspect": ["runs/maefuse-1/model.safetensors"],
    "lineage": ["runs/maefuse-1"],
    "match": ["matcher", "prints/Dbs/Db1_a/1_1.tif", "prints/Dbs/Db1_a/1_2.tif"],
    "plan": ["maefuse/demo", "--explain"],
    "run": ["maefuse/demo", *sets(*DEMO), "--once"],
    "status": ["runs/maefuse-1"],
    "sweep": ["maefuse/demo", *sets(*DEMO), "--set", "stages.joint.lr=1e-5,1e-6", "--out", "OUT"],
    "systems": [],
    "verify": ["runs/maefuse-1"],
}


@pytest.mark.parametrize("command", EVERY)
def test_help_of_each_command(command):
    answer = worked(*command.split(), "--help")

    assert "Usage: " in answer.out
    assert command in answer.out
    assert not answer.err


def test_help_and_version_of_all():
    assert all(command in worked("--help").out for command in COMMANDS)
    assert worked("--version").out.strip()
    assert len(COMMANDS) == 21


@pytest.mark.parametrize("command", WITH_JSON)
def test_json_alone_stands_on_stdout(command, place, tmp_path):
    words = [word.replace("OUT", str(tmp_path / "out")) for word in WITH_JSON[command]]

    answer = worked(*command.split(), *words, "--json")

    assert json.loads(answer.out) is not None


def test_every_command_with_json_is_tried():
    options = {name: [p.name for p in one.params] for name, one in all_commands().items()}
    assert {name for name, own in options.items() if "json" in own} == set(WITH_JSON)


@pytest.mark.parametrize(
    "words",
    ["train", "plan", "plan maefuse/demo --sett a=b", "fuse x --mode best", "demo --pairs 1"],
)
def test_a_wrong_call_is_answered_with_usage_and_2(words):
    answer = gradatim(*words.split())

    assert answer.code == 2
    assert "Usage" in answer.err
    assert not answer.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plan", "no.yaml"], "no.yaml: cannot be read as a plan"),
        (["plan", "maefuse/dmo"], "Did you mean 'demo'?"),
        (["plan", "maefus/demo"], "Did you mean 'maefuse'?"),
        (["run", "nothing"], "'nothing' is no file, no run's folder and no SYSTEM/RECIPE"),
        (["run", "maefuse/demo", "--set", "stages.jont.lr=1"], "Did you mean 'joint'?"),
        (["status", "pairs"], "no run there"),
        (["report", "pairs"], "no run there"),
        (["inspect", "pairs"], "is a folder, not a file"),
        (["inspect", "gone.pth"], "no such file"),
        (["lineage", "checkpoint-50.pth"], "try `gradatim inspect`"),
        (["convert", "fusion.pth", "out.safetensors", "--model", "heads"], "write NAME=VALUE"),
        (["convert", "checkpoint-50.pth", "fusion.pth"], "--force"),
        (["convert", "final_new_60.pth", "out.safetensors"], "do not tell `heads`, `decoder_heads`"),
        (["evaluate", "pairs/vi"], "say with --data"),
        (["fuse", "gone.pth", "--visible", "pairs/vi", "--infrared", "pairs/ir", "-o", "x"], "gone.pth: no such file"),
        (["systems", "maefus"], "Did you mean 'maefuse'?"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_an_error_of_the_user_is_one_message_and_1(words, says, place):
    answer = gradatim(*words)

    assert answer.code == 1
    assert answer.err.startswith("error: ")
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert not answer.out


def test_a_bug_keeps_its_traceback(place):
    code = (
        "import gradatim.report.status as status; from gradatim.cli import main\n"
        "def broken(path): raise ZeroDivisionError('a bug')\n"
        "status.run_status = broken; main()"
    )
    answer = process("status", "runs/maefuse-1", cwd=place, code=code)

    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "ZeroDivisionError: a bug" in answer.err


def test_in_a_process_of_its_own_progress_goes_to_stderr_and_results_to_stdout(place):
    answer = process("run", "maefuse/demo", *sets(*DEMO), "--once", cwd=place)

    assert answer.code == 0
    assert "trains encoder, decoder, mask_token" in answer.err
    assert "trains" not in answer.out
    assert "finished" in answer.out


def test_plan_leaves_its_process_at_once_with_its_whole_answer_and_code(place):
    answer = process("plan", "maefuse/small", "--json", cwd=place)

    assert answer.code == 0
    stages = worked("plan", "maefuse/small", "--json").json["stages"]
    assert [stage["parts"] for stage in answer.json["stages"]] == [stage["parts"] for stage in stages]
    wrong = process("plan", "no.yaml", cwd=place)
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.startswith("error: ")
    assert process("plan", "--no", cwd=place).code == 2


def test_a_reader_that_goes_away_early_is_no_error_with_a_traceback(place):
    running = started("inspect", "runs/maefuse-1/model.safetensors", "--arrays", "--json", cwd=place)
    running.stdout.close()

    with running.stderr as stderr:
        assert "Traceback" not in stderr.read()
    assert running.wait() == 1


BAD = """\
sytem: maefuse
seed: many
defaults: {data: {root: pairs, crop: 16, filp: true}, lr: -1}
stages:
  - {name: a, task: fusee, train: [cfm], losses: {gradient: 1}, steps: 5}
  - name: b
    task: fuse
    init: {encoder: fresh, decoder: {stage: c}, cfm: {checkpoint: x.pth, layout: hed}, mfm: frsh}
    train: [dekoder]
    losses: {gradiant: 1}
    options: {gradient.paddin: reflect}
    epochs: 2
    steps: 3
    validate: {metric: qab}
    guards: {patience: 2, drift: {cfm: 0.1}}
"""


def test_all_that_is_wrong_with_a_plan_is_one_message_in_the_order_of_the_file(place, tmp_path):
    (tmp_path / "bad.yaml").write_text("system: maefuse\n" + BAD.partition("\n")[2])

    answer = gradatim("plan", tmp_path / "bad.yaml")

    lines = answer.err.strip().splitlines()
    places = [int(line.split("bad.yaml:")[1].split(",")[0]) for line in lines]
    assert answer.code == 1
    assert len(lines) >= 10
    assert places == sorted(places)
    for words in (
        "seed", "'filp'. Did you mean 'flip'?", "lr", "'fusee'. Did you mean 'fuse'?", "'hed'. Did you mean 'head'?",
        "mfm", "'dekoder'. Did you mean 'decoder'?", "'gradiant'. Did you mean 'gradient'?", "epochs", "found both",
        "'qab'. Did you mean 'qabf'?", "stage 'c'",
    ):  # fmt: skip
        assert words in answer.err, words


def test_a_misspelt_system_is_named_before_all_else(place, tmp_path):
    (tmp_path / "bad.yaml").write_text(BAD)

    answer = gradatim("plan", tmp_path / "bad.yaml")

    assert answer.code == 1
    assert "unknown key 'sytem'. Did you mean 'system'?" in answer.err
