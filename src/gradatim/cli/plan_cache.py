"""Explanations of plans that were explained before, so that looking at a plan again does not load torch.

The key holds the plan's text, the overrides, every source file of gradatim by size and time, and the size and time
of every file that the plan names. Plans of systems outside this package are not kept.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gradatim.files import write_json

_ROOT = Path(__file__).parents[1]
_KEPT = 200


def cached(plan: str, changes: tuple[str, ...], work: Callable[[], Any]) -> Any:
    """What `work` returned for this plan before, or what it returns now."""
    key = _key(plan, changes)
    if key is None:
        return work()
    path = _folder() / f"{key}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = work()
    try:
        write_json(path, told)
        _forget(path.parent)
    except OSError:
        pass  # A home that cannot be written costs time, not correctness.
    return told


def with_free_disk(told: dict[str, Any]) -> dict[str, Any]:
    """An explanation with the room that there is now for features; changes and returns it."""
    for stage in told["stages"]:
        features = stage["features"]
        if features and not features["why"]:
            folder = Path(features["folder"])
            known = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
            features["free"] = shutil.disk_usage(known).free
    return told


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "gradatim" / "plans"


def _forget(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in files[:-_KEPT]:
        path.unlink(missing_ok=True)


def _key(plan: str, changes: tuple[str, ...]) -> str | None:
    """None where the plan is not a file or recipe of a system of ours."""
    path = Path(plan)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else plan
    words = text.split()
    ours = {folder.name for folder in (_ROOT / "systems").iterdir() if folder.is_dir()}
    system = words[words.index("system:") + 1].strip("'\",") if "system:" in words[:-1] else plan.partition("/")[0]
    if path.is_dir() or system not in ours:
        return None
    named = (word.strip("'\",[]{}").partition("=")[2] or word.strip("'\",[]{}") for word in (*words, *changes))
    paths = list(_with_folders(map(Path, named)))
    facts = [
        plan,
        text,
        *changes,
        str(Path.cwd()),
        os.environ.get("GRADATIM_FEATURES", ""),
        *_facts(_ROOT.rglob("*.py")),
        *_facts(paths),
    ]
    return hashlib.blake2b("\0".join(facts).encode(), digest_size=16).hexdigest()


def _with_folders(paths: Iterable[Path]) -> Iterator[Path]:
    """Paths, and the folders two levels below those that are folders: a new file changes its folder's time."""
    for path in paths:
        yield path
        try:
            if path.is_dir() and path != Path():
                yield from (one for pattern in ("*", "*/*") for one in path.glob(pattern) if one.is_dir())
        except (OSError, ValueError):
            continue


def _facts(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        try:
            stat = path.stat()
        except (OSError, ValueError):
            continue
        yield f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
