"""Files of all layouts fill every array with the right values, or are refused with the account; never in between."""

import h5py
import pytest
import torch

from gradatim import GradatimError
from gradatim.errors import FormatError, WeightsError
from gradatim.systems.multigriddet.layouts import LAYOUTS
from gradatim.systems.multigriddet.model import PARTS, MultiGridDetSettings, sizes_of
from gradatim.weights import Wish, read_weights, transfer
from gradatim.weights.layout import translate
from tiny_multigriddet import MODEL, darknet_file, keras3_file, keras_file, parts


@pytest.fixture(scope="module")
def saved():
    return parts()


def fresh(**changes):
    torch.manual_seed(1)
    settings = MultiGridDetSettings(**{**MODEL, **changes})
    return {name: build(settings) for name, build in PARTS.items()}


def equal(ours, theirs):
    return all(
        torch.equal(value, theirs[name].state_dict()[array])
        for name, part in ours.items()
        for array, value in part.state_dict().items()
    )


def copies(built):
    return {(p, n): a.clone() for p, part in built.items() for n, a in part.state_dict().items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"whole": True},
        {"whole": True, "suffix": ""},
        {"first": 1},
        {"first": 66},
        {"first": 66, "whole": True},
        {"inner": "batch_normalization"},
    ],
    ids=str,
)
def test_every_array_of_a_legacy_file_finds_its_place(options, saved, tmp_path):
    built = fresh()

    accounts = transfer(read_weights(keras_file(tmp_path / "x.h5", saved, **options)), built, layouts=LAYOUTS)

    assert all(account.complete and account.arrays[0] == account.arrays[1] for account in accounts)
    assert equal(built, saved)


@pytest.mark.parametrize("named", [True, False])
def test_every_array_of_a_keras_3_file_finds_its_place(named, saved, tmp_path):
    built = fresh()

    accounts = transfer(
        read_weights(keras3_file(tmp_path / "x.weights.h5", saved, named=named)), built, layouts=LAYOUTS
    )

    assert {account.layout for account in accounts} == {"keras" if named else "keras_places"}
    assert equal(built, saved)


@pytest.mark.parametrize("first", [0, 1, 66])
def test_a_backbone_alone(first, saved, tmp_path):
    backbone = {"backbone": saved["backbone"]}
    built = {"backbone": fresh()["backbone"]}

    weights = read_weights(keras_file(tmp_path / "x.h5", backbone, first=first))
    transfer(weights, built, layouts=LAYOUTS)

    assert equal(built, backbone)
    assert len(weights.notes) == (2 if first else 0)


@pytest.mark.parametrize("beyond", [0, 1000])
def test_a_darknet_file(beyond, saved, tmp_path):
    built = {"backbone": fresh()["backbone"]}

    weights = read_weights(darknet_file(tmp_path / "darknet53.conv.74", saved["backbone"], beyond=beyond))
    (account,) = transfer(weights, built, layouts=LAYOUTS)

    assert equal(built, {"backbone": saved["backbone"]})
    assert account.dropped == ({"the layers behind the backbone": ("1,000 numbers",)} if beyond else {})


def test_a_darknet_file_that_is_too_short_names_what_is_missing(saved, tmp_path):
    path = darknet_file(tmp_path / "x.weights", saved["backbone"])
    path.write_bytes(path.read_bytes()[:-40])
    built = {"backbone": fresh()["backbone"]}
    before = copies(built)

    with pytest.raises(WeightsError, match=r"missing in the file \(1\): stages.4.blocks.3.expand.conv.weight"):
        transfer(read_weights(path), built, layouts=LAYOUTS)

    assert all(torch.equal(before["backbone", name], a) for name, a in built["backbone"].state_dict().items())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FormatError, match="end inside a number"):
        read_weights(path)


def broken(path, how):
    """A file with one thing wrong."""
    with h5py.File(path, "r+") as file:
        if how == "array":
            del file["conv2d_7/conv2d_7/kernel:0"]
        elif how == "layer":
            del file["batch_normalization_9"]
        elif how == "shape":
            del file["conv2d_7/conv2d_7/kernel:0"]
            file["conv2d_7/conv2d_7/kernel:0"] = torch.zeros(1, 1, 3, 3).numpy()
        elif how == "shifted in part":
            file.move("conv2d_65", "conv2d_66")
            names = [b"conv2d_66" if name == b"conv2d_65" else name for name in file.attrs["layer_names"]]
            file.attrs["layer_names"] = names
        elif how == "words":
            del file["conv2d_7/conv2d_7/kernel:0"]
            file["conv2d_7/conv2d_7/kernel:0"] = "kernel"
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("array", "listed, but absent"),
        ("layer", "has no group"),
        ("shape", "file has"),
        ("shifted in part", "unexpected in the file"),
        ("words", "not numbers"),
    ],
)
def test_a_file_that_cannot_fill_everything_changes_nothing(how, words, saved, tmp_path):
    path = broken(keras_file(tmp_path / "x.h5", saved), how)
    built = fresh()
    before = copies(built)

    with pytest.raises(GradatimError, match=words) as error:
        transfer(read_weights(path), built, layouts=LAYOUTS)

    assert str(path) in str(error.value)
    assert all(torch.equal(before[name, n], a) for name, part in built.items() for n, a in part.state_dict().items())


@pytest.mark.parametrize("size", [0, 9, 500, 5_000, 100_000])
def test_a_truncated_file_is_named(size, saved, tmp_path):
    path = keras_file(tmp_path / "x.h5", saved)
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(GradatimError, match=r"x\.h5"):
        transfer(read_weights(path), fresh(), layouts=LAYOUTS)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["table"] = [1, 2]

    with pytest.raises(FormatError, match="not one of Keras: it holds 'table'"):
        read_weights(tmp_path / "x.h5")


def test_another_number_of_classes_starts_exactly_what_depends_on_it_anew(saved, tmp_path):
    weights = read_weights(keras_file(tmp_path / "x.h5", saved))
    built = fresh(classes=5)
    with pytest.raises(WeightsError, match="reinitialise"):
        transfer(weights, built, layouts=LAYOUTS)

    wishes = [Wish(part=n, module=m, file_part=n, reinitialise=(".*",)) for n, m in built.items()]
    accounts = {account.part: account for account in transfer(weights, wishes, layouts=LAYOUTS)}

    assert not accounts["backbone"].kept
    assert not accounts["neck"].kept
    (anew,) = (names for names in accounts["predict"].kept.values())
    assert len(anew) == 6
    (anew,) = (names for names in accounts["pre_predict"].kept.values())
    assert len(anew) == 15
    assert equal({name: built[name] for name in ("backbone", "neck")}, saved)


def test_sizes_are_told_by_shapes(saved):
    shapes = {f"{part}.{name}": tuple(a.shape) for part, m in saved.items() for name, a in m.state_dict().items()}

    assert MultiGridDetSettings(**{**sizes_of(shapes, {"anchors": MODEL["anchors"]}), "anchors": MODEL["anchors"]}) == (
        MultiGridDetSettings(
            classes=3, widths=MODEL["widths"], blocks=(1, 2, 8, 8, 4), head_widths=MODEL["head_widths"],
            anchors=MODEL["anchors"],
        )
    )  # fmt: skip


def test_the_tables_name_every_array_once():
    shapes = [f"{name}.{array}" for name, part in fresh().items() for array in part.state_dict()]
    for layout in ("keras", "keras_places"):
        made = [to for rule in LAYOUTS[layout].rules for to in (rule.to,)]
        assert sorted(made) == sorted(shapes)
    assert not translate(LAYOUTS["keras"], ["conv2d/kernel"]).unknown
