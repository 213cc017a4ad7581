"""Cost of a step in gradatim's loop, with all guards on, over a hand-written PyTorch loop on the same model.

Both loops read the same data set, use the same fused AdamW, run the same two layers and look at the loss every 20
steps. The hand-written one reads through torch's DataLoader, as such loops do, and does nothing else: no guards, no
snapshots, no events. gradatim reads without it where there are no workers, so part of what its guards cost is what
the loader would have cost.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import gradatim
from gradatim import DataKind, Plan, Stage, System, makes
from support.harness import options, show

WIDTH, BATCH, SAMPLES = 64, 32, 4096


class Settings(BaseModel):
    """Neither the model nor the data has any."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rows(Dataset[dict[str, Tensor]]):
    """Random rows and a function of them, as a gradatim data set and as a torch one."""

    fields = ("x", "y")
    random = False

    def __init__(self) -> None:
        self.x = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(0))
        self.y = self.x.cumsum(1) / 8

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index]}

    def name(self, index: int) -> str:
        return str(index)

    def digest(self) -> str:
        return "rows"

    def sample(self, index: int, fields: tuple[str, ...], random: object) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


@makes("features")
def extract(stem: nn.Module, x: Tensor) -> Tensor:
    """Frozen features."""
    return torch.relu(stem(x))


@makes("predicted")
def predict(head: nn.Module, features: Tensor) -> Tensor:
    """What is learned."""
    return head(features)


def squared(predicted: Tensor, y: Tensor) -> Tensor:
    """Mean squared error."""
    return nn.functional.mse_loss(predicted, y)


def build_stem(settings: Settings | None = None) -> nn.Module:
    """The frozen part."""
    return nn.Linear(WIDTH, 2 * WIDTH)


def build_head(settings: Settings | None = None) -> nn.Module:
    """The trained part."""
    return nn.Sequential(nn.Linear(2 * WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))


SYSTEM = System(
    name="rows",
    summary="Two small parts.",
    settings=Settings,
    parts={"stem": build_stem, "head": build_head},
    tasks={"fit": (extract, predict)},
    losses={"squared": squared},
    data=DataKind(
        settings=Settings,
        open=lambda settings, split: Rows(),
        fields=lambda settings: Rows.fields,
        shapes=lambda data, model: {"x": (WIDTH,), "y": (WIDTH,)},
    ),
    fields=Rows.fields,
)


BLOCK = 100  # steps of one loop, then of the other; a block holds five logs and one snapshot


class RawLoop:
    """A hand-written loop that can be run a block at a time."""

    def __init__(self) -> None:
        self.stem, self.head = build_stem().requires_grad_(False), build_head()
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
        self.loader = DataLoader(Rows(), batch_size=BATCH, shuffle=True)
        self.source = iter(self.loader)

    def block(self) -> float:
        """Seconds of one block of steps."""
        stem, head, optimizer = self.stem, self.head, self.optimizer
        start = time.perf_counter()
        for step in range(BLOCK):
            batch = next(self.source, None)
            if batch is None:
                self.source = iter(self.loader)
                batch = next(self.source)
            with torch.no_grad():
                features = torch.relu(stem(batch["x"]))
            loss = nn.functional.mse_loss(head(features), batch["y"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % 20 == 0:
                loss.item()
        return time.perf_counter() - start


class InTurn:
    """Counts gradatim's steps; after each block of them it runs one of the raw loop, so that noise meets both alike."""

    def __init__(self) -> None:
        self.raw = RawLoop()
        self.blocks: list[tuple[float, float]] = []
        self.start = time.perf_counter()

    def tick(self, done: int, total: int) -> None:
        """Receive one step."""
        if done % BLOCK == 0:
            ours = time.perf_counter() - self.start
            self.blocks.append((ours / BLOCK, self.raw.block() / BLOCK))
            self.start = time.perf_counter()


def measure(steps: int, warmup: int) -> tuple[float, float, float]:
    """Median seconds a step of gradatim, of the raw loop, and of the difference between neighboring blocks."""
    stage = Stage(
        name="fit",
        task="fit",
        init={"stem": "fresh", "head": "fresh"},
        train=("head",),
        losses={"squared": 1},
        steps=steps,
        batch_size=BATCH,
        lr=1e-3,
        guards={"drift": {"head": 1e9}, "loss_band": 1e9},
        cache="off",  # both loops compute the frozen part for every batch
    )
    turns = InTurn()
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(system="rows", stages=(stage,))
        gradatim.run(plan, Path(folder) / "run", system=SYSTEM, device="cpu", tick=turns.tick)
    kept = turns.blocks[warmup // BLOCK :]
    ours, raw = (statistics.median(block[i] for block in kept) for i in (0, 1))
    return ours, raw, statistics.median(mine - theirs for mine, theirs in kept)


def main() -> None:
    """Measure several times and print the medians."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=3000)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found = [measure(chosen.steps, min(500, chosen.steps // 3)) for _ in range(chosen.repeats)]
    ours, raw, overhead = (statistics.median(one[i] for one in found) for i in range(3))
    values = {
        "raw_us": round(raw * 1e6, 1),
        "ours_us": round(ours * 1e6, 1),
        "overhead_us": round(overhead * 1e6, 1),
        "ratio": round(ours / raw, 3),
        "steps": chosen.steps,
        "repeats": chosen.repeats,
    }
    rows = [
        ("hand-written loop, torch's DataLoader", f"{values['raw_us']} µs a step"),
        ("gradatim, guards on", f"{values['ours_us']} µs a step"),
        ("overhead", f"{values['overhead_us']} µs a step, ratio {values['ratio']}"),
    ]
    show(
        f"one step, batch {BATCH}, {chosen.threads} thread(s), medians of {chosen.repeats}",
        rows,
        values,
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
