"""What weights have been through, told by the lineage of our runs and files, and by what a foreign file is."""

from collections.abc import Mapping
from pathlib import Path

from gradatim.errors import GradatimError
from gradatim.plan.sources import CheckpointSource, HubSource, RunSource, Source
from gradatim.plan.vocabulary import Descent, History
from gradatim.runs.folder import RunFolder, read_json
from gradatim.runs.lineage import Lineage
from gradatim.weights import Layout, header_of, read_weights
from gradatim.weights.transfer import recognised

_UNKNOWN = Descent(None, "a file that cannot be read")


def history_of(layouts: Mapping[str, Layout]) -> History:
    """A function that tells the history of a source's weights.

    Args:
        layouts: of the system; they say which tasks foreign files stand for.
    """

    def told(source: Source, part: str) -> Descent:
        if isinstance(source, RunSource):
            return _of_run(source, source.part or part, layouts)
        if isinstance(source, CheckpointSource):
            return _of_file(source.checkpoint, source.layout, source.part or part, layouts)
        if isinstance(source, HubSource):
            return _foreign(source.hub, source.layout, layouts) if source.layout else _UNKNOWN
        return Descent(frozenset(), "fresh weights")

    return told


def _of_run(source: RunSource, part: str, layouts: Mapping[str, Layout]) -> Descent:
    folder = RunFolder(source.run)
    try:
        records = folder.stage_records()
        name = source.stage or max(records, key=lambda one: int(records[one]["number"]))
        told = read_json(folder.stage(int(records[name]["number"]), name) / "lineage.json")
        lineage = Lineage.from_json(told[part])
    except (GradatimError, KeyError, ValueError):
        # What is not there is told when the source is checked.
        return _UNKNOWN
    return Descent(_tasks(lineage, layouts), f"run {source.run}, stage {name!r}")


def _of_file(path: Path, layout: str | None, part: str, layouts: Mapping[str, Layout]) -> Descent:
    try:
        weights = read_weights(path)
        told = header_of(weights).get("lineage", {})
    except GradatimError:
        return _UNKNOWN
    if told:
        lineage = Lineage.from_json(told[part]) if part in told else None
        return Descent(_tasks(lineage, layouts), path.name)
    return _foreign(path.name, layout or next(iter(recognised(weights, layouts)), None), layouts)


def _foreign(name: str, layout: str | None, layouts: Mapping[str, Layout]) -> Descent:
    return Descent(_stands_for(layout, layouts), f"{name} (layout {layout!r})")


def _stands_for(layout: str | None, layouts: Mapping[str, Layout]) -> frozenset[str]:
    return frozenset(layouts[layout].tasks) if layout is not None and layout in layouts else frozenset()


def _tasks(lineage: Lineage | None, layouts: Mapping[str, Layout]) -> frozenset[str]:
    found: set[str] = set()
    while lineage is not None:
        found |= {one.task for one in lineage.passages}
        found |= _stands_for(lineage.origin.detail.get("layout"), layouts)
        lineage = lineage.before
    return frozenset(found)
