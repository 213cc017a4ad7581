"""Training BombKD's fusion head on stored features: what reading costs, beside a loop over tensors in memory.

A stage `fusion` of kind b, as `gradatim run` carries it out: its frozen prefix, the student and three converters, is
read from feature stores on the disk (float16, 16 tokens of width 768 each, 2,000 samples, batches of 32 under a global
shuffle), the fusion head is trained with all guards on. Features are random numbers; nothing in the cost depends on
them. Stores lie in a temporary folder, in the page cache from writing them. Compared, in turns, a few steps each:

ours      the engine's loop on the stores, every step split into waiting for its batch (reading) and the rest
baseline  a hand-written loop over the same features as float16 tensors in memory: the same fusion head, losses, AdamW
          and batches, and neither guards nor events

The loader alone, without any training: batches a second of the student's tokens with the label, as a probe reads them,
and of those with three translations, as fusion does; beside a raw gather of as many bytes from an array in memory into
a buffer that is used again, which is what the machine's memory gives at that moment.

Memory is that of a process of its own which reads one epoch and trains a few steps: anonymous memory, which the process
cannot give back, not the files' pages, which it can; for 2,000 and for 8,000 samples.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradatim import FeatureStore, Stage, find_system
from gradatim.data.batches import BatchOrder
from gradatim.data.dataset import Dataset
from gradatim.engine.device import Place
from gradatim.engine.feed import Feed
from gradatim.engine.loop import Loop, Work, order_of
from gradatim.engine.module import build_computation
from gradatim.features import Field
from gradatim.parts import set_trainable
from support.harness import options, show

TOKENS, WIDTH, CLASSES, BATCH = 16, 768, 101, 32
TEACHERS = ("videomae", "timesformer", "vivit")
STUDENT = {"see": ["student_tokens"]}
ALL = {**STUDENT, "translate": [f"translated.{name}" for name in TEACHERS]}
BLOCK = 4  # steps of one loop, then of the other
WARM = 2  # blocks that do not count


def write_stores(folder: Path, samples: int) -> None:
    """Fill the stores of a fusion stage with random features, a hundred samples in memory at a time."""
    draw = torch.Generator().manual_seed(0)
    for step, names in ALL.items():
        fields = [Field(name=name, shape=(TOKENS, WIDTH), dtype="float16", given="float32") for name in names]
        about = {"step": step, "absent": ["translated_mask"] if step == "translate" else []}
        _fill(folder / step, fields, samples, about, lambda count: torch.randn(count, TOKENS, WIDTH, generator=draw))
    label = [Field(name="label", shape=(), dtype="int64")]
    _fill(folder / "fields", label, samples, {}, lambda count: torch.randint(CLASSES, (count,), generator=draw))


def _fill(folder: Path, fields: Sequence[Field], samples: int, about: dict[str, Any], make: Any) -> None:
    writer = FeatureStore.create(folder, fields, rows=samples, about=about)
    for shard in range(writer.shards):
        rows = writer.range_of(shard)
        with writer.shard(shard) as target:
            for start in range(0, len(rows), 100):
                count = min(100, len(rows) - start)
                writer.append(target, {field.name: make(count) for field in fields})
    writer.finish()


class TimedFeed(Feed):
    """A stage's stored values, with the time that the loop waits for them."""

    waited = 0.0

    def batches(
        self, dataset: Dataset, fields: Sequence[str], order: BatchOrder, *, start: int, stop: int, workers: int
    ) -> Iterator[dict[str, Any]]:
        source = super().batches(dataset, fields, order, start=start, stop=stop, workers=workers)
        while True:
            began = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def open_feed(folder: Path, samples: int, steps: Sequence[str]) -> TimedFeed:
    """The stores of these steps and of the labels."""
    return TimedFeed([FeatureStore.open(folder / name) for name in (*steps, "fields")], samples, 1)


class Counted:
    """A data set that is never opened: all that the stage reads is stored."""

    fields = ("label",)
    random = False

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def name(self, index: int) -> str:
        return str(index)

    def digest(self) -> str:
        return ""

    def sample(self, index: int, fields: tuple[str, ...], random: Any) -> dict[str, Tensor]:
        raise AssertionError("stored values are read instead")


def build_parts() -> dict[str, nn.Module]:
    """The parts of the stage, of which only fusion runs."""
    system = find_system("bombkd")
    teachers = {name: {"dim": WIDTH} for name in TEACHERS}
    settings = system.settings(student={"dim": WIDTH}, teachers=teachers, converter="b", classes=CLASSES)
    torch.manual_seed(0)
    parts = {name: system.parts[name](settings) for name in ("converters", "fusion")}
    set_trainable(parts, ["fusion"])
    return parts


def build_stage(steps: int) -> Stage:
    """The stage, as the recipe `bombkd/fusion` has it."""
    return Stage(
        name="fusion",
        task="classify",
        train=("fusion",),
        losses={"classification": 1, "sparsity": 1e-3},
        lr=3e-4,
        weight_decay=0.01,
        batch_size=BATCH,
        steps=steps,
        data={"dataset": "motion"},
        guards={"drift": {"fusion": 1e9}, "loss_band": 1e9},
    )


def build_loop(folder: Path, samples: int, steps: int, tick: Any) -> tuple[Loop, TimedFeed]:
    """The engine's loop over the stores, as a run builds it."""
    system, stage, parts = find_system("bombkd"), build_stage(steps), build_parts()
    feed = open_feed(folder, samples, list(ALL))
    work = Work(
        stage=stage,
        seed=0,
        parts=parts,
        computation=build_computation(system, stage, {}, parts, feed.names),
        dataset=Counted(samples),
        place=Place(torch.device("cpu")),
        observe=lambda event: None,
        tick=tick,
        keep=lambda snapshot, at_once: None,
        feed=feed,
    )
    return Loop(work), feed


class Baseline:
    """The hand-written loop over tensors in memory.

    Args:
        folder: of the stores that the tensors are read from once.
        samples: how many there are.
    """

    def __init__(self, folder: Path, samples: int) -> None:
        self.tensors: dict[str, Tensor] = {}
        for name in (*ALL, "fields"):
            store = FeatureStore.open(folder / name)
            self.tensors |= {key: value.clone() for key, value in store.gather(range(samples)).items()}
            store.close()
        self.fusion = build_parts()["fusion"].train()
        matrices = [p for p in self.fusion.parameters() if p.dim() > 1]
        others = [p for p in self.fusion.parameters() if p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=3e-4, fused=True)
        self.order = order_of(build_stage(1), 0, samples, Place(torch.device("cpu")))
        self.done = 0

    def block(self) -> float:
        """Seconds of one block of steps."""
        start = time.perf_counter()
        for keys in self.order.starting(self.done, self.done + BLOCK):
            self._step(torch.tensor([index for _, index in keys]))
        self.done += BLOCK
        return time.perf_counter() - start

    def _step(self, rows: Tensor) -> None:
        student = self.tensors["student_tokens"][rows].float()
        translated = [self.tensors[f"translated.{name}"][rows].float() for name in TEACHERS]
        _, gates, logits = self.fusion(student, translated)
        loss = nn.functional.cross_entropy(logits, self.tensors["label"][rows]) + 1e-3 * gates.mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def train(folder: Path, samples: int, steps: int) -> dict[str, float]:
    """Medians over blocks: seconds a step, of ours, of reading in it and of the baseline; and ratio of neighbors."""
    baseline = Baseline(folder, samples)
    blocks: list[tuple[float, float, float]] = []
    began = [time.perf_counter()]

    def tick(done: int, total: int) -> None:
        if done % BLOCK == 0:
            ours = time.perf_counter() - began[0]
            blocks.append((ours / BLOCK, feed.waited / BLOCK, baseline.block() / BLOCK))
            feed.waited = 0.0
            began[0] = time.perf_counter()

    loop, feed = build_loop(folder, samples, steps, tick)
    began[0] = time.perf_counter()
    loop.run()
    feed.close()
    kept = blocks[WARM:]
    medians = [statistics.median(block[place] for block in kept) for place in range(3)]
    found = dict(zip(("ours", "reading", "baseline"), medians, strict=True))
    return {**found, "ratio": statistics.median(ours / other for ours, _, other in kept)}


def load(folder: Path, samples: int, steps: Sequence[str], seconds: float = 1.0) -> float:
    """Batches a second of the loader alone, after a first epoch."""
    feed = open_feed(folder, samples, steps)
    order = BatchOrder(samples=samples, batch_size=BATCH, seed=0, stage="fusion")
    source = feed.batches(Counted(samples), (), order, start=0, stop=10**9, workers=0)
    for _ in range(order.per_epoch):
        next(source)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(source)
        count += 1
    rate = count / (time.perf_counter() - start)
    feed.close()
    return rate


def raw_gather(samples: int, width: int, seconds: float = 1.0) -> float:
    """Batches a second of rows of so many bytes, gathered from memory."""
    records = np.ones((samples, width), np.uint8)
    buffer = np.empty((BATCH, width), np.uint8)
    order = BatchOrder(samples=samples, batch_size=BATCH, seed=0, stage="raw")
    rows = [np.array([index for _, index in keys]) for keys in order.epoch(0) if len(keys) == BATCH]
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        np.take(records, rows[count % len(rows)], axis=0, out=buffer, mode="clip")
        count += 1
    return count / (time.perf_counter() - start)


def memory(folder: Path, samples: int) -> dict[str, float]:
    """Memory of this process in MB after an epoch of reading and a few steps: anonymous at most, and files' pages."""
    highest = [0.0]

    def look(*_: int) -> None:
        highest[0] = max(highest[0], _resident("RssAnon"))

    feed = open_feed(folder, samples, list(ALL))
    order = BatchOrder(samples=samples, batch_size=BATCH, seed=0, stage="fusion")
    for _ in feed.batches(Counted(samples), (), order, start=0, stop=order.per_epoch, workers=0):
        look()
    feed.close()
    loop, feed = build_loop(folder, samples, 8, look)
    loop.run()
    return {"anonymous_mb": round(highest[0], 1), "files_mb": round(_resident("RssFile"), 1)}


def _resident(kind: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1e3


def memory_of(folder: Path, samples: int, threads: int) -> dict[str, float]:
    """`memory` in a process of its own."""
    words = [sys.executable, __file__, "--memory", str(folder), "--samples", str(samples), "--threads", str(threads)]
    answer = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def measure(folder: Path, chosen: Any) -> dict[str, Any]:
    """All figures; each is the median of several measurements, taken in turn."""
    few, many = chosen.samples, 4 * chosen.samples
    write_stores(folder / "few", few)
    found: dict[str, list[float]] = {}
    for _ in range(chosen.repeats):
        rates = {
            "student": load(folder / "few", few, list(STUDENT)),
            "raw_student": raw_gather(few, TOKENS * WIDTH * 2),
            "all": load(folder / "few", few, list(ALL)),
            "raw_all": raw_gather(few, 4 * TOKENS * WIDTH * 2),
        }
        for name, value in {**train(folder / "few", few, chosen.steps), **rates}.items():
            found.setdefault(name, []).append(value)
    middle = {name: statistics.median(values) for name, values in found.items()}
    write_stores(folder / "many", many)
    memories = [memory_of(folder / name, count, chosen.threads) for name, count in (("few", few), ("many", many))]
    return {
        "samples": few,
        "steps_per_second": round(1 / middle["ours"], 3),
        "baseline_steps_per_second": round(1 / middle["baseline"], 3),
        "ratio": round(middle["ratio"], 4),
        "reading_ms": round(1e3 * middle["reading"], 4),
        "computing_ms": round(1e3 * (middle["ours"] - middle["reading"]), 3),
        "reading_share": round(middle["reading"] / middle["ours"], 6),
        "loader_student_batches_per_second": round(middle["student"]),
        "raw_student_batches_per_second": round(middle["raw_student"]),
        "loader_all_batches_per_second": round(middle["all"]),
        "raw_all_batches_per_second": round(middle["raw_all"]),
        "anonymous_mb": memories[0]["anonymous_mb"],
        "anonymous_mb_of_4x": memories[1]["anonymous_mb"],
        "files_mb": memories[0]["files_mb"],
        "files_mb_of_4x": memories[1]["files_mb"],
        "threads": chosen.threads,
        "repeats": chosen.repeats,
    }


def main() -> None:
    """Measure and print."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=40, help="of each loop in each repeat")
    parser.add_argument("--folder", type=Path, help="disk for the stores; default the temporary folder's")
    parser.add_argument("--memory", type=Path, help="used by itself: measure memory on the stores in this folder")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.memory:
        print(json.dumps(memory(chosen.memory, chosen.samples)))
        return
    with tempfile.TemporaryDirectory(prefix="gradatim-", dir=chosen.folder) as folder:
        values = measure(Path(folder), chosen)
    many = 4 * chosen.samples
    rows = [
        ("fusion training on stores", f"{values['steps_per_second']} steps/s"),
        ("  reading", f"{values['reading_ms']} ms a step, {values['reading_share']:.2%} of it"),
        ("  computing, float16 to float32 included", f"{values['computing_ms']} ms a step"),
        ("loop over tensors in memory", f"{values['baseline_steps_per_second']} steps/s; ours takes {values['ratio']}"),
        ("loader alone, student", _beside(values, "student")),
        ("loader alone, student and 3 translations", _beside(values, "all")),
        (f"anonymous memory, {chosen.samples} samples", f"{values['anonymous_mb']} MB (files {values['files_mb']})"),
        (f"anonymous memory, {many} samples", f"{values['anonymous_mb_of_4x']} MB (files {values['files_mb_of_4x']})"),
    ]
    title = f"{chosen.samples} samples of 4 x {TOKENS} x {WIDTH} float16, batch {BATCH}, {chosen.threads} thread(s)"
    show(f"{title}, medians of {chosen.repeats}", rows, values, as_json=chosen.json)


def _beside(values: dict[str, Any], what: str) -> str:
    ours, raw = (values[f"{how}_{what}_batches_per_second"] for how in ("loader", "raw"))
    return f"{ours} batches/s; raw gather from memory {raw}"


if __name__ == "__main__":
    main()
