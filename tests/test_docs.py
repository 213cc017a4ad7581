"""Every fenced block of the documentation runs or is checked, and every link leads somewhere.

python  runs, in order, in one namespace a file
yaml    a plan with `stages` passes all checks; a part of one passes them inside a whole plan
bash    each `gradatim` line runs in a prepared folder, what trains long with `--once` and tiny parts;
        each `make` line names a target; installing with pip is counted, not done
text    anything else
"""

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from PIL import Image
from pydantic import BaseModel

from commandline import all_commands, gradatim
from gradatim import explain, find_system
from gradatim.cli.app import app
from gradatim.engine.build import converted_options, outline_part, settings_of
from gradatim.engine.checked import checked_plan
from gradatim.find import read_plan_document
from gradatim.plan import Document, Plan, Stage, override, parse
from gradatim.systems.bombkd.names import PUBLISHED
from gradatim.systems.maefuse.recipes import MODES
from systems.bombkd.trees import TREES
from tiny import HEADS, SIZES, authors_files, finished_run, sets
from tiny_bombkd import authors_converters, tiny_changes, trained_on_clips
from tiny_flowchroma import finished_colorizer, frame_folders
from tiny_flowchroma import tiny_changes as tiny_colors
from tiny_ifvit import chain, print_files
from tiny_ifvit import tiny_changes as tiny_prints
from tiny_multigriddet import detector_files, finished_detector
from tiny_multigriddet import tiny_changes as tiny_detector

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("src/gradatim/systems/*/README.md"))]
# Blocks at least, by file and kind.
MINIMUM = {
    "README.md": {"python": 1, "yaml": 1, "bash": 2},
    "docs/features.md": {"python": 2, "yaml": 1, "bash": 3, "text": 1},
    "docs/plans.md": {"python": 1, "yaml": 5, "bash": 1},
    "docs/runs.md": {"python": 1, "bash": 4},
    "docs/tutorial.md": {"python": 5, "yaml": 1},
    "src/gradatim/systems/bombkd/README.md": {"yaml": 4, "bash": 4},
    "src/gradatim/systems/flowchroma/README.md": {"python": 1, "yaml": 1, "bash": 1},
    "src/gradatim/systems/ifvit/README.md": {"python": 1, "yaml": 1, "bash": 2},
    "src/gradatim/systems/maefuse/README.md": {"yaml": 1, "bash": 3},
    "src/gradatim/systems/multigriddet/README.md": {"bash": 1},
}
COMMANDS = 71


class Block(NamedTuple):
    """A fenced block."""

    file: Path
    line: int
    kind: str
    text: str

    def __str__(self):
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file, *kinds):
    found, start, lines = [], None, file.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith("```"):
            if start is None:
                start, kind = number, line[3:].strip()
            else:
                found.append(Block(file, start, kind, "\n".join(lines[start : number - 1]) + "\n"))
                start = None
    assert start is None, f"{file}:{start}: the block has no end"
    return [block for block in found if not kinds or block.kind in kinds]


def names(files):
    return [names_of(file) for file in files]


def names_of(file):
    return str(file.relative_to(ROOT))


def all_blocks(*kinds):
    return [block for file in FILES for block in blocks(file, *kinds)]


def test_the_files_and_the_blocks_that_there_are():
    assert set(names(FILES)) == set(MINIMUM)
    for file, name in zip(FILES, names(FILES), strict=True):
        found = Counter(block.kind for block in blocks(file))
        assert set(found) <= {"python", "yaml", "bash", "text"}, (name, found)
        assert all(found[kind] >= count for kind, count in MINIMUM[name].items()), (name, found)


# -- python -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [file for file in FILES if blocks(file, "python")], ids=names_of)
def test_python_blocks_run_in_order(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    namespace = {"__name__": "__main__"}
    for block in blocks(file, "python"):
        exec(compile("\n" * block.line + block.text, str(block), "exec"), namespace)


# -- yaml -------------------------------------------------------------------------------------------

WHOLE = {
    "system": "maefuse",
    "defaults": {"data": {"root": "pairs"}},
    "stages": [
        {"name": "first", "task": "fuse", "train": ["cfm"], "losses": {"intensity": "1"}, "steps": "10",
         "init": {"encoder": "fresh", "decoder": "fresh", "cfm": "fresh", "mfm": "fresh"}},
        {"name": "second", "task": "fuse", "train": ["mfm"], "losses": {"intensity": "1"}, "steps": "10"},
    ],
}  # fmt: skip
"""The plan that a part of a plan is put into: keys of a plan at its top, keys of a stage in its second one."""


def whole(tree):
    if "stages" in tree:
        return tree
    if set(tree) <= set(Plan.model_fields):
        return {**WHOLE, **tree}
    first, second = WHOLE["stages"]
    without = {"train", "losses"} if "updates" in tree else {"steps"} if "epochs" in tree else set()
    return {**WHOLE, "stages": [first, {k: v for k, v in second.items() if k not in without} | tree]}


def system_of(tree):
    if tree["system"] != "denoise":
        return None
    from test_examples import load

    return load().SYSTEM


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_a_yaml_block_is_a_plan_without_faults(block):
    document = parse(block.text, str(block))
    tree = whole(document.tree)

    checked_plan(document if tree is document.tree else Document(name=str(block), tree=tree), system_of(tree))


def comparable(document, system=None):
    """A plan as values: defaults merged, text turned into what the fields ask for."""
    plan, system, _ = checked_plan(document, system)
    stages = [
        (
            stage.model_dump(exclude={"data", "options"}),
            system.data.settings.model_validate(dict(stage.data)),
            converted_options(system, stage),
        )
        for stage in plan.stages
    ]
    return plan.system, plan.seed, settings_of(system, plan), plan.allow, stages


def test_the_readme_shows_the_plan_of_the_demo():
    (block,) = blocks(ROOT / "README.md", "yaml")

    assert comparable(parse(block.text)) == comparable(read_plan_document("maefuse/demo"))


def test_the_tutorial_shows_the_plan_of_the_example():
    (block,) = blocks(ROOT / "docs" / "tutorial.md", "yaml")
    document = read_plan_document(str(ROOT / "examples" / "denoise" / "plan.yaml"))

    assert parse(block.text).tree == document.tree
    comparable(document, system_of(document.tree))


# -- bash -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the commands run: scenes and clips, finished runs, the authors' files, the examples."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finished_run(folder)
        trained_on_clips(folder)
        detector_files(folder)
        finished_detector(folder)
        finished_matcher(folder)
        finished_colorizer(folder)
        frame_folders(folder)
    authors_files(folder)
    authors_converters(folder / "converters_ep10.pt")
    TREES["ucf101"](folder / "videos" / "UCF101")
    (folder / "data").symlink_to(folder / "pairs")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def finished_matcher(folder):
    """A run of both stages in `runs/ifvit-1`, prints in the folder that the recipes name, and three beside it."""
    print_files(folder, run_dense=False)
    chain(folder / "runs" / "ifvit-1")
    for name, source in (("a.png", "1_1"), ("b.png", "1_2"), ("probe.png", "2_1")):
        Image.open(folder / "prints" / "Dbs" / "Db1_a" / f"{source}.tif").save(folder / name)


def commands(block):
    """Lines of a bash block as words, those that end in a backslash joined, comments left out."""
    text = block.text.replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def shortened(words):
    """The same command in seconds: tiny parts, and one batch a stage."""
    if len(words) > 1 and words[1].startswith("bombkd/"):
        return shortened_clips(words)
    if len(words) > 1 and words[1].startswith("ifvit/"):
        once = ["--once"] if words[0] == "run" else []
        return [*words[:2], *sets(*tiny_prints(words[1])), *words[2:], *once]
    if len(words) > 1 and words[1].startswith("flowchroma/"):
        once = ["--once"] if words[0] == "run" else []
        return [*words[:2], *sets(*tiny_colors(words[1])), *words[2:], *once]
    if len(words) > 1 and words[1].startswith("multigriddet/"):
        once = ["--once"] if words[0] == "run" else []
        return [*words[:2], *sets(*tiny_detector(words[1])), *words[2:], *once]
    foreign = [word for word in words if word.endswith(".pth")]
    if words[0] in ("fuse", "evaluate", "convert") and foreign:
        return [*words, *HEADS]
    if words[0] == "sweep":
        own = sets(*SIZES, "defaults.data.crop=16", "defaults.batch_size=2")
        stages = ("pretrain", "pixels", "decoder", "cfm-mean", "mfm-mean", "joint")
        return [*words, *own, *(word for name in stages for word in ("--set", f"stages.{name}.steps=1"))]
    if words[0] != "run" or Path(words[1]).is_dir() or words[1].startswith("runs/"):
        return words
    own = [] if words[1].endswith("/small") or words[1].endswith("/demo") else ["defaults.data.size=16"]
    tiny = sets(*SIZES, "defaults.data.crop=16", "defaults.batch_size=2", *own)
    return [*words, *tiny, "--once"]


def shortened_clips(words):
    """The same for BombKD: its own changes come first, so that those of the page win."""
    name, changes = words[1], tiny_changes(words[1])
    if words[0] == "sweep":
        changes += [f"stages.{stage['name']}.epochs=1" for stage in read_plan_document(name).tree["stages"]]
    once = ["--once"] if words[0] == "run" and "--stages" not in words else []
    if "--stages" in words:
        changes += [f"stages.{stage['name']}.epochs=1" for stage in read_plan_document(name).tree["stages"]]
    return [*words[:2], *sets(*changes), *words[2:], *once]


@pytest.mark.parametrize("file", [file for file in FILES if blocks(file, "bash")], ids=names_of)
def test_every_command_works(file, place, monkeypatch):
    monkeypatch.chdir(place)
    for block in blocks(file, "bash"):
        for program, *words in commands(block):
            if program == "gradatim":
                answer = gradatim(*shortened(words))
                # What a tiny model of one epoch is asked for may well be answered with no.
                assert answer.code == 0 or (words[0] == "verify" and not answer.err), (
                    f"{block}: gradatim {shlex.join(words)}\n{answer.err}"
                )
            elif program == "make":
                assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (block, words)
            else:
                assert (program, words[0]) == ("pip", "install"), f"{block}: {program} is no command that is checked"


def test_the_commands_that_there_are():
    lines = [words for block in all_blocks("bash") for words in commands(block)]
    assert Counter(words[0] for words in lines)["gradatim"] >= COMMANDS


def test_commands_in_running_text_exist_with_their_options():
    known, every = typer.main.get_command(app).commands, all_commands()
    seen = 0
    for file in FILES:
        for code in re.findall(r"`gradatim ([^`]+)`", file.read_text()):
            name, *words = code.split()
            assert name in known or name.startswith("-"), f"{file.name}: gradatim {code}"
            inner = f"{name} {words[0]}" if words and f"{name} {words[0]}" in every else f"{name} compute"
            command = every.get(name) or every.get(inner)
            options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} if words else ()
            assert all(word.partition("=")[0] in options for word in words if word.startswith("-")), (
                f"{file.name}: {code}"
            )
            seen += 1
    assert seen >= 15


# -- links ------------------------------------------------------------------------------------------


def test_links_lead_to_files_that_exist():
    seen = 0
    for file in [*FILES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("http://", "https://", "#")):
                path = (file.parent / target.partition("#")[0]).resolve()
                assert path.is_relative_to(ROOT), f"{file.name}: {target} leads out of the repository"
                assert path.exists(), f"{file.name}: {target}"
                seen += 1
    assert seen >= 7


# -- what the pages claim to be complete about --------------------------------------------------------


def plan_keys():
    """Every key that a plan can have, by the models that read one."""
    found, ahead = set(), [Plan]
    seen = set()
    while ahead:
        model = ahead.pop()
        seen.add(model)
        for name, field in model.model_fields.items():
            found.add(field.alias or name)
            ahead += [other for other in models_in(field.annotation) if other not in seen]
    return found


def models_in(kind):
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for inner in getattr(kind, "__args__", ()) for model in models_in(inner)]


def test_every_key_of_a_plan_stands_in_the_page_about_plans():
    text = (ROOT / "docs" / "plans.md").read_text()

    missing = [key for key in sorted(plan_keys()) if not re.search(rf"[`{{ ]{key}[`:]", text)]

    assert not missing
    assert len(plan_keys()) > 55


def test_the_table_of_modes_is_what_the_plans_say():
    text = (ROOT / "src/gradatim/systems/maefuse/README.md").read_text()
    rows = re.findall(
        r"^\| `(train_\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.M
    )

    assert {row[0] for row in rows} == set(MODES)
    for name, *states, losses, files in rows:
        document = read_plan_document(f"maefuse/{name}")
        (stage,) = explain(document)["stages"]
        assert states == [stage["parts"][part]["state"] for part in ("encoder", "decoder", "cfm", "mfm")], name
        assert re.findall(r"`(\w+)`", losses) == list(stage["losses"]["main"]), name
        assert re.findall(r"`(\w+)`", files) == list(document.tree["sources"]), name


ORIGINAL = """
resume fusion_weight all_weight training_mode data_path lr epochs batch_size weight_decay accum_iter seed model
input_size norm_pix_loss warmup_epochs min_lr num_workers output_dir log_dir device checkpoint address output
"""


def test_none_of_the_originals_options_is_left_out():
    text = (ROOT / "src/gradatim/systems/maefuse/README.md").read_text()

    assert [option for option in ORIGINAL.split() if f"--{option}" not in text] == []


# -- BombKD's page ---------------------------------------------------------------------------------------

CLIPS = ROOT / "src/gradatim/systems/bombkd/README.md"


def rows_of(file, columns):
    """Cells of the rows of every table with so many columns."""
    lines = [line for line in file.read_text().splitlines() if line.startswith("| ") and line.endswith(" |")]
    rows = [[cell.strip() for cell in re.split(r" \|(?= |$)", line.strip("|"))] for line in lines]
    return [row[:columns] for row in rows if len(row) in (columns, columns + 1)]


def test_the_table_of_backbones_is_that_of_the_names():
    rows = {tuple(re.findall(r"`([^`]+)`", row[0])): row for row in rows_of(CLIPS, 6) if "/" in row[1]}

    assert set(rows) == {published.names for published in PUBLISHED}
    for published in PUBLISHED:
        _, hub, width, frames, side, tokens = rows[published.names]
        backbone = build_backbone_outline(published.names[0])
        expected = backbone.layout(int(frames), (int(side), int(side)))
        assert (hub, int(width)) == (f"`{published.hub}`", backbone.dim)
        assert int(side) == backbone.size
        assert int(tokens.replace(",", "")) == expected.times * expected.height * expected.width


def build_backbone_outline(name):
    system = find_system("bombkd")
    return outline_part(system, system.settings(student=name), "student")


def test_the_table_of_states_is_what_the_plans_say():
    parts = ("student", "teachers", "converters", "fusion", "projection", "probe", "teacher_heads")
    found = {}
    for row in rows_of(CLIPS, 8):
        name = re.match(r"`(bombkd/\w+)` (\w+)", row[0])
        if name:
            found[name[1], name[2]] = row[1:]
    expected = {}
    for name in find_system("bombkd").recipes:
        document = override(read_plan_document(f"bombkd/{name}"), tiny_changes(f"bombkd/{name}"))
        for stage in explain(document)["stages"]:
            states = [stage["parts"][part]["state"] for part in parts]
            expected[f"bombkd/{name}", stage["name"]] = states

    assert found == expected


def bytes_of_a_clip(document, name):
    """Tokens of what a stage keeps times their widths, in 16 bits, from the sizes of their configurations."""
    plan, system, _ = checked_plan(document)
    settings = settings_of(system, plan)
    stage = next(stage for stage in plan.stages if stage.name == name)
    kept = [value for values in system.kept(stage, stage.loss_names(), settings).values() for value in values]

    def tokens(own, step):
        tubelet = own.fields.get("tubelet_size", 1)
        times = own.clip_frames // (tubelet if isinstance(tubelet, int) else tubelet[0])
        side = own.image_size // (own.fields["patch_size"] if "patch_size" in own.fields else tubelet[-1])
        pool = stage.options.get(f"{step}.pool", "none")
        return {"none": times * side**2, "space": times, "time": side**2, "clip": 1}[pool]

    seen = tokens(settings.student, "see")
    found = seen * settings.student.width
    if "teacher_tokens" in kept:
        found += sum(tokens(one, "teach") * one.width for one in settings.teachers.values())
    if "translated" in kept:
        found += sum(seen * width for width in settings.translated_widths.values())
    return 2 * found


def test_the_table_of_disk_is_what_the_plans_say():
    seen = 0
    for name, changes, stage, size, ten_thousand in rows_of(CLIPS, 5):
        if not name.startswith("`bombkd/"):
            continue
        document = override(read_plan_document(name.strip("`")), [changes.strip("`")] if changes else [])
        found = bytes_of_a_clip(document, stage)
        assert found == int(size.replace(",", "")), (name, changes)
        assert float(ten_thousand.split()[0]) == pytest.approx(found / 1e5, rel=0.06)
        seen += 1
    assert seen == 9


PROGRAMS = """
dataset root split out student teachers batch workers frames student_frames teacher_frames shard_size storage fp16
no_tqdm features d_in d_out d_out_map epochs pin_memory lr save_dir kind teacher_lens token_k log_every
max_batches_per_epoch no_amp loss_l2 loss_cos loss_nce loss_vic loss_bar loss_l1 shuffle epoch_size
timing_no_cuda_sync subsample_ratio converters classes features_fp16 advance-cls-head seed use_cached_features
cached_features_path fusion student_only student_head teacher_dims translator_kind converters_ckpt proj_dim margin
freeze_translators ckpt save_scores debug frame_level task train test feature pool remap_by_order ar_models
vad_models normal_class dbscan_eps dbscan_min_samples iforest_contam path limit keys no-stats sample json_out
report-anomaly index label_set report max_print resume_head head_kind low_rank alpha_lam weight_decay
"""


def test_none_of_the_options_of_the_authors_programs_is_left_out():
    text = CLIPS.read_text()

    assert [option for option in PROGRAMS.split() if f"--{option}" not in text] == []


PRINTS = """
pytorch_ckpt output prefix verify module1_ckpt dataset_root resume_from checkpoint_dir num_classes pretrained_ckpt
dense_checkpoint_dir matcher_checkpoint_dir img1 img2 dense_ckpt matcher_ckpt no_alignment pairs_csv finger_root
output_dir image_size roi_size max_pairs batch_size num_epochs
"""


def test_none_of_the_options_of_ifvits_programs_is_left_out():
    text = (ROOT / "src/gradatim/systems/ifvit/README.md").read_text()

    assert [option for option in PRINTS.split() if f"--{option}" not in text] == []


def test_the_plan_of_ifvits_page_is_the_published_one_but_for_its_pace():
    (block,) = blocks(ROOT / "src/gradatim/systems/ifvit/README.md", "yaml")
    shown, plan = parse(block.text).tree["stages"], read_plan_document("ifvit/paper").tree["stages"]

    same = ("name", "task", "init", "train", "losses", "lr", "epochs", "batch_size")
    for own, published in zip(shown, plan, strict=True):
        own, published = (Stage.model_validate(stage).model_dump(include=set(same)) for stage in (own, published))
        assert own == published
