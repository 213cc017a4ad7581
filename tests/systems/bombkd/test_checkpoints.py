"""Layouts are strict and complete; what a file of the original is is told by what it holds."""

import pytest
import torch

from gradatim import load_model
from gradatim.errors import FormatError, WeightsError
from gradatim.systems.bombkd.checkpoints import read_checkpoint
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.model import PARTS, BombKDSettings
from gradatim.weights import transfer

MODEL = {"student": {"dim": 12}, "teachers": {"ta": {"dim": 8}, "org/tb": {"dim": 16}}, "batch_stats": "batch"}
HEADS = {"linear": "classification_head", "advanced": "advance_cls_head"}


def saved(folder, **content):
    path = folder / "file.pt"
    torch.save(content, path)
    return path


def converters_file(folder, settings, *, drop=(), **more):
    arrays = {n: a for n, a in PARTS["converters"](settings).state_dict().items() if n not in drop}
    arrays |= {"ta.total_ops": torch.zeros(1, dtype=torch.float64), **more.pop("extra", {})}
    fields = {"keys": list(settings.teachers), "d_in": 12, "d_out": 8, "d_out_map": {"org/tb": 16}, "token_k": None}
    return saved(folder, state_dict=arrays, **{**fields, "kind": "mlp", "teacher_lens": {"ta": 4}, **more})


def fusion_file(folder, settings, **fields):
    arrays = PARTS["fusion"](settings).state_dict()
    renamed = {name.replace("head", HEADS[settings.head]): array for name, array in arrays.items()}
    return saved(folder, fusion=renamed, teacher_keys=list(settings.teachers), feat_dim=12, num_classes=3, **fields)


def test_converters_are_read_with_their_kind_and_lengths(tmp_path):
    settings = BombKDSettings(**MODEL, target_lens={"ta": 4})
    checkpoint = read_checkpoint(converters_file(tmp_path, settings))
    part = PARTS["converters"](BombKDSettings(**checkpoint.settings))

    (account,) = transfer(checkpoint.weights, {"converters": part}, layout=LAYOUTS[checkpoint.layout])

    assert checkpoint.layout == "converters"
    assert BombKDSettings(**checkpoint.settings) == settings
    assert account.arrays[0] == account.arrays[1] == 48
    assert [name for names in account.dropped.values() for name in names] == ["ta.total_ops"]


def test_a_model_of_a_file_translates_into_the_lengths_that_stand_beside_its_arrays(tmp_path):
    settings = BombKDSettings(**MODEL, target_lens={"ta": 4})

    model = load_model(converters_file(tmp_path, settings), system="bombkd")

    assert model.settings == settings
    lengths = {name: part(torch.randn(1, 9, 12))[0].shape[1] for name, part in model.parts["converters"].items()}
    assert lengths == {"ta": 4, "org/tb": 9}


def test_settings_that_are_given_win_over_those_beside_the_arrays(tmp_path):
    path = converters_file(tmp_path, BombKDSettings(**MODEL, target_lens={"ta": 4}))

    assert load_model(path, system="bombkd", settings={"target_lens": {"ta": 5}}).settings.target_lens == {"ta": 5}


def test_a_model_of_fusion_knows_its_teachers_by_name(tmp_path):
    settings = BombKDSettings(**MODEL, classes=3)

    model = load_model(fusion_file(tmp_path, settings, advance_cls_head=False), system="bombkd")

    assert list(model.settings.teachers) == ["ta", "org/tb"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"drop": ["ta.dw2.bias"]}, "missing in the file"), ({"extra": {"ta.dw3.bias": torch.ones(8)}}, "unexpected")],
)
def test_a_missing_or_further_array_is_refused_and_nothing_changes(tmp_path, change, words):
    settings = BombKDSettings(**MODEL)
    checkpoint = read_checkpoint(converters_file(tmp_path, settings, **change))
    part = PARTS["converters"](settings)
    before = {name: array.clone() for name, array in part.state_dict().items()}

    with pytest.raises(WeightsError, match=words):
        transfer(checkpoint.weights, {"converters": part}, layout=LAYOUTS["converters"])
    assert all(torch.equal(before[name], array) for name, array in part.state_dict().items())


def test_a_teacher_that_the_file_lacks_is_not_left_random(tmp_path):
    checkpoint = read_checkpoint(converters_file(tmp_path, BombKDSettings(**MODEL)))
    more = BombKDSettings(**{**MODEL, "teachers": {**MODEL["teachers"], "third": {"dim": 8}}})

    with pytest.raises(WeightsError, match=r"missing in the file \(24\): third\."):
        transfer(checkpoint.weights, {"converters": PARTS["converters"](more)}, layout=LAYOUTS["converters"])


@pytest.mark.parametrize("head", ["linear", "advanced"])
def test_a_fusion_without_the_field_is_an_older_one(tmp_path, head):
    settings = BombKDSettings(**MODEL, classes=3, head=head)
    new = read_checkpoint(fusion_file(tmp_path, settings, advance_cls_head=head == "advanced"))
    old = read_checkpoint(fusion_file(tmp_path, settings))

    assert (new.layout, new.settings["teacher_scale"]) == ("fusion", "sqrt")
    assert (old.layout, old.settings["teacher_scale"]) == ("older_fusion", "one")
    assert BombKDSettings(**{**new.settings, "batch_stats": "batch"}) == settings
    part = PARTS["fusion"](BombKDSettings(**old.settings))
    assert part.teacher_scale == 1
    (account,) = transfer(old.weights, {"fusion": part}, layout=LAYOUTS[old.layout])
    assert account.complete


@pytest.mark.parametrize("kind", ["linear", "self_residual"])
def test_probes_are_read(tmp_path, kind):
    settings = BombKDSettings(student={"dim": 12}, classes=3, probe=kind)
    arrays = PARTS["probe"](settings).state_dict()
    fields = {"feat_dim": 12, "num_classes": 3, "student": "vjepa2", "head_kind": kind, "low_rank": 256}
    if kind == "linear":
        path = saved(tmp_path, head={name.removeprefix("head."): array for name, array in arrays.items()}, **fields)
    else:
        names = {n: n.removeprefix("fusion.").replace("head", "classification_head") for n in arrays}
        path = saved(tmp_path, fusion={names[name]: array for name, array in arrays.items()}, **fields)
    checkpoint = read_checkpoint(path)
    part = PARTS["probe"](BombKDSettings(**checkpoint.settings))

    (account,) = transfer(checkpoint.weights, {"probe": part}, layout=LAYOUTS[checkpoint.layout])

    assert account.arrays[0] == len(arrays)
    assert all(torch.equal(arrays[name], array) for name, array in part.state_dict().items())


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        read_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(FormatError, match="it holds a, 'epoch'"):
        read_checkpoint(saved(tmp_path, model={"a": torch.ones(1)}, epoch=1))
