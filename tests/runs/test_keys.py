"""Stage keys change with everything that the result depends on, and with nothing else."""

import pytest

from gradatim.runs import stage_key
from gradatim.runs.keys import differences
from toy import stage

BASE = {
    "seed": 0, "model": {"width": 6}, "parts": {"head": "d1"}, "data": "rows", "code": "c", "version": "1",
}  # fmt: skip


def key(one=None, **changes):
    return stage_key(one or stage(), **{**BASE, **changes})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"model": {"width": 7}}, "model"),
        ({"parts": {"head": "d2"}}, "weights"),
        ({"parts": {"head": "d1", "body": "d1"}}, "weights"),
        ({"data": "other rows"}, "data"),
        ({"code": "d"}, "code"),
        ({"version": "2"}, "version"),
    ],
)
def test_each_ingredient_changes_the_key_and_is_named(changes, name):
    assert key(**changes)["key"] != key()["key"]
    assert differences(key(), key(**changes)) == [name]


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.02}, {"epochs": 3}, {"losses": {"mse": 2}}, {"train": ["body"]}, {"batch_size": 4}, {"accumulate": 2},
        {"precision": "bf16-mixed"}, {"compile": True}, {"clip": 1.0}, {"weight_decay": 0.1}, {"optimizer": "sgd"},
        {"schedule": "cosine"}, {"data": {"jitter": 1}}, {"guards": {"patience": 3}}, {"options": {"mse.power": 1}},
        {"validate": {"metric": "closeness"}}, {"task": "noisy"}, {"name": "other"},
    ],
    ids=str,
)  # fmt: skip
def test_each_setting_of_a_stage_changes_it(changes):
    other = key(stage(**changes))

    assert other["key"] != key()["key"]
    assert differences(key(), other) == ["settings"]


@pytest.mark.parametrize("changes", [{"workers": 3}, {"init": {"head": {"checkpoint": "elsewhere.pth"}}}])
def test_workers_and_where_equal_weights_lie_do_not(changes):
    assert key(stage(**changes)) == key()


def test_a_key_is_the_same_in_every_order_and_for_text_and_numbers():
    one = key(model={"a": 1, "b": 2}, parts={"x": "1", "y": "2"})
    two = key(model={"b": 2, "a": 1}, parts={"y": "2", "x": "1"})

    assert one == two
    assert key(stage(lr="1e-2")) == key(stage(lr=0.01))


def test_settings_left_out_and_given_as_their_defaults_are_one():
    assert key(stage(accumulate=1, precision="fp32")) == key()
