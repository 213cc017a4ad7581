"""What the benchmarks share: options, medians, and one table or JSON object on stdout."""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any


def options(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each way, taken in turn")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU")
    return parser


def in_turn(ways: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measure each way `repeats` times, one after the other in each round, so that noise meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return found


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    """Median of each way."""
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, rows: Sequence[tuple[str, str]], values: dict[str, Any], *, as_json: bool) -> None:
    """Print the values as JSON, or the rows as a table."""
    if as_json:
        json.dump(values, sys.stdout)
        print()
        return
    print(title)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
