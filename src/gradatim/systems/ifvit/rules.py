"""The golden rule: LoFTR -> dense registration -> matcher, each arrow a transfer of weights, none skipped.

A matcher's transformer must descend from a stage that trained it for dense registration. That is read from where
weights come from, never from the name of a file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gradatim.plan import Plan, Rule, Stage, StageSource
from gradatim.plan.prepared import MadeBy
from gradatim.plan.sources import RunSource, Source
from gradatim.plan.vocabulary import History
from gradatim.systems.ifvit.data import FingerprintSettings

Found = Iterator[tuple[int, str, str]]
TRANSFORMERS = ("transformer", "local_transformer")
DENSE = "dense"
_MATCHERS: Mapping[str, tuple[str, ...]] = {"match": TRANSFORMERS[:1], "match_apart": TRANSFORMERS}


@dataclass(frozen=True)
class _Taken:
    """Where a part's weights come from.

    Args:
        dense: whether dense registration trained them, as far as anybody can tell.
        told: where they come from, in words.
    """

    dense: bool
    told: str


Ended = Mapping[str, Mapping[str, _Taken]]


def _walked(plan: Plan, history: History) -> Iterator[tuple[int, Stage, Mapping[str, _Taken], Ended]]:
    """Stages, where their transformers come from, and where those of each stage before come from at its end."""
    now: dict[str, _Taken] = {}
    ended: dict[str, dict[str, _Taken]] = {}
    for index, stage in enumerate(plan.stages):
        inside = {part: _taken(source, part, ended, history) for part, source in stage.init.items()}
        now = {**now, **{part: taken for part, taken in inside.items() if part in TRANSFORMERS}}
        yield index, stage, now, ended
        if stage.task == DENSE:
            learned = {name.partition(".")[0] for name in stage.trained()} & now.keys()
            now = {**now, **{part: _Taken(True, f"stage {stage.name!r}") for part in learned}}
        ended[stage.name] = now


def _taken(source: Source, part: str, ended: Ended, history: History) -> _Taken:
    if isinstance(source, StageSource):
        # A stage or part that is not there is told elsewhere.
        return ended.get(source.stage, {}).get(source.part or part, _Taken(True, f"stage {source.stage!r}"))
    found = history(source, part)
    return _Taken(found.tasks is None or DENSE in found.tasks, found.told)


def _golden(plan: Plan, history: History) -> Found:
    for index, stage, taken, _ in _walked(plan, history):
        for part in _MATCHERS.get(stage.task, ()):
            if part in taken and not taken[part].dense:
                yield (
                    index,
                    "init",
                    f"the matcher's {part!r} starts from {taken[part].told}, untrained for registration",
                )


def _aligned(plan: Plan, history: History) -> Found:
    part = TRANSFORMERS[0]
    for index, stage, _, ended in _walked(plan, history):
        maker = FingerprintSettings.model_validate(dict(stage.data)).alignments
        if not isinstance(maker, MadeBy):
            continue
        source = StageSource(stage=maker.stage) if maker.run is None else RunSource(run=maker.run, stage=maker.stage)
        taken = _taken(source, part, ended, history)
        if not taken.dense:
            yield index, "data", f"`alignments` come from {part!r} of {taken.told}, untrained for registration"


def _apart(plan: Plan, history: History) -> Found:
    for index, stage, taken, _ in _walked(plan, history):
        if stage.task != "match_apart" or not all(part in taken for part in TRANSFORMERS):
            continue
        whole, local = (taken[part] for part in TRANSFORMERS)
        if whole == local and whole.dense:
            yield index, "task", f"two transformers start from {whole.told}, where one was trained"


RULES: Mapping[str, Rule] = {
    "golden-rule": Rule(
        why="what dense registration teaches would be lost; train a stage with task `dense` before this one, or take "
        "the transformer from such a stage, its run or its file",
        check=_golden,
        traces=True,
    ),
    "aligned-by-dense": Rule(
        why="its motions would be chance; name a stage after dense registration",
        check=_aligned,
        traces=True,
    ),
    "two-transformers": Rule(
        why="they drift apart and take twice the room; task `match` shares one",
        check=_apart,
        traces=True,
    ),
}
