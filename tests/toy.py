"""A system of small linear parts, for tests of the core: dropout, batch statistics, a critic, and a random step."""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from gradatim.plan import Plan, Rule, Stage
from gradatim.system import DataKind, Metric, System
from gradatim.task import makes
from gradatim.weights import Keep, Layout, Rename

WIDTH = 6


class ToySettings(BaseModel):
    """Width of all parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = WIDTH
    flavor: str = "plain"


class ToyData(BaseModel):
    """Size of the made-up data, and whether it is jittered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = 24
    jitter: float = 0.0
    poison: int = -1
    empty: bool = False


class Rows:
    """Rows of numbers and a linear function of them; one row may be poisoned."""

    fields = ("x", "y")

    def __init__(self, settings: ToyData, split: str) -> None:
        self.settings, self.split = settings, split
        self.random = settings.jitter > 0 and split == "train"
        draw = np.random.default_rng(0 if split == "train" else 1)
        count = 0 if settings.empty else settings.samples if split == "train" else 8
        self.x = torch.from_numpy(draw.standard_normal((count, WIDTH), dtype=np.float32))
        self.y = self.x.cumsum(1) / 2
        if split == "train" and settings.poison >= 0:
            self.x[settings.poison] = float("nan")

    def __len__(self) -> int:
        return len(self.x)

    def name(self, index: int) -> str:
        return f"{self.split}-{index}"

    def digest(self) -> str:
        return repr((self.settings, self.split))

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        sample = {"x": self.x[index], "y": self.y[index]}
        if random is not None:
            noise = random.standard_normal(WIDTH, dtype=np.float32)
            sample["x"] = sample["x"] + self.settings.jitter * torch.from_numpy(noise)
        return {name: sample[name] for name in fields}


@makes("features")
def extract(stem: nn.Module, x: Tensor) -> Tensor:
    return stem(x)


@makes("hidden")
def transform(body: nn.Module, features: Tensor) -> Tensor:
    return body(features)


@makes("noisy")
def disturb(hidden: Tensor, generator: torch.Generator, *, scale: float = 0.1) -> Tensor:
    return hidden + scale * torch.randn(hidden.shape, generator=generator)


@makes("predicted")
def predict(head: nn.Module, hidden: Tensor) -> Tensor:
    return head(hidden)


@makes("predicted")
def predict_noisy(head: nn.Module, noisy: Tensor) -> Tensor:
    return head(noisy)


@makes("false_score", "true_score")
def judge(critic: nn.Module, predicted: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return critic(predicted), critic(y)


@makes("detached")
def cut(head: nn.Module, hidden: Tensor) -> Tensor:
    return head(hidden).detach()


def mse(predicted: Tensor, y: Tensor, *, power: float = 2.0) -> Tensor:
    return (predicted - y).abs().pow(power).mean()


def stay(hidden: Tensor, features: Tensor) -> Tensor:
    return (hidden - features).square().mean()


def fool(false_score: Tensor) -> Tensor:
    return nn.functional.softplus(-false_score).mean()


def tell_apart(false_score: Tensor, true_score: Tensor) -> Tensor:
    return (nn.functional.softplus(false_score) + nn.functional.softplus(-true_score)).mean()


def useless(detached: Tensor, y: Tensor) -> Tensor:
    return (detached - y).square().mean() + 0 * y.requires_grad_(True).sum()


def closeness(predicted: Tensor, y: Tensor) -> Tensor:
    return -(predicted - y).square().mean(dim=1)


def _stem(settings: ToySettings) -> nn.Module:
    return nn.Sequential(nn.Linear(settings.width, settings.width), nn.BatchNorm1d(settings.width), nn.Dropout(0.2))


def _linear(settings: ToySettings) -> nn.Module:
    return nn.Linear(settings.width, settings.width)


def _critic(settings: ToySettings) -> nn.Module:
    return nn.Linear(settings.width, 1)


def _slow_rule(plan: Plan):
    return [(i, "lr", f"lr {stage.lr:g}") for i, stage in enumerate(plan.stages) if stage.lr > 1]


FOREIGN = Layout(
    name="foreign",
    summary="names of another program",
    rules=(
        Rename(r"net\.a\.(.+)", r"body.\1"),
        Rename(r"net\.b\.(.+)", r"head.\1"),
        Keep(r"stem\.1\.(running_mean|running_var|num_batches_tracked)", "statistics start anew"),
    ),
)
GAN = (extract, transform, predict, judge)

TOY = System(
    name="toy",
    summary="Learns a cumulative sum.",
    settings=ToySettings,
    parts={"stem": _stem, "body": _linear, "head": _linear, "critic": _critic},
    tasks={
        "fit": (extract, transform, predict),
        "noisy": (extract, transform, disturb, predict_noisy),
        "gan": GAN,
        "cut": (extract, transform, cut),
    },
    losses={"mse": mse, "stay": stay, "fool": fool, "tell_apart": tell_apart, "useless": useless},
    data=DataKind(
        settings=ToyData,
        open=Rows,
        fields=lambda settings: Rows.fields,
        shapes=lambda data, model: {"x": (model.width,), "y": (model.width,)},
    ),
    fields=Rows.fields,
    metrics={"closeness": Metric(closeness)},
    layouts={"foreign": FOREIGN},
    fixed={"body": ("flavor",)},
    rules={"fast": Rule(why="a rate above 1 diverges", check=_slow_rule)},
)

FRESH: Mapping[str, str] = {"stem": "fresh", "body": "fresh", "head": "fresh"}


def stage(name: str = "fit", **changes) -> Stage:
    """A short stage of task `fit` that trains the head."""
    settings = {"task": "fit", "train": ["head"], "losses": {"mse": 1}, "epochs": 2, "batch_size": 8, "lr": 0.01}
    return Stage.model_validate({"name": name, **settings, **changes})


def plan(*stages: Stage, **changes) -> Plan:
    """A plan of the toy system; the first stage starts from fresh parts."""
    first = stages[0] if stages else stage()
    if not first.init:
        first = first.model_copy(update={"init": dict(FRESH)})
        first = Stage.model_validate(first.model_dump(exclude_unset=True, by_alias=True) | {"init": dict(FRESH)})
    return Plan.model_validate({"system": "toy", "stages": [first, *stages[1:]], **changes})
