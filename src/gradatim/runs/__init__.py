"""A run's folder: its plan, events, stages, progress, lineage and keys."""

from gradatim.runs.events import EventLog, read_events
from gradatim.runs.folder import RunFolder, next_folder
from gradatim.runs.keys import stage_key
from gradatim.runs.lineage import Lineage, Origin, Passage
from gradatim.runs.progress import Snapshot, SnapshotWriter, latest_snapshot

__all__ = [
    "EventLog",
    "Lineage",
    "Origin",
    "Passage",
    "RunFolder",
    "Snapshot",
    "SnapshotWriter",
    "latest_snapshot",
    "next_folder",
    "read_events",
    "stage_key",
]
