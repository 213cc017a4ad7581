"""An extraction that is killed twenty times, or runs out of disk, ends with the files of one that was not.

A moment is told by the files that are there and not by the clock; a small random delay spreads the blows. Most
processes are forked from one that has loaded torch already; each still does what the command does, from its words on.
"""

import os
import random
import re
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest

from commandline import process, started
from forked import Forked
from tiny import scenes

KILLS = 20
SAMPLES, ROWS = 448, 4
STORES = 2
SHARDS = STORES * SAMPLES // ROWS
PLAN = """\
system: maefuse
model: {image_size: 32, patch_size: 4, width: 64, depth: 12, heads: 4, fusion_heads: 4}
stages:
  - name: merge
    task: align_fused
    init: {encoder: fresh, cfm: fresh, mfm: fresh}
    train: [mfm]
    losses: {fused_mean: 1}
    data: {root: pairs, size: 32, crops_per_image: 16, holdout: [scene_000, scene_001]}
    batch_size: 2
    epochs: 3
"""
# Both tokens of a sample take 2 * 64 * 64 * 4 bytes, so a shard holds ROWS samples of them.
SHARD_BYTES = ROWS * 2 * 64 * 64 * 4


def made(folder):
    """A folder with the plan and its scenes."""
    scenes(folder / "pairs", count=30, size=(32, 32))
    (folder / "plan.yaml").write_text(PLAN)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Such a folder; features lie inside."""
    monkeypatch.setenv("GRADATIM_FEATURES", str(tmp_path / "features"))
    monkeypatch.setenv("GRADATIM_SHARD_BYTES", str(SHARD_BYTES))
    return made(tmp_path)


class Watch:
    """What is seen of a folder of stores while commands work in it."""

    def __init__(self, folder):
        self.folder = folder
        self.finished = {}
        self.writers = defaultdict(set)

    def look(self):
        """Number of finished shards; none may change, and no two living processes may write the same one."""
        seen = defaultdict(set)
        # By plain names: this runs all the while beside the processes that are watched.
        for store in os.scandir(self.folder) if self.folder.is_dir() else []:
            for name in [file.name for file in os.scandir(store)]:
                if re.fullmatch(r"shard-.*\.json", name):
                    shard = Path(store.path, name.removesuffix(".json") + ".safetensors")
                    stat = shard.stat()
                    self.finished.setdefault(shard, (stat.st_ino, stat.st_mtime_ns))
                    assert self.finished[shard] == (stat.st_ino, stat.st_mtime_ns), f"{shard} was computed again"
                elif name.startswith(".shard-") and ".safetensors." in name and name.endswith(".part"):
                    pattern = r"\.shard-(\d+)\.safetensors\.(\d+)(?:\.payload)?\.part"
                    number, owner = re.fullmatch(pattern, name).groups()
                    self.writers[int(owner)].add(int(number))
                    seen[store.name, number].add(owner)
        for shard, owners in seen.items():
            assert len([owner for owner in owners if lives(owner)]) <= 1, f"{shard} is computed by {owners}"
        return len(self.finished)


def lives(owner):
    try:
        return Path(f"/proc/{owner}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def extraction(place, *words):
    """Start an extraction in a folder by the command itself."""
    return started("features", "plan.yaml", *words, cwd=place)


def forked(place, **environment):
    """Start an extraction in a folder at once; `RANK` and `WORLD_SIZE` as torchrun sets them."""
    return Forked(place, "features", "plan.yaml", **environment)


def pair(place):
    """Two processes as torchrun starts them."""
    return [forked(place, RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1)]


def helpers(running):
    """Processes that a command started to compute with it."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def until(running, done):
    latest = time.monotonic() + 120
    while not done():
        assert time.monotonic() < latest, "nothing happens"
        for one in running:
            assert one.poll() is None, f"ended by itself: {one.communicate()}"
        time.sleep(0.001)


def with_helper(place, watch):
    """An extraction of two processes, both of which compute by now."""
    running = extraction(place, "--workers", "2")
    until([running], lambda: watch.look() is not None and running.pid in watch.writers)
    (helper,) = helpers(running)
    # The helper loads torch; the command shall not be done before.
    os.kill(running.pid, signal.SIGSTOP)
    until([running], lambda: watch.look() is not None and helper in watch.writers)
    os.kill(running.pid, signal.SIGCONT)
    return running, helper


def blow(running, *victims):
    """Kill a process, and others with it; those that depend on it end by themselves."""
    for victim in (running.pid, *victims):
        os.kill(victim, signal.SIGKILL)
    try:
        running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    assert running.returncode == -signal.SIGKILL


def content(place):
    """Every file of the stores, byte for byte; when a store was used last is no part of it."""
    folder = place / "features"
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "used"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The files of an extraction that nothing disturbed."""
    folder = made(tmp_path_factory.mktemp("whole"))
    running = forked(folder, GRADATIM_SHARD_BYTES=str(SHARD_BYTES))
    told = running.communicate()
    assert running.returncode == 0, told
    found = content(folder)
    assert len([name for name in found if name.endswith(".safetensors")]) == SHARDS
    return found


def finished(place, watch, expected):
    """Let an extraction end, and compare its files."""
    before = watch.look()
    last = forked(place)
    told = last.communicate()
    assert last.returncode == 0, told
    assert 20 <= before < SHARDS, "the blows must fall while shards are computed"
    assert watch.look() == SHARDS
    assert content(place) == expected
    check = Forked(place, "features", "verify")
    assert f"{STORES} stores read, 0 damaged" in check.communicate()


@pytest.mark.slow
def test_one_process_killed_twenty_times_computes_no_finished_shard_again(place, expected):
    draw = random.Random(0)
    watch = Watch(place / "features")

    for number in range(KILLS):
        if number % 7 == 3:  # while it starts
            running = extraction(place)
            time.sleep(draw.uniform(0.2, 2.5))
        else:
            running, goal = forked(place), watch.look() + draw.randint(1, 7)
            until([running], lambda goal=goal: watch.look() >= goal)
            time.sleep(draw.uniform(0, 0.04))
        blow(running)
        watch.look()

    finished(place, watch, expected)


@pytest.mark.slow
def test_two_processes_killed_twenty_times_compute_no_finished_shard_again(place, expected):
    draw = random.Random(1)
    watch = Watch(place / "features")
    blows = 0

    while blows < KILLS:
        if blows % 5 == 0:  # the command, with its helper or so that the helper must notice
            running, helper = with_helper(place, watch)
            goal = watch.look() + draw.randint(1, 4)
            until([running], lambda goal=goal: watch.look() >= goal)
            blow(running, *([helper] if draw.random() < 0.5 else []))
            blows += 1
            continue
        both = pair(place)
        draw.shuffle(both)
        for running in both:
            goal = watch.look() + draw.randint(1, 5)
            until([running], lambda goal=goal: watch.look() >= goal)
            time.sleep(draw.uniform(0, 0.02))
            blow(running)
            blows += 1

    assert len([pid for pid, shards in watch.writers.items() if shards]) >= 10
    finished(place, watch, expected)


@pytest.mark.slow
def test_a_helper_that_dies_is_done_without(place):
    watch = Watch(place / "features")
    running, helper = with_helper(place, watch)
    os.kill(helper, signal.SIGKILL)
    told = running.communicate()

    assert running.returncode == 0, told
    assert watch.look() == SHARDS
    assert not [name for name in content(place) if name.endswith((".part", ".lock"))]


@pytest.mark.slow
def test_processes_of_torchrun_share_the_shards_and_wait_for_each_other(place, expected):
    watch = Watch(place / "features")
    first = forked(place, RANK="0", WORLD_SIZE="2")
    until([first], lambda: watch.look() is not None and watch.writers[first.pid])
    os.kill(first.pid, signal.SIGSTOP)
    watch.look()
    held = max(watch.writers[first.pid])
    second = forked(place, RANK="1", WORLD_SIZE="2")
    # The stopped process holds one shard; the other one computes all the rest and waits for it.
    until([second], lambda: watch.look() >= SHARDS - STORES)
    assert second.poll() is None
    os.kill(first.pid, signal.SIGCONT)
    told = [running.communicate() for running in (first, second)]

    assert [first.returncode, second.returncode] == [0, 0], told
    watch.look()
    assert held not in watch.writers[second.pid]
    assert min(watch.writers[second.pid]) == 1
    assert content(place) == expected


FULL = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
    "from gradatim.cli import script; script()"
)


@pytest.mark.slow
def test_a_full_disk_is_told_with_the_remedy_and_the_same_command_goes_on(place, expected):
    watch = Watch(place / "features")
    running = forked(place)
    until([running], lambda: watch.look() >= 20)
    blow(running)
    kept = watch.look()

    full = process("features", "plan.yaml", cwd=place, code=FULL)

    assert full.code == 1
    assert full.err.startswith("error: ")
    assert re.search(r"no room left while shard \d+ was written .*Finished shards are kept", full.err)
    assert "features prune --keep" in full.err
    assert not list((place / "features").rglob("*.part"))
    assert watch.look() == kept
    finished(place, watch, expected)


def test_what_is_no_number_of_bytes_is_refused(place):
    running = Forked(place, "features", "plan.yaml", GRADATIM_SHARD_BYTES="128MB")

    assert "GRADATIM_SHARD_BYTES: '128MB'; a number of bytes belongs there" in running.communicate()
    assert running.returncode == 1
