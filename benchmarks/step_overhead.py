"""Cost of a step in gradatim's loop, with all guards on, over a hand-written PyTorch loop on the same model.

Both loops read the same data set through torch's DataLoader, use the same fused AdamW, run the same two layers and
look at the loss every 20 steps. The hand-written one does nothing else: no guards, no snapshots, no events.
"""

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import gradatim
from gradatim import DataKind, Plan, Stage, System, makes
from support.harness import in_turn, medians, options, show

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
        return self[index]


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


def typical(moments: list[float], warmup: int) -> float:
    """Median seconds a step over blocks of 100 steps; a block holds five logs and one snapshot."""
    kept = moments[warmup::100]
    return statistics.median((later - earlier) / 100 for earlier, later in pairwise(kept))


def ours(steps: int, warmup: int) -> float:
    """Seconds a step of gradatim."""
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
    )
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        gradatim.run(
            Plan(system="rows", stages=(stage,)),
            Path(folder) / "run",
            system=SYSTEM,
            device="cpu",
            tick=lambda done, total: moments.append(time.perf_counter()),
        )
    return typical(moments, warmup)


def raw(steps: int, warmup: int) -> float:
    """Seconds a step of a hand-written loop."""
    stem, head = build_stem().requires_grad_(False), build_head()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    loader = DataLoader(Rows(), batch_size=BATCH, shuffle=True)
    moments: list[float] = []
    while len(moments) < steps:
        for batch in loader:
            with torch.no_grad():
                features = torch.relu(stem(batch["x"]))
            loss = nn.functional.mse_loss(head(features), batch["y"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if len(moments) % 20 == 0:
                loss.item()
            moments.append(time.perf_counter())
    return typical(moments, warmup)


def main() -> None:
    """Measure both in turn and print the difference."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=3000)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warmup = min(500, chosen.steps // 3)
    ways = {"raw": lambda: raw(chosen.steps, warmup), "ours": lambda: ours(chosen.steps, warmup)}
    found = in_turn(ways, chosen.repeats)
    middle = medians(found)
    overhead = statistics.median(b - a for a, b in zip(found["raw"], found["ours"], strict=True))
    values = {
        "raw_us": round(middle["raw"] * 1e6, 1),
        "ours_us": round(middle["ours"] * 1e6, 1),
        "overhead_us": round(overhead * 1e6, 1),
        "ratio": round(middle["ours"] / middle["raw"], 3),
        "steps": chosen.steps,
        "repeats": chosen.repeats,
    }
    rows = [
        ("hand-written loop", f"{values['raw_us']} µs a step"),
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
