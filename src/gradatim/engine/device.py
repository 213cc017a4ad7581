"""Device and processes: the one file that knows where a stage runs and how many run it."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Place:
    """Where this process computes.

    Args:
        device: of tensors.
        rank, world: this process and the number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    def send(self, batch: Any) -> Any:
        """A batch on this device; dicts and tensors."""
        if self.device.type == "cpu":
            return batch
        if batch is None or isinstance(batch, torch.Tensor):
            return batch if batch is None else batch.to(self.device, non_blocking=True)
        return {name: self.send(value) for name, value in batch.items()}

    def free_memory(self) -> int:
        """Bytes that can be allocated on this device now."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        if "MemAvailable" in told:
            return int(told["MemAvailable"].split()[0]) * 1024
        # Systems that do not say what is available: half of what there is.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

    def seeder(self) -> Callable[[int], object]:
        """What seeds dropout on this device; `torch.manual_seed` would visit every device."""
        if self.device.type == "cuda":
            return torch.cuda.default_generators[self.device.index or 0].manual_seed
        return torch.default_generator.manual_seed


def precision_of(precision: str, device: str) -> AbstractContextManager[Any]:
    """The context in which steps and losses run; may be entered any number of times.

    Args:
        precision: `fp32`, or `bf16-mixed` for autocast.
        device: type of the device.
    """
    if precision == "bf16-mixed":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def process_of_environment() -> tuple[int, int]:
    """(rank, world) as `torchrun` tells them; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def this_place(device: str | None = None) -> Place:
    """The device asked for, or a GPU where there is one."""
    if device is not None:
        return Place(torch.device(device))
    return Place(torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))
