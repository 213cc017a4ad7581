"""Text tables of plans and runs, from JSON values; imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

STYLES = {
    "trained": "bold green",
    "passes gradient": "yellow",
    "no gradient": "cyan",
    "cached": "cyan",
    "unused": "dim",
}


def counted(number: float) -> str:
    """A count in a few characters: 18.4 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(int(number))


def sized(size: float | None) -> str:
    """A number of bytes in a few characters: 1.2 GB."""
    if size is None:
        return "?"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{int(size)} B"


def timed(seconds: float) -> str:
    """A duration: 1:02:03 or 4:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def plan_table(told: Mapping[str, Any]) -> Table:
    """Stage x part: state, arrays, values, origin, lr; and each stage's memory."""
    table = Table(title=f"{told['system']}, seed {told['seed']}", title_justify="left")
    for column in ("stage", "part", "state", "origin"):
        table.add_column(column, overflow="fold")
    for column in ("arrays", "values", "lr"):
        table.add_column(column, justify="right")
    for stage in told["stages"]:
        head = [
            stage["name"],
            f"task {stage['task']}",
            f"{stage['length']}, batch {stage['batch_size']}{_cut(stage['accumulate'])}",
            *_losses(stage),
        ]
        head.append(f"memory {_memory(stage['memory'])}")
        head += feature_lines(stage.get("features"))
        if stage.get("prepared"):
            head.append(f"before it, {stage['prepared']['by']} makes {stage['prepared']['file']}")
        rows = list(stage["parts"].items())
        for line in range(max(len(head), len(rows))):
            left = Text(head[line] if line < len(head) else "", style="bold" if line == 0 else "")
            table.add_row(left, *(_part_cells(*rows[line]) if line < len(rows) else ()))
        table.add_section()
    return table


def _cut(accumulate: int | str) -> str:
    """How a batch is gone through in pieces."""
    if accumulate == "auto":
        return ", cut to fit the memory"
    return f" x {accumulate}" if accumulate != 1 else ""


def _losses(stage: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, losses in stage["losses"].items():
        terms = " + ".join(loss if weight == 1 else f"{weight:g} {loss}" for loss, weight in losses.items())
        lines.append(terms if name == "main" else f"{name}: {terms}")
    return lines


def _memory(memory: Mapping[str, Any] | None) -> str:
    if memory is None:
        return "?"
    more = "" if memory["activations"] is not None else " without activations"
    return f"about {sized(memory['total'])}{more}"


def feature_lines(features: Mapping[str, Any] | None) -> list[str]:
    """What a stage keeps in feature stores, in lines for a table."""
    if features is None:
        return []
    if features["why"]:
        return [f"no features: {features['why']}"]
    lines = [f"features {', '.join(features['values'])}"]
    if features["samples"] is None:
        lines.append(f"{sized(features['bytes_per_sample'])} a sample; the data are not there")
    else:
        lines.append(f"{sized(features['bytes'])} for {counted(features['samples'])} samples")
    seconds = features["seconds"]
    lines.append("time: gradatim features --estimate" if seconds is None else f"about {duration(seconds)} to compute")
    return [*lines, f"{sized(features['free'])} free"]


def duration(seconds: float) -> str:
    """About how long: 12 s, 4.5 min, 3.2 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


def _part_cells(part: str, row: Mapping[str, Any]) -> list[Any]:
    state = Text(row["state"], style=STYLES.get(row["state"], ""))
    lr = row["lr"]
    rate = "" if lr is None else f"{lr:g}" if isinstance(lr, float | int) else ", ".join(f"{v:g}" for v in lr.values())
    return [part, state, row["origin"] or "", str(row["arrays"]), counted(row["values"]), rate]


def rows_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A plain table; numbers to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in rows) if rows else False
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    return table
