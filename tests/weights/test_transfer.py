"""A file feeds all parts that ask for it, or none; every array on both sides is accounted for."""

import pytest
import torch
from torch import nn

from gradatim.errors import WeightsError
from gradatim.weights import Layout, Rename, Weights, Wish, accounts, part_digest, recognised, transfer

FOREIGN = Layout(name="foreign", summary="of another program", rules=(Rename(r"net\.(.+)", r"a.\1"),))
OTHER = Layout(name="other", summary="of a third program", rules=(Rename(r"x\.(.+)", r"a.\1"),))
LAYOUTS = {"foreign": FOREIGN, "other": OTHER}


class Part(nn.Module):
    """One weight, one bias, one buffer of positions on a grid of 2 x 3."""

    grid = (2, 3)

    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.register_buffer("pos", torch.zeros(1, 6, width))


def arrays(prefix="net.", *, without=(), width=4, seed=1, **more):
    torch.manual_seed(seed)
    part = Part(width)
    part.pos = torch.rand(1, 6, width)
    return {
        f"{prefix}{name}": array.detach() for name, array in part.state_dict().items() if name not in without
    } | more


def file(content, metadata=None, notes=()):
    return Weights(path="f.pth", format="test", arrays=content, metadata=metadata or {}, notes=notes)


def wish(module, **changes):
    return Wish(**{"part": "a", "module": module, "file_part": "a", **changes})


def refused(weights, parts, **chosen):
    """The one message; the parts' bits stay as they were."""
    parts = list(parts)
    before = [part_digest(one.module) for one in parts]
    with pytest.raises(WeightsError) as error:
        transfer(weights, parts, **{"layouts": LAYOUTS, **chosen})
    assert [part_digest(one.module) for one in parts] == before
    return str(error.value).split("\n  ")


def test_a_file_that_fits_is_loaded_to_the_bit_and_counted():
    part, content = Part(), arrays()

    (account,) = transfer(file(content), {"a": part}, layouts=LAYOUTS)

    assert (account.layout, account.arrays, account.values) == ("foreign", (3, 3), (44, 44))
    assert account.complete
    assert account.lines() == ["part 'a': loaded 3 of 3 arrays, 44 of 44 values"]
    for name, array in part.state_dict().items():
        assert torch.equal(array, content[f"net.{name}"])


def test_an_account_can_be_had_without_loading():
    part = Part()
    before = part_digest(part)

    table, (account,) = accounts(file(arrays()), {"a": part}, layouts=LAYOUTS)

    assert (table.name, account.complete) == ("foreign", True)
    assert part_digest(part) == before


def test_missing_arrays_are_named():
    assert refused(file(arrays(without=["linear.bias"])), [wish(Part())]) == [
        "f.pth: does not fit (layout 'foreign'); nothing was changed",
        "part 'a': loaded 2 of 3 arrays, 40 of 44 values",
        "missing in the file (1): linear.bias",
    ]


def test_unexpected_arrays_are_named_as_the_file_has_them():
    content = arrays(**{"net.extra": torch.zeros(2), "optimizer": torch.zeros(1)})

    assert refused(file(content), [wish(Part())])[2:] == ["unexpected in the file (2): a.extra, optimizer"]


def test_wrong_shapes_are_named_with_both_and_sizes_are_the_remedy():
    message = refused(file(arrays(width=8, without=["pos"])), [wish(Part(), allow_missing=("pos",))])

    assert message[1:] == [
        "part 'a': loaded 0 of 3 arrays, 0 of 44 values",
        "linear.weight: file has (8, 8), part needs (4, 4)",
        "linear.bias: file has (8,), part needs (4,)",
        "kept as built (allow_missing) (1): pos",
        "remedy: set the plan's `model` to the sizes that the file was trained with; or, for layers that shall start "
        "fresh where they differ, say `reinitialise: ['.*']`",
    ]


def test_a_table_of_another_grid_is_answered_with_resizing_which_then_works():
    content, part = arrays(), Part()
    content["net.pos"] = torch.rand(1, 24, 4)

    message = refused(file(content), [wish(part)])
    (account,) = transfer(file(content), [wish(part, resize="position")], layouts=LAYOUTS)

    assert message[2:] == [
        "pos: file has (1, 24, 4), part needs (1, 6, 4)",
        "remedy: `resize: position` fits tables of positions to the part's grid",
    ]
    assert account.resized == ("pos",)
    assert not part.pos.eq(0).any()


def test_a_table_that_no_grid_fits_says_so_with_part_and_array():
    content = {**arrays(), "net.pos": torch.rand(1, 8, 4)}

    assert refused(file(content), [wish(Part(), resize="position")]) == [
        "f.pth: part 'a', pos: 8 positions are no grid that fits 2 x 3"
    ]


def test_an_unknown_adapter_is_answered_with_the_nearest():
    content = {**arrays(), "net.pos": torch.rand(1, 24, 4)}

    assert refused(file(content), [wish(Part(), resize="psoition")]) == [
        "f.pth: unknown adapter 'psoition'. Did you mean 'position'? Known: position."
    ]


def test_names_of_another_layout_are_answered_with_it():
    assert refused(file(arrays()), [wish(Part())], layout="other")[-1] == (
        "remedy: the file has layout 'foreign'; say `layout: foreign`"
    )


def test_names_of_another_layout_that_still_does_not_fit_are_said_to_be_its():
    message = refused(file(arrays(without=["linear.bias"])), [wish(Part())], layout="other")

    assert message[-1] == "the file's names are those of layout 'foreign' (of another program)"


def test_an_unknown_layout_is_answered_with_the_nearest():
    assert refused(file(arrays()), [wish(Part())], layout="foriegn") == [
        "unknown layout 'foriegn'. Did you mean 'foreign'? Known: foreign, gradatim, other."
    ]


@pytest.mark.parametrize(("found", "right"), [("student.net.", "student."), ("", None), ("backbone.", "backbone.")])
def test_a_prefix_that_would_fix_it_is_proposed_and_fixes_it(found, right):
    content = arrays(found)

    message = refused(file(content), [wish(Part())])
    (remedy,) = [line for line in message if line.startswith("remedy: `rename")]
    old, new = remedy.removeprefix("remedy: `rename: {'").partition("'}`")[0].split("': '")

    (account,) = transfer(file(content), [wish(Part(), rename={old: new})], layouts=LAYOUTS)
    assert account.complete
    assert right is None or old == right


def test_the_longest_prefix_that_fits_is_exchanged():
    content = {"m.": "net.", "m.linear.": "net.linear."}

    (account,) = transfer(file(arrays("m.")), [wish(Part(), rename=content)], layouts=LAYOUTS)

    assert account.complete


def test_two_names_that_a_rename_makes_one_are_refused():
    content = arrays() | {"old." + name: array for name, array in arrays("").items()}

    message = refused(file(content), [wish(Part(), rename={"old.": "net."})])

    assert message == ["f.pth: rename: 'net.pos' and 'old.pos' become one name, 'net.pos'"]


def test_several_parts_are_loaded_or_none():
    parts = {"a": Part(), "b": Part()}
    content = arrays("a.") | arrays("b.", without=["linear.bias"], seed=2)

    message = refused(file(content), [wish(module, part=name, file_part=name) for name, module in parts.items()])
    assert "part 'a': loaded 3 of 3 arrays, 44 of 44 values" in message
    assert "part 'b': loaded 2 of 3 arrays, 40 of 44 values" in message

    both = transfer(file(arrays("a.") | arrays("b.", seed=2)), parts, layouts=LAYOUTS)
    assert [account.arrays for account in both] == [(3, 3), (3, 3)]


def test_a_part_on_the_meta_device_gets_its_arrays_and_its_own_types():
    with torch.device("meta"):
        part = Part()
    content = {name: array.double() for name, array in arrays().items()}

    transfer(file(content), {"a": part}, layouts=LAYOUTS)

    assert all(array.dtype == torch.float32 and not array.is_meta for array in part.state_dict().values())
    assert torch.equal(part.linear.weight, content["net.linear.weight"].float())


def test_a_meta_part_that_does_not_fit_stays_without_memory():
    with torch.device("meta"):
        part = Part()

    with pytest.raises(WeightsError):
        transfer(file(arrays(without=["pos"])), {"a": part}, layouts=LAYOUTS)

    assert all(array.is_meta for array in part.state_dict().values())


def test_allowed_gaps_are_kept_as_built_and_said():
    part = Part()
    before = part.linear.bias.detach().clone()

    (account,) = transfer(
        file(arrays(without=["linear.bias"])), [wish(part, allow_missing=(r"linear\.b.*",))], layouts=LAYOUTS
    )

    assert account.kept == {"allow_missing": ("linear.bias",)}
    assert torch.equal(part.linear.bias, before)
    assert not torch.equal(part.linear.weight, Part().linear.weight)


def test_what_the_reader_did_stands_in_the_account_and_in_the_message():
    weights = file(arrays(without=["pos"]), notes=("prefix 'module.' taken off every name",))

    assert refused(weights, [wish(Part())])[1] == "prefix 'module.' taken off every name"


def test_a_file_of_ours_is_known_by_its_header():
    weights = file(arrays("a."), metadata={"gradatim": "{}"})

    assert recognised(weights, LAYOUTS) == ["gradatim"]
    assert transfer(weights, {"a": Part()}, layouts=LAYOUTS)[0].layout == "gradatim"
    assert recognised(file(arrays()), LAYOUTS) == ["foreign"]


def test_two_layouts_that_explain_a_file_alike_must_be_chosen_between():
    twin = {"foreign": FOREIGN, "twin": Layout(name="twin", summary="the same", rules=FOREIGN.rules)}

    (message,) = refused(file(arrays()), [wish(Part())], layouts=twin)

    assert message == "f.pth: several layouts explain it: foreign, twin; name one with `layout`"


def test_long_lists_are_cut_and_counted():
    content = {f"net.extra{i}": torch.zeros(1) for i in range(9)}

    message = refused(file({**arrays(), **content}), [wish(Part())])

    assert message[2].startswith("unexpected in the file (9): a.extra0, a.extra1, ")
    assert message[2].endswith("a.extra5, ... and 3 more")


def test_whole_numbers_do_not_pass_for_weights():
    content = {**arrays(), "net.linear.weight": torch.ones(4, 4, dtype=torch.int8)}

    assert refused(file(content), [wish(Part())])[2:] == ["linear.weight: file has int8, part needs float32"]


def test_arrays_of_other_parts_are_no_mistake_but_are_told_when_something_is_missing():
    content = arrays("a.") | {"b.weight": torch.zeros(1)}

    (account,) = transfer(file(content), {"a": Part()}, layouts=LAYOUTS)
    message = refused(file(content), [wish(Part(), part="c", file_part="c")])

    assert account.complete
    assert "for parts that nobody asked for (4): a.pos, a.linear.weight, a.linear.bias, b.weight" in message


def test_half_precision_is_widened():
    part, content = Part(), {name: array.half() for name, array in arrays().items()}

    transfer(file(content), {"a": part}, layouts=LAYOUTS)

    assert part.linear.weight.dtype == torch.float32
    assert torch.equal(part.linear.weight, content["net.linear.weight"].float())
