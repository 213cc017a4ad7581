"""A sixth system in one file: removes noise from small pictures. The tutorial of the documentation walks through it."""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from gradatim import DataKind, Metric, System, makes


class Sizes(BaseModel):
    """What a plan may say under `model`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = 16


class Shapes(BaseModel):
    """What a stage may say under `data`: how many pictures are drawn, and how noisy they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    pictures: int = 64
    noise: float = 0.2


class ShapeData:
    """Gray pictures of one disk each, 16 x 16; the noise differs in every epoch."""

    fields = ("clean", "noisy")

    def __init__(self, settings: Shapes, split: str) -> None:
        self.settings, self.split, self.random = settings, split, split == "train"

    def __len__(self) -> int:
        return self.settings.pictures if self.split == "train" else 16

    def name(self, index: int) -> str:
        return f"{self.split}-{index}"

    def digest(self) -> str:
        return f"{self.settings!r} {self.split}"

    def sample(self, index: int, fields: tuple[str, ...], random: np.random.Generator | None) -> dict[str, Tensor]:
        draw = np.random.default_rng([index, self.split == "train"])
        (row, column), radius = draw.uniform(4, 12, 2), draw.uniform(2, 5)
        rows, columns = np.mgrid[:16, :16]
        clean = ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.float32)[None]
        noise = (random or draw).standard_normal(clean.shape, dtype=np.float32)
        sample = {"clean": clean, "noisy": clean + self.settings.noise * noise}
        return {name: torch.from_numpy(sample[name]) for name in fields}


@makes("features")
def look(encoder: nn.Module, noisy: Tensor) -> Tensor:
    """Features of a picture, (B, 1, H, W) -> (B, C, H, W)."""
    return encoder(noisy)


@makes("restored")
def paint(decoder: nn.Module, features: Tensor) -> Tensor:
    """The picture without noise, (B, C, H, W) -> (B, 1, H, W)."""
    return decoder(features)


def squared(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error, a scalar."""
    return (restored - clean).square().mean()


def psnr(restored: Tensor, clean: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB, (B,)."""
    return -10 * (restored - clean).square().mean(dim=(1, 2, 3)).log10()


SYSTEM = System(
    name="denoise",
    summary="Removes noise from small pictures of disks.",
    settings=Sizes,
    parts={
        "encoder": lambda sizes: nn.Sequential(nn.Conv2d(1, sizes.width, 5, padding=2), nn.GELU()),
        "decoder": lambda sizes: nn.Conv2d(sizes.width, 1, 5, padding=2),
    },
    tasks={"restore": (look, paint)},
    losses={"squared": squared},
    metrics={"psnr": Metric(psnr)},
    data=DataKind(
        settings=Shapes,
        open=ShapeData,
        fields=lambda settings: ShapeData.fields,
        shapes=lambda data, sizes: {"clean": (1, 16, 16), "noisy": (1, 16, 16)},
    ),
    fields=ShapeData.fields,
    pictures=("noisy", "restored", "clean"),
)
