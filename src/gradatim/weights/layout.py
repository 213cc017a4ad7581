"""Layouts: tables that translate the names of a foreign checkpoint into ours.

Our name of an array is `part.array`, such as `encoder.blocks.0.norm1.weight`. A layout is a tuple of rules;
a foreign name is translated by the first rule whose pattern matches all of it. Nothing is translated in code:
what a file's arrays become can be read off the table.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rename:
    """One foreign array becomes one of ours, or several equal ones.

    Args:
        pattern: regular expression of the whole foreign name.
        to: our name, with `\\1` for the pattern's groups.
        transpose: order of axes, where they differ.
        flatten: first and last of axes that are put into one, before the order is changed.
    """

    pattern: str
    to: str | tuple[str, ...]
    transpose: tuple[int, ...] | None = None
    flatten: tuple[int, int] | None = None


@dataclass(frozen=True)
class Join:
    """Several foreign arrays, concatenated in this order, become one of ours; all patterns have equal groups."""

    patterns: tuple[str, ...]
    to: str
    axis: int = 0


@dataclass(frozen=True)
class Split:
    """One foreign array, cut into equal pieces, becomes several of ours."""

    pattern: str
    to: tuple[str, ...]
    axis: int = 0


@dataclass(frozen=True)
class Flat:
    """One foreign array holds all of ours in a row, as files do that have neither names nor shapes.

    Args:
        pattern: regular expression of the foreign name.
        to: our names in the file's order; those that the part has not are passed over.
        why: what may follow them in the file, and why it is left.
    """

    pattern: str
    to: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Drop:
    """A foreign array that has no place in ours, and why."""

    pattern: str
    why: str


@dataclass(frozen=True)
class Surplus:
    """Our name of arrays that a smaller part has no place for, such as further blocks, and why that is right."""

    pattern: str
    why: str


@dataclass(frozen=True)
class Keep:
    """Our arrays that the file does not feed: they keep the values that the part was built with, and why."""

    pattern: str
    why: str


@dataclass(frozen=True)
class Tie:
    """Two parts of a file that a model may hold as one: whoever asks for one alone needs them to be equal.

    Args:
        parts: our names of both.
        remedy: what to do where they are not.
    """

    parts: tuple[str, str]
    remedy: str


Rule = Rename | Join | Split | Flat | Drop | Surplus | Keep


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table of foreign names.

    Args:
        name: how a plan calls it.
        summary: what files have it.
        rules: tried in order.
        resized: rules that replace those for the same names when the source says `resize`: arrays that
            would be dropped because their shapes differ are then taken and resized.
        fields: names of what a file of this layout holds beside its arrays, `!name` for what it does not; they tell
            layouts of equal names apart.
        tasks: of the system, that such files' weights were trained with, where a plan's rules ask for it.
        requires: values that a setting of the model must have for these weights to mean what they did, by part
            and setting.
        ties: parts that may be held as one.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    resized: tuple[Rule, ...] = ()
    fields: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    requires: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Made:
    """How one of our arrays is made from foreign ones."""

    sources: tuple[str, ...]
    make: Callable[[list[Tensor]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What a layout makes of a file's names.

    Args:
        made: our name -> how it is made.
        dropped: foreign name -> why.
        unknown: foreign names that no rule translates.
        flat: rules for arrays without names, and the foreign array.
        surplus, keep: the layout's rules on our names.
    """

    made: Mapping[str, Made]
    dropped: Mapping[str, str]
    unknown: tuple[str, ...]
    flat: tuple[tuple[Flat, str], ...] = ()
    surplus: tuple[Surplus, ...] = ()
    keep: tuple[Keep, ...] = ()


@dataclass
class _Work:
    made: dict[str, Made] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    joins: dict[str, dict[int, str]] = field(default_factory=dict)
    join_rules: dict[str, Join] = field(default_factory=dict)
    flat: list[tuple[Flat, str]] = field(default_factory=list)


def translate(layout: Layout, names: Iterable[str], *, resize: bool = False) -> Translation:
    """Apply a layout to the names of a file."""
    rules = (*layout.resized, *layout.rules) if resize else layout.rules
    work = _Work()
    candidates = _candidates(rules)
    unknown = [name for name in names if not any(_apply(rule, name, work) for rule in candidates(name))]
    for ours, found in work.joins.items():
        rule = work.join_rules[ours]
        if len(found) == len(rule.patterns):
            sources = tuple(found[i] for i in range(len(rule.patterns)))
            work.made[ours] = Made(sources=sources, make=_concatenation(rule.axis))
        else:
            unknown += found.values()
    return Translation(
        made=work.made,
        dropped=work.dropped,
        unknown=tuple(unknown),
        flat=tuple(work.flat),
        surplus=tuple(rule for rule in rules if isinstance(rule, Surplus)),
        keep=tuple(rule for rule in rules if isinstance(rule, Keep)),
    )


def _candidates(rules: Sequence[Rule]) -> Callable[[str], list[Rule]]:
    """A function that gives the rules that may translate a name, in their order.

    Tables have hundreds of rules, and files hundreds of names: patterns without anything special are looked up, and
    others tried where the name begins as they do.
    """
    plain: dict[str, list[tuple[int, Rule]]] = {}
    patterned: list[tuple[tuple[str, ...], int, Rule]] = []
    for place, rule in enumerate(rules):
        patterns = rule.patterns if isinstance(rule, Join) else (rule.pattern,)
        starts = tuple(map(_start, patterns))
        if starts == patterns:
            for pattern in patterns:
                plain.setdefault(pattern, []).append((place, rule))
        else:
            patterned.append((starts, place, rule))

    def find(name: str) -> list[Rule]:
        found = [(place, rule) for starts, place, rule in patterned if name.startswith(starts)]
        return [rule for _, rule in sorted([*plain.get(name, ()), *found], key=lambda one: one[0])]

    return find


def _start(pattern: str) -> str:
    """What every name begins with that a regular expression matches."""
    if "|" in pattern:
        return ""
    start = re.match(r"[\w/]*", pattern, re.ASCII)[0]  # type: ignore[index]
    return start[:-1] if pattern[len(start) :].startswith(("?", "*", "{")) else start


def _apply(rule: Rule, name: str, work: _Work) -> bool:
    """Translate one name by one rule; whether it matched."""
    if isinstance(rule, Surplus | Keep):
        return False
    if isinstance(rule, Join):
        return _apply_join(rule, name, work)
    match = re.fullmatch(rule.pattern, name)
    if match is None:
        return False
    if isinstance(rule, Flat):
        work.flat.append((rule, name))
    elif isinstance(rule, Drop):
        work.dropped[name] = rule.why
    elif isinstance(rule, Rename):
        for to in (rule.to,) if isinstance(rule.to, str) else rule.to:
            work.made[match.expand(to)] = Made(sources=(name,), make=_permutation(rule))
    else:
        for position, to in enumerate(rule.to):
            work.made[match.expand(to)] = Made(sources=(name,), make=_piece(position, len(rule.to), rule.axis))
    return True


def _apply_join(rule: Join, name: str, work: _Work) -> bool:
    for position, pattern in enumerate(rule.patterns):
        if match := re.fullmatch(pattern, name):
            ours = match.expand(rule.to)
            work.joins.setdefault(ours, {})[position] = name
            work.join_rules[ours] = rule
            return True
    return False


def _concatenation(axis: int) -> Callable[[list[Tensor]], Tensor]:
    return lambda arrays: torch.cat(arrays, dim=axis)


def _permutation(rule: Rename) -> Callable[[list[Tensor]], Tensor]:
    def make(arrays: list[Tensor]) -> Tensor:
        array = arrays[0].flatten(*rule.flatten) if rule.flatten else arrays[0]
        return array.permute(rule.transpose) if rule.transpose else array

    return make


def _piece(position: int, count: int, axis: int) -> Callable[[list[Tensor]], Tensor]:
    return lambda arrays: arrays[0].chunk(count, dim=axis)[position]
