"""Sources: weights from files, the hub, other runs, or fresh, into parts, with their lineage."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gradatim.engine.build import build_part, outline_part
from gradatim.errors import RunError, WeightsError, unknown
from gradatim.plan.sources import CheckpointSource, FileSource, HubSource, RunSource, Source
from gradatim.plan.stage import Stage
from gradatim.runs.folder import RunFolder
from gradatim.runs.lineage import Lineage, Origin
from gradatim.system import System
from gradatim.weights import (
    Account,
    Layout,
    Weights,
    Wish,
    accounts,
    file_digest,
    header_of,
    hub_file,
    part_digest,
    read_weights,
    transfer,
)


@dataclass(frozen=True, kw_only=True)
class Builder:
    """What parts are built from.

    Args:
        system: the system.
        settings: its settings, complete.
        seed: of the plan.
        allow: rules not to be applied.
    """

    system: System
    settings: Any
    seed: int
    allow: tuple[str, ...] = ()

    def fresh(self, part: str) -> nn.Module:
        """A part with fresh weights."""
        return build_part(self.system, self.settings, part, self.seed)

    def outline(self, part: str) -> nn.Module:
        """A part without memory."""
        return outline_part(self.system, self.settings, part)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A part with its weights and where they came from."""

    module: nn.Module
    lineage: Lineage
    account: Account | None = None


def load_sources(stage: Stage, builder: Builder, parts: Iterable[str]) -> dict[str, Loaded]:
    """Load the parts that a stage takes from outside the plan: fresh, files, the hub and other runs.

    Args:
        stage: resolved.
        builder: of parts.
        parts: names in the stage's `init` to load.

    Raises:
        WeightsError: with the account of every source that does not fit; no part is returned.
    """
    loaded: dict[str, Loaded] = {}
    wrong: list[str] = []
    chosen = {part: stage.init[part] for part in parts if "." not in part}
    for root, children in children_of(part for part in parts if "." in part).items():
        try:
            loaded[root] = _load_children(stage, root, children, builder)
        except (WeightsError, RunError) as error:
            wrong.append(str(error))
    for part, source in chosen.items():
        if source == "fresh":
            module = builder.fresh(part)
            origin = Origin(kind="fresh", digest=part_digest(module), detail={"seed": builder.seed})
            loaded[part] = Loaded(module=module, lineage=Lineage(part=part, origin=origin))
    for path, group in by_file(chosen).items():
        try:
            loaded |= _load_file(path, group, builder)
        except (WeightsError, RunError) as error:
            wrong.append(str(error))
    if wrong:
        raise WeightsError("\n".join(dict.fromkeys(wrong)))
    return loaded


def children_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Children by part, of names such as `teachers.videomae`."""
    found: dict[str, list[str]] = {}
    for name in names:
        root, _, child = name.partition(".")
        found.setdefault(root, []).append(child)
    return found


def _load_children(stage: Stage, root: str, children: Sequence[str], builder: Builder) -> Loaded:
    """A part whose children have sources of their own; together they explain all of it.

    Raises:
        WeightsError: a file does not fit, a child does not exist, or some array of the part has no source.
    """
    module = builder.fresh(root)
    problems_found = missing_children(stage, root, module)
    if problems_found:
        raise WeightsError("\n".join(problems_found))
    sources = {f"{root}.{child}": stage.init[f"{root}.{child}"] for child in children}
    details: dict[str, Any] = {name: "fresh" for name, source in sources.items() if source == "fresh"}
    for path, group in by_file(sources).items():
        for name, loaded in _load_file(path, group, builder, module).items():
            details[name] = {"kind": loaded.lineage.origin.kind, **loaded.lineage.origin.detail}
    origin = Origin(kind="children", digest=part_digest(module), detail=details)
    return Loaded(module=module, lineage=Lineage(part=root, origin=origin))


def missing_children(stage: Stage, root: str, module: nn.Module) -> list[str]:
    """What is wrong with the children of a part that a stage's `init` names."""
    children = children_of(name for name in stage.init if "." in name).get(root, [])
    known = dict(module.named_modules())
    wrong = [f"init.{root}.{child}: {unknown('child', child, [n for n in known if n])}" for child in children
             if child not in known]  # fmt: skip
    held = [name for name in module.state_dict() if not any(name.startswith(f"{child}.") for child in children)]
    if held and not wrong:
        bare = sorted({name.partition(".")[0] for name in held})
        names = ", ".join(bare)
        wrong.append(f"part {root!r} has no origin for {names}: stage {stage.name!r} names others of its children")
    return wrong


def check_sources(stages: Sequence[Stage], builder: Builder, *, download: bool = True) -> list[str]:
    """What is wrong with the files that stages take weights from; nothing is loaded or changed.

    Args:
        stages: resolved.
        builder: of parts.
        download: whether files of the hub may be fetched; else those that are not cached are told.
    """
    wrong: list[str] = []
    for stage in stages:
        for root in children_of(name for name in stage.init if "." in name):
            wrong += missing_children(stage, root, builder.outline(root))
        if wrong:
            continue
        for path, group in by_file(stage.init).items():
            try:
                weights = read_weights(_located(path, group, download=download))
                wishes = [_wish(part, source, _inside(part, builder.outline)) for part, source in group.items()]
                _fitting(weights, wishes, group, builder)
            except (WeightsError, RunError) as error:
                wrong.append(f"stage {stage.name!r}: {error}")
    return list(dict.fromkeys(wrong))


def by_file(init: Mapping[str, Source]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Group the parts that one file feeds by one layout: (kind, where, layout, resize) -> sources by part."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for part, source in init.items():
        if isinstance(source, CheckpointSource):
            key: tuple[Any, ...] = ("checkpoint", str(source.checkpoint), source.layout)
        elif isinstance(source, HubSource):
            key = ("hub", source.hub, source.revision, source.file, source.layout)
        elif isinstance(source, RunSource):
            key = ("run", str(source.run), source.stage, source.part or part)
        else:
            continue
        groups.setdefault(key, {})[part] = source
    return groups


def _located(key: tuple[Any, ...], group: Mapping[str, Any], *, download: bool = True) -> Path:
    source = next(iter(group.values()))
    if isinstance(source, HubSource):
        return hub_file(source.hub, revision=source.revision, file=source.file, download=download)
    if isinstance(source, RunSource):
        return weights_in_run(source.run, source.stage, source.part or next(iter(group)))
    return Path(source.checkpoint)


def weights_in_run(run: Path, stage: str | None, part: str) -> Path:
    """The file of a run that holds a part as it was after a stage, or after the last one.

    Raises:
        RunError: no such run, stage or part in it, or the stage is not finished.
    """
    folder = RunFolder(run)
    if not folder.exists():
        raise RunError(f"{run}: no run there")
    records = folder.stage_records()
    if stage is not None and stage not in records:
        raise RunError(f"{run}: unknown finished stage: {unknown('stage', stage, records)}")
    names = list(records)
    upto = names[: names.index(stage) + 1] if stage else names
    for name in reversed(upto):
        if part in records[name]["saved"]:
            return folder.stage(int(records[name]["number"]), name) / "weights.safetensors"
    raise RunError(f"{run}: no finished stage has saved part {part!r}")


def _layout(group: Mapping[str, Any]) -> str | None:
    source = next(iter(group.values()))
    return source.layout if isinstance(source, FileSource) else "gradatim"


def _wish(part: str, source: Any, module: nn.Module) -> Wish:
    file_part = source.part or part.partition(".")[0]
    if not isinstance(source, FileSource):
        return Wish(part=part, module=module, file_part=file_part)
    return Wish(
        part=part,
        module=module,
        file_part=file_part,
        rename=source.rename,
        allow_missing=source.allow_missing,
        reinitialise=source.reinitialise,
        resize=source.resize,
    )


def _inside(name: str, build: Callable[[str], nn.Module]) -> nn.Module:
    """A part, or a child of one."""
    root, _, child = name.partition(".")
    return build(root).get_submodule(child) if child else build(root)


def _load_file(
    key: tuple[Any, ...], group: Mapping[str, Any], builder: Builder, whole: nn.Module | None = None
) -> dict[str, Loaded]:
    """Load parts, or children of the part `whole`, from a file."""
    path = _located(key, group)
    weights = read_weights(path)
    modules = {name: _inside(name, builder.fresh if whole is None else lambda root: whole) for name in group}
    wishes = [_wish(part, source, modules[part]) for part, source in group.items()]
    table = _fitting(weights, wishes, group, builder)
    done = transfer(weights, wishes, layout=table)
    told = header_of(weights).get("lineage", {})
    digest = file_digest(path)
    result = {}
    for wish, account in zip(wishes, done, strict=True):
        before = told.get(wish.file_part)
        detail = {**_detail(group[wish.part]), "file": str(path.resolve()), "file_digest": digest, "layout": table.name}
        detail["loaded"] = account.counted
        if account.kept or account.resized or account.dropped:
            detail["account"] = "; ".join(account.lines())
            detail["except"] = "; ".join(account.exceptions())
        origin = Origin(kind=key[0], digest=part_digest(wish.module), detail=detail)
        lineage = Lineage(part=wish.part, origin=origin, before=Lineage.from_json(before) if before else None)
        result[wish.part] = Loaded(module=wish.module, lineage=lineage, account=account)
    return result


def _detail(source: Any) -> dict[str, Any]:
    if isinstance(source, HubSource):
        return {"hub": source.hub, "revision": source.revision}
    if isinstance(source, RunSource):
        return {"run": str(source.run), "stage": source.stage}
    return {}


def _fitting(weights: Weights, wishes: Sequence[Wish], group: Mapping[str, Any], builder: Builder) -> Layout:
    """The table by which a file feeds parts.

    Raises:
        WeightsError: the file does not fit, or its weights mean nothing under a setting of the plan's model. What the
            file itself tells comes first, since it says why arrays are missing.
    """
    recorded = header_of(weights).get("model", {})
    roots = [(part.partition(".")[0], source) for part, source in group.items()]
    files = {(part, source.part or part): None for part, source in roots}
    for part, file_part in files:
        kept = {name: (recorded[name],) for name in builder.system.fixed.get(part, ()) if name in recorded}
        _check_settings(weights, file_part, kept, builder)
    table, _ = accounts(weights, wishes, layout=_layout(group), layouts=builder.system.layouts)
    for _, file_part in files:
        _check_settings(weights, file_part, table.requires.get(file_part, {}), builder)
    return table


def _check_settings(weights: Weights, file_part: str, demands: Mapping[str, Sequence[Any]], builder: Builder) -> None:
    """Refuse weights whose meaning depends on a setting that the plan's model has otherwise."""
    ours = builder.settings.model_dump(mode="json")
    for name, values in demands.items():
        if ours.get(name) not in values and name not in builder.allow:
            raise WeightsError(
                f"{weights.path}: part {file_part!r} was trained with {name} {' or '.join(map(repr, values))}, "
                f"the plan's model has {ours.get(name)!r}; set `model: {{{name}: {values[0]}}}`, or say "
                f"`allow: [{name}]` to go on training it with {ours.get(name)!r}"
            )


def described(source: Source | None) -> str:
    """A source in a few words, for tables."""
    if source is None:
        return "stage before"
    if isinstance(source, str):
        return source
    kind = next(kind for kind in ("checkpoint", "hub", "run", "stage") if hasattr(source, kind))
    return f"{kind} {getattr(source, kind)}"
