"""The golden rule: LoFTR -> dense registration -> matcher, each arrow a transfer of weights, none skipped.

A matcher's transformer must descend from a stage that trained it for dense registration. That is read from where
weights come from, never from the name of a file: from the plan's own stages, from the lineage that our files and runs
tell, and from what a foreign file holds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gradatim.errors import GradatimError
from gradatim.plan import Plan, Rule, Stage
from gradatim.plan.sources import CheckpointSource, HubSource, RunSource, Source, StageSource
from gradatim.runs.folder import RunFolder, read_json
from gradatim.runs.lineage import Lineage
from gradatim.systems.ifvit.layouts import LAYOUTS
from gradatim.weights import header_of, read_weights
from gradatim.weights.transfer import recognised

Found = Iterator[tuple[int, str, str]]
TRANSFORMERS = ("transformer", "local_transformer")
DENSE = "dense"
_MATCHERS: Mapping[str, tuple[str, ...]] = {"match": TRANSFORMERS[:1], "match_apart": TRANSFORMERS}
_TRAINED = ("dense", "matcher")
"""Layouts of files whose transformer was trained for dense registration."""


@dataclass(frozen=True)
class Descent:
    """Where a part's weights come from.

    Args:
        dense: whether a dense stage trained them.
        told: where they come from, in words.
        stage: the dense stage, or the file, that they were taken from.
    """

    dense: bool
    told: str
    stage: str = ""


_UNKNOWN = Descent(True, "a file that cannot be read, which is told elsewhere")


def descents(plan: Plan) -> list[Mapping[str, Descent]]:
    """Where each transformer's weights come from at the start of every stage."""
    now: dict[str, Descent] = {}
    ended: dict[str, dict[str, Descent]] = {}
    starts: list[Mapping[str, Descent]] = []
    for stage in plan.stages:
        now = {**now, **{part: _of(source, part, ended) for part, source in stage.init.items() if part in TRANSFORMERS}}
        starts.append(now)
        if stage.task == DENSE:
            learned = {name.partition(".")[0] for name in stage.trained()} & now.keys()
            now = {**now, **{part: Descent(True, f"stage {stage.name!r}", stage.name) for part in learned}}
        ended[stage.name] = now
    return starts


def _of(source: Source, part: str, ended: Mapping[str, Mapping[str, Descent]]) -> Descent:
    if isinstance(source, StageSource):
        # A stage that is not there is told elsewhere.
        return ended.get(source.stage, {}).get(source.part or part, _UNKNOWN)
    if isinstance(source, RunSource):
        return _of_run(source, source.part or part)
    if isinstance(source, CheckpointSource):
        return _of_file(source, source.part or part)
    if isinstance(source, HubSource):
        known = source.layout is None or source.layout in _TRAINED
        return Descent(known, f"{source.hub} (layout {source.layout!r})", source.hub)
    return Descent(False, "fresh weights")


def _of_run(source: RunSource, part: str) -> Descent:
    folder = RunFolder(source.run)
    try:
        records = folder.stage_records()
        name = source.stage or max(records, key=lambda one: int(records[one]["number"]))
        told = read_json(folder.stage(int(records[name]["number"]), name) / "lineage.json")
        lineage = Lineage.from_json(told[part])
    except (GradatimError, KeyError, ValueError):
        return _UNKNOWN
    return Descent(_was_dense(lineage), f"run {source.run}, stage {name!r}", str(source.run))


def _of_file(source: CheckpointSource, part: str) -> Descent:
    path: Path = source.checkpoint
    try:
        weights = read_weights(path)
        told = header_of(weights).get("lineage", {})
    except GradatimError:
        return _UNKNOWN
    if told:
        dense = part in told and _was_dense(Lineage.from_json(told[part]))
        return Descent(dense, f"{path.name}, which no dense stage has trained", str(path))
    layout = source.layout or next(iter(recognised(weights, LAYOUTS)), None)
    return Descent(layout in _TRAINED, f"{path.name} (layout {layout!r})", str(path))


def _was_dense(lineage: Lineage | None) -> bool:
    while lineage is not None:
        if lineage.origin.detail.get("layout") in _TRAINED or any(one.task == DENSE for one in lineage.passages):
            return True
        lineage = lineage.before
    return False


def _matchers(plan: Plan) -> Iterator[tuple[int, Stage, Mapping[str, Descent]]]:
    """Matcher stages that begin with weights which no matcher stage of the plan has trained."""
    for index, (stage, start) in enumerate(zip(plan.stages, descents(plan), strict=True)):
        if stage.task in _MATCHERS:
            yield index, stage, start


def _golden(plan: Plan) -> Found:
    for index, stage, start in _matchers(plan):
        for part in _MATCHERS[stage.task]:
            if part in start and not start[part].dense:
                yield index, "init", f"the matcher's {part!r} starts from {start[part].told}"


def _apart(plan: Plan) -> Found:
    for index, stage, start in _matchers(plan):
        if stage.task != "match_apart" or not all(part in start for part in TRANSFORMERS):
            continue
        whole, local = (replace(start[part], told="") for part in TRANSFORMERS)
        if whole == local and whole.stage:
            yield index, "task", f"both transformers start from {whole.stage!r}, where one was trained"


RULES: Mapping[str, Rule] = {
    "golden-rule": Rule(
        why="it would lose what dense registration teaches; train a stage with task `dense` before this one, or take "
        "the transformer from such a stage, its run or its file",
        check=_golden,
    ),
    "two-transformers": Rule(
        why="they drift apart and take twice the room; task `match` shares one",
        check=_apart,
    ),
}
