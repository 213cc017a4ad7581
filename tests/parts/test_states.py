"""The five states follow from what trains and from the flow of values, not from positions."""

from gradatim.parts import State, part_states
from gradatim.plan import CallNames
from gradatim.plan.graph import fields_of, needed_steps, reached_parts, trained_steps

T, P, N, C, U = State.TRAINED, State.PASSES_GRADIENT, State.NO_GRADIENT, State.CACHED, State.UNUSED


def step(name, parts, needs, makes):
    return CallNames(name=name, parts=tuple(parts), needs=tuple(needs), makes=tuple(makes))


# Two branches that meet: x -> a -> b, y -> c, both -> d.
STEPS = (
    step("first", ["a"], ["x"], ["va"]),
    step("second", ["b"], ["va"], ["vb"]),
    step("side", ["c"], ["y"], ["vc"]),
    step("last", ["d"], ["vb", "vc"], ["vd"]),
)
PARTS = ("a", "b", "c", "d", "e")


def states(*train, stored=()):
    return tuple(part_states(PARTS, STEPS, train, stored=stored).values())


def test_what_stands_behind_a_trained_part_passes_gradients_and_what_stands_before_it_does_not():
    assert states("a") == (T, P, N, P, U)
    assert states("b") == (N, T, N, P, U)
    assert states("d") == (N, N, N, T, U)
    assert states("a", "d") == (T, P, N, T, U)


def test_a_frozen_part_that_comes_later_but_reads_nothing_trained_gets_no_gradient():
    assert states("a")[2] is N
    assert states("c") == (N, N, T, P, U)


def test_a_trained_child_trains_its_part():
    assert states("b.layers.0") == states("b")


def test_results_that_are_stored_make_a_frozen_part_cached_and_no_other():
    assert states("b", stored=("a", "c", "d", "b", "e")) == (C, T, C, P, U)


def test_with_nothing_trained_nothing_passes_gradients():
    assert states() == (N, N, N, N, U)


def test_two_uses_of_one_part_count_together():
    steps = (*STEPS, step("again", ["a"], ["vd"], ["ve"]))

    assert part_states(PARTS, steps, ["d"])["a"] is P


def test_the_graph_tells_steps_fields_and_parts_of_a_value():
    assert [one.name for one in needed_steps(STEPS, ["vb"])] == ["first", "second"]
    assert fields_of(STEPS, ["vb"]) == ("x",)
    assert fields_of(STEPS, ["vd", "z"]) == ("x", "y", "z")
    assert reached_parts(STEPS, ["vc"]) == {"c"}
    assert [one.name for one in trained_steps(STEPS, ["c"])] == ["side", "last"]
