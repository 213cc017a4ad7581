"""Tables of foreign names: each kind of rule, the first that matches, and what is left over."""

import pytest
import torch
from torch import nn

from gradatim.weights import Drop, Join, Keep, Layout, Rename, Split, Surplus, Weights, Wish, transfer, translate

ROWS = torch.arange(6.0).view(2, 3)


def layout(*rules, resized=()):
    return Layout(name="test", summary="for tests", rules=rules, resized=resized)


def made(arrays, *rules):
    """Arrays under our names, and the names that no rule knows."""
    translation = translate(layout(*rules), arrays)
    found = {name: how.make([arrays[source] for source in how.sources]) for name, how in translation.made.items()}
    return found, translation


def test_a_renamed_array_takes_its_groups_along():
    found, _ = made({"enc.3.weight": ROWS}, Rename(r"enc\.(\d+)\.(\w+)", r"encoder.blocks.\1.\2"))

    assert found.keys() == {"encoder.blocks.3.weight"}
    assert torch.equal(found["encoder.blocks.3.weight"], ROWS)


def test_a_pattern_matches_the_whole_name():
    _, translation = made({"old.w": ROWS, "w": ROWS, "ww": ROWS}, Rename("w", "a.w"))

    assert set(translation.made) == {"a.w"}
    assert translation.unknown == ("old.w", "ww")


def test_the_first_rule_that_matches_is_taken():
    found, translation = made({"w": ROWS}, Drop("w", "not needed"), Rename("w", "a.w"))

    assert not found
    assert translation.dropped == {"w": "not needed"}


def test_rules_of_plain_names_and_of_patterns_keep_their_order():
    names = ("w", "w1", "ww", "x")
    plain_first, _ = made(dict.fromkeys(names, ROWS), Rename("w", "a.plain"), Rename(r"(w\d*)", r"b.\1"))
    plain_last, translation = made(dict.fromkeys(names, ROWS), Rename(r"(w\d*)", r"b.\1"), Rename("w", "a.plain"))

    assert set(plain_first) == {"a.plain", "b.w1"}
    assert set(plain_last) == {"b.w", "b.w1"}
    assert translation.unknown == ("ww", "x")


@pytest.mark.parametrize(
    "pattern", ["net/wx?", "net/wx*", "net/wx{0,1}", "other|net/w", "n.t/w", "(net)/w", "(?i)NET/w"]
)
def test_a_name_that_begins_otherwise_than_the_pattern_reads_is_matched_too(pattern):
    _, translation = made({"net/w": ROWS}, Rename(pattern, "a.w"))

    assert set(translation.made) == {"a.w"}


def test_one_array_may_become_several():
    found, _ = made({"w": ROWS}, Rename("w", ("a.w", "b.w")))

    assert torch.equal(found["a.w"], ROWS)
    assert torch.equal(found["b.w"], ROWS)


def test_axes_are_exchanged():
    found, _ = made({"w": torch.arange(24).view(2, 3, 4)}, Rename("w", "a.w", transpose=(2, 0, 1)))

    assert torch.equal(found["a.w"], torch.arange(24).view(2, 3, 4).permute(2, 0, 1))


def test_axes_are_put_into_one_before_they_are_exchanged():
    cube = torch.arange(24).view(2, 3, 4)

    found, _ = made({"w": cube}, Rename("w", "a.w", transpose=(1, 0), flatten=(1, 2)))

    assert torch.equal(found["a.w"], cube.reshape(2, 12).T)


def test_arrays_are_joined_in_the_rules_order_whatever_the_files():
    rule = Join((r"(\d)\.q", r"(\d)\.k", r"(\d)\.v"), r"a.\1.qkv", axis=0)
    names = ["1.v", "0.k", "0.q", "1.q", "0.v", "1.k"]
    arrays = {name: torch.full((1, 2), float(i)) for i, name in enumerate(names)}

    found, translation = made(arrays, rule)

    assert found["a.0.qkv"][:, 0].tolist() == [2.0, 1.0, 4.0]
    assert found["a.1.qkv"][:, 0].tolist() == [3.0, 5.0, 0.0]
    assert translation.unknown == ()


def test_a_join_that_lacks_a_piece_leaves_the_others_unknown():
    found, translation = made({"q": ROWS, "v": ROWS}, Join(("q", "k", "v"), "a.qkv"))

    assert not found
    assert translation.unknown == ("q", "v")


def test_an_array_is_split_into_equal_pieces_along_an_axis():
    found, _ = made({"kv": torch.arange(8.0).view(2, 4)}, Split("kv", ("a.k", "a.v"), axis=1))

    assert found["a.k"].tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert found["a.v"].tolist() == [[2.0, 3.0], [6.0, 7.0]]


def test_what_resizing_takes_replaces_what_is_dropped_otherwise():
    table = layout(Drop("pos", "another grid"), resized=(Rename("pos", "a.pos"),))

    assert translate(table, ["pos"]).dropped == {"pos": "another grid"}
    assert set(translate(table, ["pos"], resize=True).made) == {"a.pos"}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.register_buffer("table", torch.zeros(3))


def test_surplus_blocks_are_left_out_and_kept_arrays_stay_each_with_its_reason():
    rules = (Rename("(.+)", r"a.\1"), Surplus(r"a\.more\.\d+", "a smaller part"), Keep(r"a\.table", "by formula"))
    part = Two()
    weights = Weights(path="f", format="test", arrays={"weight": ROWS, "more.0": ROWS, "more.1": ROWS})

    (account,) = transfer(weights, {"a": part}, layout=layout(*rules))

    assert account.dropped == {"a smaller part": ("a.more.0", "a.more.1")}
    assert account.kept == {"by formula": ("table",)}
    assert torch.equal(part.weight, ROWS)
    assert torch.equal(part.table, torch.zeros(3))


def test_a_surplus_array_that_several_of_ours_are_made_of_is_told_once():
    rules = (Rename("(.+)", (r"a.\1", r"a.more.\1")), Surplus(r"a\.more\..+", "a smaller part"))
    weights = Weights(path="f", format="test", arrays={"weight": ROWS, "table": ROWS[0], "more.0": ROWS})

    (account,) = transfer(weights, {"a": Two()}, layout=layout(*rules))

    assert account.dropped == {"a smaller part": ("a.more.weight", "a.more.table", "a.more.0")}


def test_one_part_of_a_file_may_feed_two_parts():
    first, second = Two(), Two()
    weights = Weights(path="f", format="test", arrays={"a.weight": ROWS, "a.table": torch.ones(3)})
    wishes = [Wish(part=name, module=module, file_part="a") for name, module in (("x", first), ("y", second))]

    accounts = transfer(weights, wishes)

    assert [(account.part, account.arrays, account.values) for account in accounts] == [
        ("x", (2, 2), (9, 9)),
        ("y", (2, 2), (9, 9)),
    ]
    assert torch.equal(first.weight, ROWS)
    assert torch.equal(second.weight, ROWS)
    assert first.weight.data_ptr() != second.weight.data_ptr()


@pytest.mark.parametrize("on_meta", [False, True])
def test_parts_fed_by_one_array_do_not_share_memory(on_meta):
    with torch.device("meta" if on_meta else "cpu"):
        parts = {"a": Two(), "b": Two()}
    source = {"w": ROWS.clone(), "t": torch.ones(3)}

    transfer(
        Weights(path="f", format="test", arrays=source),
        parts,
        layout=layout(Rename("w", ("a.weight", "b.weight")), Rename("t", ("a.table", "b.table"))),
    )
    with torch.no_grad():
        parts["a"].weight += 1

    assert torch.equal(parts["b"].weight, ROWS)
    assert torch.equal(source["w"], ROWS)
