"""Settings by name and in full, parts of every size, and errors that name the fix."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gradatim.errors import PlanError, WeightsError
from gradatim.systems.bombkd.model import PARTS, BombKDSettings, sizes_of

TINY = {
    "student": {"name": "identity", "config": {"hidden_size": 12}},
    "teachers": {"one/a": {"dim": 8}, "two": {"dim": 6}},
    "classes": 3,
}


def message(**model) -> str:
    with pytest.raises(ValidationError) as error:
        BombKDSettings(**model)
    return str(error.value)


def test_names_alone_are_enough():
    settings = BombKDSettings(student="VJEPA2", teachers=["videomae", "timesformer", "vivit"])

    assert settings.student.width == 1024
    assert settings == BombKDSettings(student={"name": "VJEPA2"}, teachers="videomae,timesformer vivit")
    assert settings.translated_widths == {"videomae": 768, "timesformer": 768, "vivit": 768}
    assert [t.clip_frames for t in settings.teachers.values()] == [16, 8, 32]
    assert [t.image_size for t in settings.teachers.values()] == [224, 224, 224]


def test_defaults_can_be_written_down_and_read_again():
    settings = BombKDSettings(**TINY)

    assert BombKDSettings(**settings.model_dump(mode="json")) == settings


def test_stored_features_need_no_backbone():
    settings = BombKDSettings(student={"dim": 12}, teachers={"t": {"dim": 8}}, classes=3)

    for part in ("converters", "fusion", "projection", "probe"):
        assert isinstance(PARTS[part](settings), nn.Module)
    with pytest.raises(PlanError, match="set its `name`"):
        PARTS["student"](settings)


def test_the_parts_fit_together():
    settings = BombKDSettings(**TINY, target_lens={"two": 4})
    parts = {name: PARTS[name](settings).eval() for name in ("student", "converters", "fusion", "projection", "probe")}

    tokens = parts["student"](torch.rand(2, 3, 3, 8, 8))
    translated = [parts["converters"][name](tokens)[0] for name in settings.teachers]
    fused = parts["fusion"](tokens, translated)

    assert [tuple(y.shape) for y in translated] == [(2, 1, 8), (2, 4, 6)]
    assert fused.logits.shape == parts["probe"](tokens).logits.shape == (2, 3)
    assert parts["projection"](fused.tokens).shape == (2, 1, 128)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"student": "vjpea2"}, "Did you mean 'vjepa2'?"),
        ({"student": {}}, "give the `name` of a backbone, or the width `dim`"),
        ({"student": {"name": "vjepa2", "dim": 768}}, "tokens of 'vjepa2' have 1024"),
        ({"teachers": {"a.b": {"dim": 8}}}, "choose one without '.'"),
        ({"teachers": {"keys": {"dim": 8}}}, "'keys' cannot be the name of a teacher"),
        ({"converter": "linear"}, "unknown kind of converter 'linear'"),
        ({"converter_options": {"kernel": 3}}, "unknown option of converter b 'kernel'"),
        ({"converter_options": {"batch_stats": "batch"}}, "`batch_stats` is a setting of its own"),
        ({"converter": "a", "teachers": {"t": {"dim": 12}}}, "set `n_heads_dec: 6`"),
        ({"target_lens": {"vivid": 4}}, "'vivid', which is no teacher"),
        ({"classes": 2, "class_names": ["a", "b", "c"]}, "there are 3 `class_names`"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(model, words):
    assert words in message(**model)


def test_class_names_tell_the_number_of_classes():
    settings = BombKDSettings(**{**TINY, "classes": None}, class_names=["run", "walk"])

    assert PARTS["fusion"](settings).head.out_features == 2


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"converter": "c", "head": "advanced"},
        {"converter": "a", "converter_options": {"n_heads_dec": 2, "n_lat": 5, "n_layers": 2}, "low_rank": 4},
        {"converter_options": {"k": 5}, "head": "none"},
        {"probe": "linear"},
    ],
)
def test_shapes_tell_the_settings(more):
    settings = BombKDSettings(**{**TINY, "student": {"dim": 12}}, **more)
    parts = {name: PARTS[name](settings) for name in ("converters", "fusion", "projection", "probe")}
    shapes = {f"{part}.{n}": tuple(a.shape) for part, m in parts.items() for n, a in m.state_dict().items()}
    heads = {"converter_options": {"n_heads_dec": 2}} if more.get("converter") == "a" else {}

    told = BombKDSettings(**sizes_of(shapes, heads))

    again = {name: PARTS[name](told).state_dict() for name in parts}
    assert {f"{part}.{n}": tuple(a.shape) for part, m in again.items() for n, a in m.items()} == shapes


def test_heads_that_no_shape_tells_are_asked_for():
    settings = BombKDSettings(
        student={"dim": 8},
        teachers={"t": {"dim": 8}},
        converter="a",
        converter_options={"d_lat": 12, "n_heads_enc": 2},
    )
    shapes = {f"converters.{n}": tuple(a.shape) for n, a in PARTS["converters"](settings).state_dict().items()}

    with pytest.raises(WeightsError, match=r"give `converter_options: \{n_heads_enc"):
        sizes_of(shapes, {})
