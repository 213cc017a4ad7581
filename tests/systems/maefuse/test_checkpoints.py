"""A wrong checkpoint never passes: one message with the account and the likely remedy, and nothing is changed."""

import os

import pytest
import torch

from gradatim.engine.explain import explain
from gradatim.engine.run import run
from gradatim.errors import WeightsError
from gradatim.plan import Plan
from gradatim.runs import Lineage
from gradatim.weights import file_digest, header_of, read_weights, write_weights
from pictures import pair_root
from systems.maefuse.small import MODEL, facebook_names, head_names, mae_names, parts, whole_names

ALL = ("encoder", "decoder", "cfm", "mfm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maefuse")
    pair_root(folder / "data", ("a", "b"), size=(24, 16))
    return folder


@pytest.fixture
def attempt(folder, tmp_path):
    """Runs a stage that takes parts from a file; the file and the out folder lie in `tmp_path`."""

    def go(file, *, feeds=ALL, layout=None, model=None, allow=(), **more):
        source = {"checkpoint": str(file), **({"layout": layout} if layout else {}), **more}
        init = {part: source if part in feeds else "fresh" for part in ALL}
        stage = {
            "name": "joint", "task": "fuse", "init": init, "train": ["mfm"], "losses": {"intensity": 1}, "steps": 1,
            "batch_size": 2, "data": {"root": str(folder / "data"), "holdout": 0},
        }  # fmt: skip
        plan = {"system": "maefuse", "model": {**MODEL, **(model or {})}, "stages": [stage], "allow": list(allow)}
        return run(Plan.model_validate(plan), tmp_path / "out")

    return go


@pytest.fixture
def refused(attempt, tmp_path):
    """The lines of the one message; no folder has appeared and the file is as it was."""

    def go(file, **changes):
        before = file_digest(file) if file.is_file() else None
        with pytest.raises(WeightsError) as error:
            attempt(file, **changes)
        assert not (tmp_path / "out").exists()
        assert before == (file_digest(file) if file.is_file() else None)
        lines = str(error.value).split("\n")
        assert lines[0].startswith(f"stage 'joint': {file}: ")
        return [line.strip() for line in lines]

    return go


def saved(path, content):
    torch.save(content, path)
    return path


def whole(path, modules=None, change=lambda arrays: arrays):
    """The authors' whole model, its names or arrays changed."""
    return saved(path, {"model": change(whole_names(modules or parts()))})


def test_a_good_file_passes_with_and_without_its_layouts_name(attempt, tmp_path):
    attempt(whole(tmp_path / "f.pth"))
    (tmp_path / "out").rename(tmp_path / "first")
    attempt(tmp_path / "f.pth", layout="whole")


def test_another_prefix_is_counted_and_the_rename_that_fixes_it_is_given_and_works(refused, attempt, tmp_path):
    file = whole(tmp_path / "f.pth", change=lambda a: {f"generator.{name}": array for name, array in a.items()})

    lines = refused(file)
    attempt(file, rename={"generator.": ""})

    assert "arrays lie under 'model'" in lines
    assert "part 'encoder': loaded 0 of 17 arrays, 0 of 6,496 values" in lines
    assert lines[-1] == "remedy: `rename: {'generator.': ''}` would make the names fit"


@pytest.mark.parametrize(
    ("ours", "theirs", "part"),
    [
        ("blocks.0.mlp.fc1.weight", "model1.blocks.0.mlp.fc1.weight", "encoder"),
        ("head.bias", "model1.decoder_pred.bias", "decoder"),
        ("attn.qkv.bias", "model2.cross_model.in_proj_bias", "cfm"),
        ("norm.weight", "model2.ln.weight", "mfm"),
    ],
)
def test_one_missing_array_is_named_in_its_part(refused, tmp_path, ours, theirs, part):
    file = whole(tmp_path / "f.pth", change=lambda a: {name: array for name, array in a.items() if name != theirs})

    lines = refused(file)

    account = next(i for i, line in enumerate(lines) if line.startswith(f"part {part!r}"))
    assert lines[account + 1] == f"missing in the file (1): {ours}"


def test_a_renamed_array_is_missing_here_and_unexpected_there(refused, tmp_path):
    def rename(arrays):
        return {name.replace("model2.fc1.", "model2.linear1."): array for name, array in arrays.items()}

    lines = refused(whole(tmp_path / "f.pth", change=rename))

    assert "missing in the file (2): mlp.fc1.weight, mlp.fc1.bias" in lines
    assert "unexpected in the file (2): model2.linear1.weight, model2.linear1.bias" in lines


@pytest.mark.parametrize("change", [{"width": 32}, {"decoder_width": 32}, {"mlp_ratio": 2.0}, {"patch_size": 4}])
def test_wrong_sizes_are_told_with_both_shapes_and_the_model_to_set(refused, tmp_path, change):
    lines = refused(whole(tmp_path / "f.pth", parts(**change)))

    assert any("file has (" in line and "part needs (" in line for line in lines)
    assert lines[-1].startswith("remedy: ")


def test_tables_of_another_grid_are_answered_with_resizing_which_then_works(refused, attempt, tmp_path):
    file = whole(tmp_path / "f.pth", parts(image_size=[48, 32]))

    assert refused(file)[-1] == "remedy: `resize: position` fits tables of positions to the part's grid"
    attempt(file, resize="position")


def test_too_many_and_too_few_blocks_are_told(refused, tmp_path):
    assert any(
        "unexpected in the file (12): encoder.blocks.1." in line
        for line in refused(whole(tmp_path / "a.pth", parts(depth=2)))
    )
    assert any(
        "missing in the file (12): blocks.1." in line
        for line in refused(whole(tmp_path / "b.pth"), model={"decoder_depth": 2})
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(refused, tmp_path, share):
    content = whole(tmp_path / "f.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(share * len(content))])

    (line,) = refused(tmp_path / "cut.pth")

    assert any(word in line for word in ("truncated", "damaged", "empty file", "not a file of weights"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"epoch,loss\n",
            "not a file of weights (safetensors, npz, keras, darknet, flax, torch): it begins with b'epoch,lo'",
        ),
        (b"\x89PNG\r\n\x1a\n", "not a file of weights"),
        (None, "no such file"),
    ],
)
def test_what_is_no_checkpoint_is_refused(refused, tmp_path, content, words):
    if content is not None:
        (tmp_path / "f.pth").write_bytes(content)

    (line,) = refused(tmp_path / "f.pth")

    assert words in line


def test_a_torch_file_without_weights_says_what_it_holds(refused, tmp_path):
    (line,) = refused(saved(tmp_path / "f.pth", {"epoch": 3, "args": {"lr": 1}}))

    assert line.endswith("no state dict in it; its keys are 'epoch', 'args'")


def test_a_masked_autoencoder_given_as_a_whole_model_is_told_by_its_layout(refused, tmp_path):
    file = saved(tmp_path / "f.pth", {"model": mae_names(parts())})

    for layout in ("whole", None):
        lines = refused(file, layout=layout)
        assert "part 'cfm': loaded 0 of 5 arrays, 0 of 1,184 values" in lines
        assert any(line.startswith("missing in the file (11): ") for line in lines)
    assert "the file's names are those of layout 'mae'" in refused(file, layout="whole")[-1]


def test_a_public_autoencoder_or_a_head_given_as_a_whole_model_is_told_too(refused, tmp_path):
    public = saved(tmp_path / "public.pth", {"model": facebook_names(parts())})
    head = saved(tmp_path / "head.pth", head_names(parts()))

    assert "the file's names are those of layout 'facebook'" in refused(public, layout="whole")[-1]
    assert "the file's names are those of layout 'head'" in refused(head, layout="whole")[-1]


def test_a_whole_model_given_as_an_autoencoder_is_answered_with_its_layout(refused, tmp_path):
    lines = refused(whole(tmp_path / "f.pth"), layout="mae")

    assert lines[-1] == "remedy: the file has layout 'whole'; say `layout: whole`"


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_a_foreign_class_is_refused_by_name_and_not_run(refused, tmp_path):
    file = saved(tmp_path / "f.pth", {"model": whole_names(parts()), "args": Trap(tmp_path / "sprung")})

    (line,) = refused(file)

    assert "refused, because it holds an object of class 'posix.mkdir'" in line
    assert not (tmp_path / "sprung").exists()


def test_two_wrong_files_are_told_in_one_message(folder, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    sources = {"encoder": "a.pth", "decoder": "a.pth", "cfm": "b.pth", "mfm": "b.pth"}
    init = {part: {"checkpoint": str(tmp_path / file)} for part, file in sources.items()}
    stage = {
        "name": "joint", "task": "fuse", "init": init, "train": ["mfm"], "losses": {"intensity": 1}, "steps": 1,
        "data": {"root": str(folder / "data")},
    }  # fmt: skip

    with pytest.raises(WeightsError) as error:
        run(Plan.model_validate({"system": "maefuse", "model": MODEL, "stages": [stage]}), tmp_path / "out")

    assert str(error.value).split("\n") == [
        f"stage 'joint': {tmp_path}/a.pth: not a file of weights (safetensors, npz, keras, darknet, flax, torch): "
        "an empty file",
        f"stage 'joint': {tmp_path}/b.pth: no such file",
    ]


AXIS = (
    "part 'cfm' was trained with attention_axis {}, the plan's model has 'tokens'; "
    "set `model: {{attention_axis: {}}}`, or say `allow: [attention_axis]` to go on training it with 'tokens'"
)


def test_the_authors_weights_under_another_axis_are_refused_unless_allowed(refused, attempt, tmp_path):
    file = whole(tmp_path / "f.pth")

    (line,) = refused(file, model={"attention_axis": "tokens"})
    result = attempt(file, model={"attention_axis": "tokens"}, allow=["attention_axis"])

    assert line.endswith(AXIS.format("'sample' or 'batch'", "sample"))
    assert result.model.is_file()


def test_a_file_of_ours_records_its_axis_and_is_refused_under_another_unless_allowed(refused, attempt, tmp_path):
    first = attempt(whole(tmp_path / "f.pth"))
    (tmp_path / "out").rename(tmp_path / "first")
    file = tmp_path / "first" / first.model.name
    assert header_of(read_weights(file))["model"]["attention_axis"] == "batch"

    (line,) = refused(file, model={"attention_axis": "tokens"})
    result = attempt(file, model={"attention_axis": "tokens"}, allow=["attention_axis"])

    assert line.endswith(AXIS.format("'batch'", "batch"))
    assert Lineage.from_json(header_of(read_weights(result.model))["lineage"]["mfm"]).before is not None


def test_a_file_of_ours_with_a_damaged_header_is_refused(refused, tmp_path):
    write_weights(tmp_path / "f", {name: module.state_dict() for name, module in parts().items()}, {})
    arrays = read_weights(tmp_path / "f").arrays
    from safetensors.torch import save_file

    save_file(dict(arrays), tmp_path / "f", metadata={"gradatim": "{"})

    assert "its gradatim header is damaged" in refused(tmp_path / "f")[0]


def test_explaining_a_plan_tells_what_running_it_would(folder, tmp_path):
    stage = {
        "name": "joint", "task": "fuse", "init": {p: {"checkpoint": str(tmp_path / "none.pth")} for p in ALL},
        "train": ["mfm"], "losses": {"intensity": 1}, "steps": 1, "data": {"root": str(folder / "data")},
    }  # fmt: skip

    told = explain(Plan.model_validate({"system": "maefuse", "model": MODEL, "stages": [stage]}))

    assert told["unusable"] == [f"stage 'joint': {tmp_path}/none.pth: no such file"]
