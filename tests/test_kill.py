"""A run that is killed twenty times, at start-up, in training and at the ends of stages, ends with the same bits.

A moment is told by the run's own events and not by the clock, so a slow machine is killed at the same steps;
a small random delay after the event spreads the blows over whatever the process does then. Processes that shall live
beyond their start-up are forked from one that has loaded torch already.
"""

import json
import os
import random
import signal
import time

import pytest
import torch

from commandline import process, started
from forked import Forked
from gradatim.runs import read_events
from gradatim.weights import header_of, read_weights
from tiny import DEMO, STAGES, scenes, sets

STEPS = 150
KILLS = 20
PLAN = [
    *DEMO, *(f"stages.{stage}.steps={STEPS}" for stage in STAGES), "defaults.log_every=5", "defaults.snapshot_every=10"
]  # fmt: skip
BEGIN = ["run", "maefuse/demo", *sets(*PLAN), "--out", "runs/one"]


def moments(seed):
    """(stage, step, delay): in training and at ends of stages in rising order, at start-up in between."""
    draw = random.Random(seed)
    inside = [(draw.randint(1, len(STAGES)), draw.randrange(5, STEPS, 5)) for _ in range(9)]
    ends = [(number, STEPS) for number in draw.sample(range(1, len(STAGES)), 4)]
    chosen = [(stage, step, draw.uniform(0, 0.06)) for stage, step in sorted((*inside, *ends, (1, 5), (6, STEPS)))]
    for _ in range(KILLS - len(chosen)):
        chosen.insert(draw.randint(0, len(chosen) - 1), (0, 0, draw.uniform(0.1, 2.5)))
    return chosen


def position(lines):
    """(stage, step) that the newest events tell of."""
    stage, step = 0, 0
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event["event"] == "stage":
            stage, step = STAGES.index(event["stage"]) + 1, STEPS if event["state"] != "started" else 0
        elif event["event"] == "step":
            step = event["step"]
    return stage, step


def begun(place, words):
    """A command in a folder at once, with what it tells beside the folder and the features of all."""
    features = os.environ["GRADATIM_FEATURES"]
    return Forked(place, *words, told=place.with_suffix(".txt"), GRADATIM_FEATURES=features)


def kill_at(place, words, moment):
    """Start a command and kill it at a moment; the position at which it died."""
    stage, step, delay = moment
    events = place / "runs" / "one" / "events.jsonl"
    before = events.stat().st_size if events.is_file() else 0
    running = begun(place, words) if stage else started(*words, cwd=place)

    def now():
        if not events.is_file():
            return 0, 0
        with events.open("rb") as file:
            file.seek(before)
            return position(file.read().decode(errors="replace").splitlines())

    while now() < (stage, step):
        assert running.poll() is None, f"ended by itself before {moment}: {running.communicate()}"
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL, f"ended by itself at {moment}"
    return now()


def figures(folder):
    """Losses, rates, metrics and drifts that count."""
    return [
        {key: event[key] for key in ("stage", "step", "losses", "lr", "value", "parts") if key in event}
        for event in read_events(folder / "events.jsonl")
        if event["event"] in ("step", "validation", "drift")
    ]


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits_as_one_that_was_not(tmp_path):
    for name in ("whole", "killed"):
        scenes(tmp_path / name / "pairs")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    answer = process(*BEGIN, cwd=whole)
    assert answer.code == 0, answer.err

    blows = []
    for moment in moments(seed=0):
        words = ["run", "runs/one"] if (killed / "runs/one/plan.yaml").is_file() else BEGIN
        blows.append(kill_at(killed, words, moment))
    last = process("run", "runs/one", cwd=killed)
    assert last.code == 0, last.err

    assert len(blows) == KILLS
    assert len({stage for stage, _ in blows}) >= 5
    lines = (killed / "runs/one/events.jsonl").read_text().splitlines()
    assert sum('"event": "resumed"' in line for line in lines) >= 5
    assert len(figures(whole / "runs/one")) > len(STAGES) * STEPS / 5
    assert figures(killed / "runs/one") == figures(whole / "runs/one")
    for file in ("model.safetensors", *(f"{n:02d}-{stage}/weights.safetensors" for n, stage in enumerate(STAGES, 1))):
        one, other = (read_weights(folder / "runs/one" / file) for folder in (killed, whole))
        assert header_of(one) == header_of(other), file
        assert one.arrays.keys() == other.arrays.keys()
        assert all(torch.equal(array, other.arrays[name]) for name, array in one.arrays.items()), file
    assert tree(killed) == tree(whole)


def tree(folder):
    """Names of all files; TensorBoard's bear the time of each process."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.parent.name != "tensorboard")
