"""A training step of both of IFViT's tasks, the matching of a pair, and a search: gradatim beside plain loops.

The plain loop of training is the same parts, losses and pairs with AdamW and clipped gradients, and nothing else; the
difference is what checks, records and guards of a stage cost. Pairs are drawn before and kept, so that neither loop
waits for them. The plain search takes the cosine with one stored template after the other; gradatim takes all in one
product. Whoever ranks first is then registered and scored as a pair, in both.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import gradatim
from gradatim import Plan, Stage, find_system
from gradatim.data.batches import collated
from gradatim.systems.ifvit.data import FingerprintSettings, open_data
from gradatim.systems.ifvit.predict import NEEDED, Comparer
from support.harness import in_turn, medians, options, show

SYSTEM = find_system("ifvit")
CLASSES = 4
SIZES = {"dense": 128, "match": 224}
LOSSES = {"dense": {"dense": 1.0}, "match": {"dense": 0.5, "cosine": 0.1, "arcface": 1.0}}
PARTS = {"dense": ("backbone", "transformer"), "match": ("backbone", "transformer", "embedding", "centers")}
INFERRED = {"dense": ("probability",), "match": ("probability", "embedding1", "embedding2", "roi_embedding1")}


class Kept:
    """Pairs that were drawn once.

    Args:
        task: what they are for.
        count: how many differ.
    """

    ragged = ("points",)
    random = False

    def __init__(self, task: str, count: int) -> None:
        samples = "dense" if task == "dense" else "matcher"
        drawn = {"fingers": CLASSES, "impressions": 3}
        self.settings = FingerprintSettings(samples=samples, size=SIZES[task], imposters=0.0, drawn=drawn)
        self._data = open_data(self.settings, "train")
        self.fields, self.classes, self.notes = self._data.fields, self._data.classes, ()
        self._kept = [self._data.sample(i, self.fields, np.random.default_rng(i)) for i in range(count)]

    def __len__(self) -> int:
        return len(self._kept)

    def name(self, index: int) -> str:
        return f"pair {index}"

    def digest(self) -> str:
        return self._data.digest()

    def sample(self, index: int, fields: tuple[str, ...], random: Any) -> dict[str, Tensor]:
        return {field: self._kept[index][field] for field in fields}


class Work:
    """What is measured.

    Args:
        chosen: options.
    """

    def __init__(self, chosen: Any) -> None:
        self.chosen = chosen
        self.model = {"classes": CLASSES, "layers": chosen.layers}
        self.batches = {"dense": chosen.dense_batch, "match": chosen.match_batch}
        self.data = {task: Kept(task, count) for task, count in self.batches.items()}
        generator = torch.Generator().manual_seed(0)
        settings = SYSTEM.settings.model_validate(self.model)
        self.gallery = torch.randn(chosen.gallery, 2 * settings.embedding, generator=generator).numpy()
        self.gallery /= np.linalg.norm(self.gallery, axis=1, keepdims=True)
        parts = self._parts(NEEDED, training=False)

        @torch.no_grad()
        def compute(task: str, sample: Any, want: Any) -> Any:
            return SYSTEM.read_tasks[task].compute(parts, sample, want=want)

        self.compute = compute
        self.comparer = Comparer(compute, settings, NEEDED)
        pair = self.data["match"].sample(0, ("image1", "image2"), None)
        self.prints = [self.comparer.prepared(image[0].numpy()) for image in pair.values()]
        self.template = self.comparer.template(self.prints[0])

    def ours(self, task: str) -> float:
        """Median seconds of a step in gradatim."""
        data = self.data[task]
        system = replace(SYSTEM, data=replace(SYSTEM.data, open=lambda settings, split: data, glance=None))
        stage = Stage(
            name="stage",
            task=task,
            init=dict.fromkeys(PARTS[task], "fresh"),
            train=PARTS[task],
            losses=LOSSES[task],
            lr=1e-4,
            clip=1.0,
            data={"samples": data.settings.samples, "drawn": data.settings.drawn.model_dump()},
            steps=self.chosen.steps + self.chosen.warmup,
            batch_size=self.batches[task],
        )
        moments: list[float] = []
        with tempfile.TemporaryDirectory() as place:
            plan = Plan(system="ifvit", model=self.model, stages=(stage,), allow=("golden-rule",))
            gradatim.run(plan, Path(place) / "run", system=system, tick=lambda *_: moments.append(time.perf_counter()))
        return self._typical(moments)

    def plain(self, task: str) -> float:
        """Median seconds of a step in the plain loop."""
        parts = self._parts(PARTS[task], training=True)
        values = [p for part in parts.values() for p in part.parameters()]
        optimizer = torch.optim.AdamW(values, lr=1e-4)
        moments: list[float] = []
        for _ in range(self.chosen.steps + self.chosen.warmup):
            data = self.data[task]
            batch = collated([data.sample(i, data.fields, None) for i in range(len(data))], ragged=data.ragged)
            made = SYSTEM.read_tasks[task].compute(parts, batch, want=[*_WANTED[task]])
            total = sum(weight * _loss(name, {**batch, **made}) for name, weight in LOSSES[task].items())
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(values, 1.0)
            optimizer.step()
            moments.append(time.perf_counter())
        return self._typical(moments)

    def inference(self, task: str) -> float:
        """Median seconds of one pair."""
        data = self.data[task]
        sample = collated([data.sample(0, data.fields, None)], ragged=data.ragged)
        return self._timed(lambda: self.compute(task, sample, INFERRED[task]))

    def product(self) -> float:
        """Median seconds of ranking the gallery by one product."""
        return self._timed(lambda: np.argsort(-(self.gallery @ self.template), kind="stable"))

    def loop(self) -> float:
        """Median seconds of ranking it one by one."""

        def rank() -> list[int]:
            likeness = [
                float(np.dot(one, self.template) / (np.linalg.norm(one) * np.linalg.norm(self.template)))
                for one in self.gallery
            ]
            return sorted(range(len(likeness)), key=lambda n: -likeness[n])

        return self._timed(rank)

    def check(self) -> float:
        """Seconds of registering and scoring one pair, turns of the first print included."""
        began = time.perf_counter()
        self.comparer.compare(*self.prints)
        return time.perf_counter() - began

    def _parts(self, names: tuple[str, ...], *, training: bool) -> dict[str, nn.Module]:
        torch.manual_seed(0)
        settings = SYSTEM.settings.model_validate(self.model)
        return {name: SYSTEM.parts[name](settings).train(training) for name in names}

    def _timed(self, work: Callable[[], object]) -> float:
        moments = []
        for _ in range(self.chosen.steps + self.chosen.warmup):
            work()
            moments.append(time.perf_counter())
        return self._typical(moments)

    def _typical(self, moments: list[float]) -> float:
        return statistics.median(later - earlier for earlier, later in pairwise(moments[self.chosen.warmup - 1 :]))


_WANTED = {
    "dense": ("probability", "features1"),
    "match": (
        "probability", "features1", "embedding1", "embedding2", "roi_embedding1", "roi_embedding2", "directions"
    ),
}  # fmt: skip
_TAKEN = {
    "dense": ("probability", "features1", "image1", "points", "points_mask"),
    "cosine": ("embedding1", "embedding2", "roi_embedding1", "roi_embedding2", "label"),
    "arcface": (
        "embedding1", "embedding2", "roi_embedding1", "roi_embedding2", "directions", "finger1", "finger2"
    ),
}  # fmt: skip


def _loss(name: str, values: dict[str, Any]) -> Tensor:
    found: Tensor = SYSTEM.losses[name](**{argument: values[argument] for argument in _TAKEN[name]})
    return found.sum()


def main() -> None:
    """Measure all in turn."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.set_defaults(repeats=3)
    parser.add_argument("--layers", type=int, default=4, help="of the transformer")
    parser.add_argument("--dense-batch", type=int, default=4, help="pairs of 128 pixels in a step")
    parser.add_argument("--match-batch", type=int, default=2, help="pairs of 224 pixels in a step")
    parser.add_argument("--gallery", type=int, default=1000, help="templates that a probe is compared with")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    work = Work(chosen)
    ways: dict[str, Callable[[], float]] = {}
    for task in SIZES:
        ways[f"{task}_plain"] = lambda task=task: work.plain(task)  # type: ignore[misc]
        ways[f"{task}_ours"] = lambda task=task: work.ours(task)  # type: ignore[misc]
        ways[f"{task}_inference"] = lambda task=task: work.inference(task)  # type: ignore[misc]
    ways |= {"search_plain": work.loop, "search_ours": work.product, "check": work.check}
    middle = medians(in_turn(ways, chosen.repeats))
    values = {"threads": chosen.threads, "layers": chosen.layers, "batch": work.batches, "gallery": chosen.gallery}
    values |= {f"{name}_ms": round(1e3 * seconds, 3) for name, seconds in middle.items()}
    for name in ("dense", "match", "search"):
        values[f"{name}_speedup"] = round(middle[f"{name}_plain"] / middle[f"{name}_ours"], 3)
    labels = {
        **{f"{task}_plain": f"{task}, {size} pixels, plain loop" for task, size in SIZES.items()},
        **{f"{task}_ours": f"{task}, {size} pixels, gradatim" for task, size in SIZES.items()},
        **{f"{task}_inference": f"{task}, {size} pixels, one pair" for task, size in SIZES.items()},
        "search_plain": f"rank {chosen.gallery:,} templates one by one",
        "search_ours": f"rank {chosen.gallery:,} templates in one product",
        "check": "register and score one of the first ranks",
    }
    rows = [
        (
            labels[name],
            f"{1e3 * seconds:10.2f} ms"
            + (f"  {values[name.replace('_ours', '_speedup')]:6.2f} x" if name.endswith("_ours") else ""),
        )
        for name, seconds in middle.items()
    ]
    batches = ", ".join(f"{size} pairs a step of {task}" for task, size in work.batches.items())
    show(f"IFViT, published sizes, {batches}, {chosen.threads} thread(s)", rows, values, as_json=chosen.json)


if __name__ == "__main__":
    main()
