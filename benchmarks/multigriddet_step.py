"""A training step of MultiGridDet at each freeze level, and inference: gradatim beside a plain loop.

The plain loop is what is written when freezing is left to the optimizer: the same parts, losses and pictures, all parts
in training mode with gradients, and only what shall learn given to Adam. gradatim runs what is frozen without a graph,
and, with stored features, not at all. Pictures are PNG files that are decoded and letterboxed for every batch (nothing
is kept in memory), by both; the share of a step that this takes is stated.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gradatim
from gradatim import Plan, Stage, find_system
from gradatim.data.batches import collated
from gradatim.systems.multigriddet.data import DetectionDataset, DetectionSettings, open_data
from gradatim.systems.multigriddet.losses import SCALES_OF_LOSSES
from gradatim.systems.multigriddet.pictures import write_shapes
from gradatim.systems.multigriddet.recipes import PARTS
from gradatim.systems.multigriddet.shapes import CLASSES, ShapesSettings
from support.harness import in_turn, medians, options, show

SYSTEM = find_system("multigriddet")
LEVELS = {0: PARTS, 1: PARTS[1:], 2: PARTS[3:]}
TERMS = ["location_terms", "objectness_terms", "anchor_terms", "class_terms"]


class Timed:
    """A data set with the time that its samples took.

    Args:
        data: what is read.
    """

    ragged = ("boxes",)

    def __init__(self, data: DetectionDataset) -> None:
        self.data, self.seconds = data, 0.0
        self.fields, self.random, self.classes, self.settings = data.fields, data.random, data.classes, data.settings

    def __len__(self) -> int:
        return len(self.data)

    def name(self, index: int) -> str:
        return self.data.name(index)

    def digest(self) -> str:
        return self.data.digest()

    def sample(self, index: int, fields: tuple[str, ...], random: Any) -> dict[str, Tensor]:
        began = time.perf_counter()
        found = self.data.sample(index, fields, random)
        self.seconds += time.perf_counter() - began
        return found


class Work:
    """What both loops share.

    Args:
        chosen: options.
        folder: of the pictures.
    """

    def __init__(self, chosen: Any, folder: Path) -> None:
        self.chosen, self.folder = chosen, folder
        self.model = {
            "classes": len(CLASSES), "image_size": chosen.image, "width": chosen.width, "depth": chosen.depth
        }  # fmt: skip
        self.data = Timed(
            open_data(DetectionSettings(root=folder, size=(chosen.image, chosen.image), memory=0, holdout=0), "train")
        )
        self.shares: dict[str, list[float]] = {}

    def ours(self, level: int, cache: str) -> float:
        """Median seconds of a step in gradatim."""
        system = replace(SYSTEM, data=replace(SYSTEM.data, open=lambda settings, split: self.data, glance=None))
        stage = Stage(
            name="stage",
            task="detect",
            init=dict.fromkeys(PARTS, "fresh"),
            train=LEVELS[level],
            losses=dict(SCALES_OF_LOSSES),
            optimizer={"adam": {"eps": 1e-7}},
            data={"root": str(self.folder)},
            steps=self.chosen.steps + self.chosen.warmup,
            batch_size=self.chosen.batch,
            cache=cache,
        )
        moments: list[float] = []

        def tick(done: int, total: int) -> None:
            moments.append(time.perf_counter())
            if done == self.chosen.warmup:
                self.data.seconds = 0.0

        with tempfile.TemporaryDirectory() as place:
            plan = Plan(system="multigriddet", model=self.model, stages=(stage,))
            gradatim.run(plan, Path(place) / "run", system=system, tick=tick)
        return self._typical(f"level {level}, {cache}", moments)

    def plain(self, level: int) -> float:
        """Median seconds of a step in the plain loop."""
        parts = self._parts()
        optimizer = torch.optim.Adam([p for name in LEVELS[level] for p in parts[name].parameters()], eps=1e-7, lr=1e-4)
        task = SYSTEM.read_tasks["detect"]
        moments: list[float] = []
        for step in range(self.chosen.steps + self.chosen.warmup):
            if step == self.chosen.warmup:
                self.data.seconds = 0.0
            values = task.compute(parts, self._batch(step), want=TERMS)
            weights = SCALES_OF_LOSSES.values()
            total = sum(weight * values[name].sum() for weight, name in zip(weights, TERMS, strict=True))
            total.backward()
            optimizer.step()
            for part in parts.values():
                part.zero_grad(set_to_none=True)
            moments.append(time.perf_counter())
        return self._typical(f"level {level}, plain", moments)

    @torch.no_grad()
    def inference(self) -> float:
        """Median seconds of finding the objects of a batch."""
        parts = {name: part.eval() for name, part in self._parts().items()}
        moments: list[float] = []
        for step in range(self.chosen.steps + self.chosen.warmup):
            if step == self.chosen.warmup:
                self.data.seconds = 0.0
            SYSTEM.read_tasks["detect"].compute(parts, self._batch(step), want=["found", "found_mask"])
            moments.append(time.perf_counter())
        return self._typical("inference", moments)

    def _parts(self) -> dict[str, Any]:
        torch.manual_seed(0)
        settings = SYSTEM.settings.model_validate(self.model)
        return {name: build(settings).train() for name, build in SYSTEM.parts.items()}

    def _batch(self, step: int) -> dict[str, Any]:
        indices = [(step * self.chosen.batch + i) % len(self.data) for i in range(self.chosen.batch)]
        return collated([self.data.sample(i, ("image", "boxes"), None) for i in indices], ragged=("boxes",))

    def _typical(self, name: str, moments: list[float]) -> float:
        kept = moments[self.chosen.warmup - 1 :]
        self.shares.setdefault(name, []).append(self.data.seconds / (kept[-1] - kept[0]))
        return statistics.median(later - earlier for earlier, later in pairwise(kept))


def main() -> None:
    """Measure all in turn."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--image", type=int, default=160, help="side of the network's input, a multiple of 32")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--depth", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory(prefix="gradatim-detector-") as place:
        count = chosen.batch * (chosen.steps + chosen.warmup) // 2
        shapes = ShapesSettings(count=count, validate_count=1, size=(chosen.image, chosen.image))
        write_shapes(Path(place) / "data", shapes)
        work = Work(chosen, Path(place) / "data")
        ways: dict[str, Callable[[], float]] = {}
        for level in LEVELS:
            ways[f"level {level}, plain"] = lambda level=level: work.plain(level)  # type: ignore[misc]
            ways[f"level {level}, off"] = lambda level=level: work.ours(level, "off")  # type: ignore[misc]
            if level:
                ways[f"level {level}, auto"] = lambda level=level: work.ours(level, "auto")  # type: ignore[misc]
        ways["inference"] = work.inference
        middle = medians(in_turn(ways, chosen.repeats))
    shares = {name: statistics.median(found) for name, found in work.shares.items()}
    labels = {"plain": "plain loop", "off": "gradatim", "auto": "gradatim, stored features"}
    rows, values = [], {"model": work.model, "batch": chosen.batch, "threads": chosen.threads}
    for name, seconds in middle.items():
        level, _, way = name.partition(", ")
        ratio = middle.get(f"{level}, plain", seconds) / seconds
        key = name.replace(", ", "_").replace(" ", "")
        values |= {
            f"{key}_ms": round(1e3 * seconds, 2), f"{key}_images_per_second": round(chosen.batch / seconds, 2),
            f"{key}_loading_share": round(shares[name], 4), f"{key}_speedup": round(ratio, 3),
        }  # fmt: skip
        text = f"{1e3 * seconds:8.1f} ms  {chosen.batch / seconds:7.1f} images/s  loading {shares[name]:6.1%}"
        rows.append((f"{level} {labels.get(way, '')}".strip(), text + (f"  {ratio:5.2f} x" if way else "")))
    title = f"MultiGridDet, width {chosen.width:g}, depth {chosen.depth:g}, {chosen.image} pixels, batch {chosen.batch}"
    show(f"{title}, {chosen.threads} thread(s)", rows, values, as_json=chosen.json)


if __name__ == "__main__":
    main()
