"""Transfer: arrays of a file into parts, all or nothing, with an account of every array on both sides."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gradatim.errors import WeightsError, problems, unknown
from gradatim.weights.adapters import ADAPTERS
from gradatim.weights.formats import Weights
from gradatim.weights.formats.base import FIELDS
from gradatim.weights.layout import Layout, Rename, Translation, translate
from gradatim.weights.ties import require_equal

OWN = Layout(
    name="gradatim", summary="files that gradatim wrote: names are `part.array`", rules=(Rename(r"(.+)", r"\1"),)
)
_SHOWN = 6
_REINITIALISED = "re-initialised, since the file has another shape"


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of every array when a file fed one part.

    Args:
        part: the part.
        source: the file, as printed.
        layout: the table that translated its names.
        arrays: (loaded, in the part), numbers of arrays; `values` likewise, numbers of values.
        missing: arrays of the part that the file does not have.
        unexpected: arrays of the file that the part has no place for.
        wrong_shape: (name, shape in the file, shape in the part).
        wrong_type: (name, type in the file, type in the part), where one is whole numbers and the other is not.
        dropped: reason -> foreign or surplus arrays left out by rule.
        kept: reason -> arrays of the part that keep the values it was built with.
        resized: arrays that an adapter fitted.
        notes: what the reader did, and remedies.
    """

    part: str
    source: str
    layout: str
    arrays: tuple[int, int]
    values: tuple[int, int]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    wrong_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    wrong_type: tuple[tuple[str, str, str], ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resized: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every array on both sides is explained."""
        return not (self.missing or self.unexpected or self.wrong_shape or self.wrong_type)

    @property
    def counted(self) -> str:
        """How much was loaded, in words."""
        (n, of), (values, of_values) = self.arrays, self.values
        return f"{n} of {of} arrays, {values:,} of {of_values:,} values"

    def lines(self) -> list[str]:
        """The account as text, the counts first."""
        result = [f"part {self.part!r}: loaded {self.counted}"]
        result += _listed("missing in the file", self.missing)
        result += _listed("unexpected in the file", self.unexpected)
        result += [f"{name}: file has {found}, part needs {right}" for name, found, right in self.wrong_shape[:_SHOWN]]
        result += [f"{name}: file has {found}, part needs {right}" for name, found, right in self.wrong_type[:_SHOWN]]
        if len(self.wrong_shape) > _SHOWN:
            result.append(f"... and {len(self.wrong_shape) - _SHOWN} more of another shape")
        for why, names in self.dropped.items():
            result += _listed(f"dropped by rule ({why})", names)
        return result + self.exceptions()

    def exceptions(self) -> list[str]:
        """What of the part is not as the file has it."""
        kept = [line for why, names in self.kept.items() for line in _listed(f"kept as built ({why})", names)]
        return kept + _listed("resized", self.resized)


def _listed(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what} ({len(names)}): {', '.join(names[:_SHOWN])}{more}"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a file is to feed one part; see `gradatim.plan.CheckpointSource` for the fields."""

    part: str
    module: nn.Module
    file_part: str
    rename: Mapping[str, str] = field(default_factory=dict)
    allow_missing: tuple[str, ...] = ()
    reinitialise: tuple[str, ...] = ()
    resize: str | None = None


def transfer(
    weights: Weights,
    parts: Mapping[str, nn.Module] | Iterable[Wish],
    *,
    layout: Layout | str | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> tuple[Account, ...]:
    """Load a file into parts; changes them all, or, when anything is unexplained, none.

    Args:
        weights: from `read_weights`.
        parts: modules by part name, or wishes that say more.
        layout: the table, or its name in `layouts`; None takes the one that explains the file.
        layouts: tables to choose from.

    Returns:
        One account for each part.

    Raises:
        WeightsError: an array on either side is unexplained; the message holds the accounts and likely remedies.
    """
    wishes = _wishes(parts)
    _, planned = _checked(weights, wishes, layout, layouts or {})
    for wish, (_, arrays) in zip(wishes, planned, strict=True):
        _fill(wish.module, arrays)
    return tuple(account for account, _ in planned)


def accounts(
    weights: Weights,
    parts: Mapping[str, nn.Module] | Iterable[Wish],
    *,
    layout: Layout | str | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> tuple[Layout, tuple[Account, ...]]:
    """What `transfer` would do, without doing it: the table it takes and one account a part; raises as it does."""
    table, planned = _checked(weights, _wishes(parts), layout, layouts or {})
    return table, tuple(account for account, _ in planned)


def _checked(
    weights: Weights, wishes: Sequence[Wish], layout: Layout | str | None, layouts: Mapping[str, Layout]
) -> tuple[Layout, list[tuple[Account, dict[str, Tensor]]]]:
    table = _chosen(weights, wishes, layout, layouts)
    try:
        planned = [_planned(weights, wish, table) for wish in wishes]
        _check_ties(weights, wishes, table)
    except WeightsError as error:
        raise WeightsError(f"{weights.path}: {error}") from error
    if not all(account.complete for account, _ in planned):
        lines = [line for account, _ in planned for line in account.lines()]
        lines += _listed("for parts that nobody asked for", _elsewhere(weights, wishes, table))
        lines += _remedies(weights, wishes, table, [account for account, _ in planned], layouts)
        heading = f"{weights.path}: does not fit (layout {table.name!r}); nothing was changed"
        raise WeightsError(problems(heading, dict.fromkeys([*weights.notes, *lines])))
    return table, planned


def _check_ties(weights: Weights, wishes: Sequence[Wish], table: Layout) -> None:
    """Refuse to take one of two tied parts while the file's other one is different."""
    for tie in table.ties:
        asked = {wish.file_part: wish for wish in wishes if wish.file_part in tie.parts}
        if len(asked) == 1:
            ((taken, wish),) = asked.items()
            names = renamed(weights.arrays, wish.rename)
            arrays = {name: weights.arrays[source] for name, source in names.items()}
            require_equal(tie, taken, translate(table, names), arrays)


def _elsewhere(weights: Weights, wishes: Sequence[Wish], table: Layout) -> list[str]:
    """Arrays of a file that its table gives to no wished part, by our names."""
    translations = [translate(table, renamed(weights.arrays, wish.rename)).made for wish in wishes]
    roots = tuple(f"{wish.file_part}." for wish in wishes)
    return [name for name in dict.fromkeys(n for made in translations for n in made) if not name.startswith(roots)]


def _wishes(parts: Mapping[str, nn.Module] | Iterable[Wish]) -> list[Wish]:
    if isinstance(parts, Mapping):
        return [Wish(part=name, module=module, file_part=name) for name, module in parts.items()]
    return list(parts)


def _fill(module: nn.Module, arrays: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    on_meta = any(array.is_meta for array in own.values())
    # Copies, since parts that one array feeds must not share it, nor with the file.
    cast = {name: array.to(own[name].dtype, copy=True) for name, array in arrays.items()} if on_meta else arrays
    module.load_state_dict({**own, **cast}, strict=True, assign=on_meta)


def renamed(names: Iterable[str], rename: Mapping[str, str]) -> dict[str, str]:
    """New name -> name in the file, after prefixes were exchanged; the longest prefix that fits is taken.

    Raises:
        WeightsError: two names become one.
    """
    result: dict[str, str] = {}
    for name in names:
        fitting = [old for old in rename if name.startswith(old)]
        old = max(fitting, key=len) if fitting else None
        new = name if old is None else rename[old] + name.removeprefix(old)
        if new in result:
            raise WeightsError(f"rename: {result[new]!r} and {name!r} become one name, {new!r}")
        result[new] = name
    return result


@dataclass(kw_only=True)
class _Sorting:
    """Where each array of a file belongs, as it is worked out for one part."""

    arrays: dict[str, Tensor] = field(default_factory=dict)
    wrong_shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    wrong_type: list[tuple[str, str, str]] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)

    def take(self, wish: Wish, name: str, array: Tensor, target: Tensor) -> None:
        """Take an array for one of the part's, or note why it does not fit."""
        if array.is_floating_point() != target.is_floating_point():
            self.wrong_type.append((name, _worded(array.dtype), _worded(target.dtype)))
            return
        if array.shape != target.shape and wish.resize:
            array = _adapted(wish, name, array, target)
            self.resized.append(name)
        if array.shape == target.shape:
            self.arrays[name] = array
        elif any(re.fullmatch(pattern, name) for pattern in wish.reinitialise):
            self.fresh.append(name)
        else:
            self.wrong_shape.append((name, tuple(array.shape), tuple(target.shape)))

    def seen(self) -> set[str]:
        """The part's arrays that the file has, fitting or not."""
        return {*self.arrays, *self.fresh, *(name for name, *_ in (*self.wrong_shape, *self.wrong_type))}


def _worded(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _planned(weights: Weights, wish: Wish, table: Layout) -> tuple[Account, dict[str, Tensor]]:
    """Work out what the file gives one part, without changing anything."""
    names = renamed(weights.arrays, wish.rename)
    translation = translate(table, names, resize=wish.resize is not None)
    own = wish.module.state_dict()
    prefix = f"{wish.file_part}."
    found = _Sorting()
    surplus: set[str] = set()
    for name, why in translation.dropped.items():
        found.dropped.setdefault(why, []).append(name)
    for ours, made in translation.made.items():
        name = ours.removeprefix(prefix)
        if not ours.startswith(prefix):
            continue
        if name in own:
            found.take(wish, name, made.make([weights.arrays[names[source]] for source in made.sources]), own[name])
        elif (reason := _reason(translation.surplus, ours)) is not None:
            # An array that several of ours are made of is left once.
            if surplus.isdisjoint(made.sources):
                found.dropped.setdefault(reason, []).append(ours)
            surplus.update(made.sources)
        else:
            found.unexpected.append(ours)
    for ours, array in _cut(weights, wish, translation, own, found).items():
        found.take(wish, ours, array, own[ours])
    missing, kept = _absent(wish, translation, own, found.seen())
    if found.fresh:
        kept[_REINITIALISED] = found.fresh
    account = Account(
        part=wish.part,
        source=str(weights.path),
        layout=table.name,
        arrays=(len(found.arrays), len(own)),
        values=(sum(a.numel() for a in found.arrays.values()), sum(a.numel() for a in own.values())),
        missing=tuple(missing),
        unexpected=(*found.unexpected, *(names[name] for name in translation.unknown)),
        wrong_shape=tuple(found.wrong_shape),
        wrong_type=tuple(found.wrong_type),
        dropped={why: tuple(group) for why, group in found.dropped.items()},
        kept={why: tuple(group) for why, group in kept.items()},
        resized=tuple(found.resized),
        notes=weights.notes,
    )
    return account, found.arrays


def _cut(
    weights: Weights, wish: Wish, translation: Translation, own: Mapping[str, Tensor], found: _Sorting
) -> dict[str, Tensor]:
    """Arrays of a part out of a file that holds numbers in a row, without names or shapes."""
    arrays: dict[str, Tensor] = {}
    for rule, source in translation.flat:
        values, at = weights.arrays[source].reshape(-1), 0
        for ours in rule.to:
            name = ours.removeprefix(f"{wish.file_part}.")
            if ours == name or name not in own or at + own[name].numel() > len(values):
                continue
            arrays[name] = values[at : at + own[name].numel()].reshape(own[name].shape)
            at += own[name].numel()
        if arrays and at < len(values):
            found.dropped.setdefault(rule.why, []).append(f"{len(values) - at:,} numbers")
    return arrays


def _adapted(wish: Wish, name: str, array: Tensor, target: Tensor) -> Tensor:
    assert wish.resize is not None
    if wish.resize not in ADAPTERS:
        raise WeightsError(unknown("adapter", wish.resize, ADAPTERS))
    try:
        return ADAPTERS[wish.resize](array, target, wish.module)
    except WeightsError as error:
        raise WeightsError(f"part {wish.part!r}, {name}: {error}") from error


def _reason(rules: Sequence[object], name: str) -> str | None:
    return next((rule.why for rule in rules if re.fullmatch(rule.pattern, name)), None)  # type: ignore[attr-defined]


def _absent(
    wish: Wish, translation: Translation, own: Mapping[str, Tensor], present: set[str]
) -> tuple[list[str], dict[str, list[str]]]:
    """The part's arrays that the file does not feed: missing, or kept with a reason."""
    missing: list[str] = []
    kept: dict[str, list[str]] = {}
    for name in own:
        if name in present:
            continue
        why = _reason(translation.keep, f"{wish.file_part}.{name}")
        if why is None and any(re.fullmatch(pattern, name) for pattern in wish.allow_missing):
            why = "allow_missing"
        (kept.setdefault(why, []) if why else missing).append(name)
    return missing, kept


def _chosen(
    weights: Weights, wishes: Sequence[Wish], layout: Layout | str | None, layouts: Mapping[str, Layout]
) -> Layout:
    if isinstance(layout, Layout):
        return layout
    if layout is not None:
        if layout not in layouts and layout != OWN.name:
            raise WeightsError(unknown("layout", layout, [*layouts, OWN.name]))
        return layouts.get(layout, OWN)
    if "gradatim" in weights.metadata:
        return OWN
    fitting = _fullest(weights, wishes, layouts)
    if len(fitting) > 1:
        raise WeightsError(f"{weights.path}: several layouts explain it: {', '.join(fitting)}; name one with `layout`")
    return layouts[fitting[0]] if fitting else _nearest(weights, layouts)


def matching_layouts(weights: Weights, wishes: Sequence[Wish], layouts: Mapping[str, Layout]) -> list[str]:
    """Names of the layouts that explain every array of a file for the wished parts."""
    return [name for name, table in layouts.items() if _explains(weights, wishes, table)]


def _fullest(weights: Weights, wishes: Sequence[Wish], layouts: Mapping[str, Layout]) -> list[str]:
    """Of the layouts that explain a file, those that load the most arrays: one may drop what another knows."""
    fitting = [name for name in matching_layouts(weights, wishes, layouts) if has_fields(weights, layouts[name])]
    loaded = {name: sum(_planned(weights, wish, layouts[name])[0].arrays[0] for wish in wishes) for name in fitting}
    return [name for name in fitting if loaded[name] == max(loaded.values())]


def has_fields(weights: Weights, table: Layout) -> bool:
    """Whether what lies beside a file's arrays is what its layout says."""
    fields = json.loads(weights.metadata.get(FIELDS, "{}"))
    return all((name.removeprefix("!") in fields) != name.startswith("!") for name in table.fields)


def _explains(weights: Weights, wishes: Sequence[Wish], table: Layout) -> bool:
    try:
        return all(_planned(weights, wish, table)[0].complete for wish in wishes)
    except (WeightsError, RuntimeError):
        return False


def recognised(weights: Weights, layouts: Mapping[str, Layout]) -> list[str]:
    """Names of the layouts that know every name in a file."""
    if "gradatim" in weights.metadata:
        return [OWN.name]
    return [
        name
        for name, table in layouts.items()
        if not translate(table, weights.arrays).unknown and has_fields(weights, table)
    ]


def _nearest(weights: Weights, layouts: Mapping[str, Layout]) -> Layout:
    """The layout that knows the most names of a file, or our own names."""

    def known(table: Layout) -> int:
        return len(weights.arrays) - len(translate(table, weights.arrays).unknown)

    best = max(layouts.values(), key=known, default=OWN)
    return best if layouts and known(best) else OWN


def _remedies(
    weights: Weights, wishes: Sequence[Wish], table: Layout, accounts: Sequence[Account], layouts: Mapping[str, Layout]
) -> list[str]:
    """What would probably be right: another layout, a prefix, or a resize."""
    others = [name for name in matching_layouts(weights, wishes, layouts) if name != table.name]
    if others:
        return [f"remedy: the file has layout {others[0]!r}; say `layout: {others[0]}`"]
    kinds = [name for name in recognised(weights, layouts) if name != table.name]
    result = [f"the file's names are those of layout {kinds[0]!r} ({layouts[kinds[0]].summary})"] if kinds else []
    prefix = _fixing_prefix(weights, wishes, table, layouts)
    if prefix:
        result.append(f"remedy: `rename: {{{prefix[0]!r}: {prefix[1]!r}}}` would make the names fit")
    if any("pos" in name for account in accounts for name, _, _ in account.wrong_shape):
        result.append("remedy: `resize: position` fits tables of positions to the part's grid")
    elif any(account.wrong_shape for account in accounts):
        result.append(
            "remedy: set the plan's `model` to the sizes that the file was trained with; or, for layers that shall "
            "start fresh where they differ, say `reinitialise: ['.*']`"
        )
    return result


def _fixing_prefix(
    weights: Weights, wishes: Sequence[Wish], table: Layout, layouts: Mapping[str, Layout]
) -> tuple[str, str] | None:
    """An exchange of prefixes after which the file would explain itself."""
    heads = {
        name[: i + 1] for name in weights.arrays for i, c in enumerate(name) if c == "." and name.count(".", 0, i) < 3
    }
    common = [head for head in sorted(heads) if all(name.startswith(head) for name in weights.arrays)]
    tries = [(head, "") for head in common] + [("", f"{wish.file_part}.") for wish in wishes]
    tries += [(head, f"{wish.file_part}.") for head in common for wish in wishes]
    for old, new in tries:
        again = [_with_rename(wish, {old: new}) for wish in wishes]
        if any(_explains(weights, again, one) for one in {table.name: table, **layouts, OWN.name: OWN}.values()):
            return old, new
    return None


def _with_rename(wish: Wish, rename: Mapping[str, str]) -> Wish:
    return replace(wish, rename=rename)
