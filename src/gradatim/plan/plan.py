"""A plan: ordered stages of one system, with what they share."""

from collections.abc import Mapping
from typing import Any

from gradatim.plan.sources import NamedSource, Settings, Source
from gradatim.plan.stage import Stage, StageDefaults


class Plan(Settings):
    """What to do, from pretrained pieces to a finished model; holds no tensors and opens no files.

    Args:
        system: name of the system, a folder of `gradatim.systems` or an installed package.
        seed: of everything random; equal plans and seeds give equal weights.
        model: sizes of the parts, the system's settings.
        sources: origins that several parts share, by name; `init` refers to one as `{source: NAME}`.
        defaults: settings of every stage that does not set them itself.
        allow: rules of the system that are not to be applied, and settings that weights may be taken under another
            value of.
        stages: in the order in which they run.
    """

    system: str
    seed: int = 0
    model: Mapping[str, Any] = {}
    sources: Mapping[str, Source] = {}
    defaults: StageDefaults = StageDefaults()
    allow: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()

    def resolved(self) -> "Plan":
        """The same plan with defaults merged into the stages and named sources put in place.

        A stage's own settings win; mappings such as `data` and `guards` are merged key by key.
        """
        shared = self.defaults.model_dump(exclude_unset=True, by_alias=True)
        stages = tuple(self._resolved_stage(stage, shared) for stage in self.stages)
        return self.model_copy(update={"stages": stages, "defaults": StageDefaults(), "sources": {}})

    def _resolved_stage(self, stage: Stage, shared: Mapping[str, Any]) -> Stage:
        own = stage.model_dump(exclude_unset=True, by_alias=True)
        length = {"epochs", "steps"}
        if length & own.keys():
            shared = {key: value for key, value in shared.items() if key not in length}
        init = {part: self._resolved_source(source) for part, source in stage.init.items()}
        return Stage.model_validate({**merged(shared, own), "init": init})

    def _resolved_source(self, source: Source) -> Source:
        if not isinstance(source, NamedSource):
            return source
        named = self.sources[source.source]
        if source.part is None or isinstance(named, str):
            return named
        return named.model_copy(update={"part": source.part})

    def stage_named(self, name: str) -> Stage:
        """The stage of that name; KeyError where there is none."""
        return {stage.name: stage for stage in self.stages}[name]


_WHOLE = frozenset({"train", "losses", "optimizer", "schedule", "updates"})


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; choices (`train`, `losses`, `schedule`, ...) are replaced whole."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        deep = isinstance(value, Mapping) and isinstance(old, Mapping) and key not in _WHOLE
        result[key] = merged(old, value) if deep else value  # type: ignore[arg-type]
    return result
