"""One step of `train_CFM_fusion`: gradatim beside a plain loop that gives only CFM to the optimizer.

The plain loop is what is written when freezing is left to the optimizer: every part requires gradients, each image is
encoded by a call of its own, and the backward pass runs through decoder and encoder too. gradatim runs the frozen
encoder once for both images without a graph, and lets gradients pass through the decoder without making any for it.
"""

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

import gradatim
from gradatim import Plan, Stage, find_system
from gradatim.data.dataset import Dataset
from gradatim.systems.maefuse import losses, steps
from support.harness import in_turn, medians, options, show

SYSTEM = find_system("maefuse")


class Noise:
    """Pictures of noise, all in memory."""

    fields = ("visible", "infrared")
    random = False

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        draw = torch.Generator().manual_seed(0)
        self.images = torch.rand(2, count, 1, *size, generator=draw).expand(-1, -1, 3, -1, -1)

    def __len__(self) -> int:
        return self.images.shape[1]

    def name(self, index: int) -> str:
        return str(index)

    def digest(self) -> str:
        return f"noise {tuple(self.images.shape)}"

    def sample(self, index: int, fields: tuple[str, ...], random: object) -> dict[str, Tensor]:
        both = dict(zip(self.fields, self.images[:, index], strict=True))
        return {name: both[name] for name in fields}


def ours(chosen: object, model: dict[str, object], data: Dataset) -> float:
    """Median seconds of a step in gradatim."""
    from dataclasses import replace

    system = replace(SYSTEM, data=replace(SYSTEM.data, open=lambda settings, split: data))
    fresh = dict.fromkeys(("encoder", "decoder", "cfm"), "fresh")
    stage = Stage(
        name="cfm-fusion",
        task="fuse_pattern",
        init=fresh,
        train=("cfm",),
        losses={"gradient": 1, "laplacian": 2},
        data={"root": "."},
        steps=chosen.steps + chosen.warmup,
        batch_size=chosen.batch,
        precision=chosen.precision,
        compile=chosen.compile,
        weight_decay=0.05,
    )
    moments: list[float] = []

    def tick(done: int, total: int) -> None:
        wait(chosen.device)
        moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        gradatim.run(
            Plan(system="maefuse", model=model, stages=(stage,)),
            Path(folder) / "run",
            system=system,
            device=chosen.device,
            tick=tick,
        )
    return typical(moments, chosen.warmup)


def plain(chosen: object, model: dict[str, object], data: Dataset) -> float:
    """Median seconds of a step in the plain loop."""
    device = torch.device(chosen.device)
    settings = SYSTEM.settings.model_validate(model)
    parts = {name: SYSTEM.parts[name](settings).to(device) for name in ("encoder", "decoder", "cfm")}
    if chosen.compile:
        for part in parts.values():
            part.compile()
    optimizer = torch.optim.AdamW(parts["cfm"].parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    context = torch.autocast(device.type, dtype=torch.bfloat16, enabled=chosen.precision == "bf16-mixed")
    moments: list[float] = []
    for step in range(chosen.steps + chosen.warmup):
        indices = [(step * chosen.batch + i) % len(data) for i in range(chosen.batch)]
        samples = [data.sample(i, ("visible", "infrared"), None) for i in indices]
        visible, infrared = (torch.stack([s[n] for s in samples]).to(device) for n in ("visible", "infrared"))
        with context:
            tokens = [parts["encoder"](steps.to_imagenet(image)) for image in (visible, infrared)]
            _, fused = steps.decode_pattern(parts["decoder"], parts["cfm"](*tokens))
            total = losses.gradient(fused, visible, infrared) + 2 * losses.laplacian(fused, visible, infrared)
        total.backward()
        optimizer.step()
        for part in parts.values():
            part.zero_grad(set_to_none=True)
        wait(chosen.device)
        moments.append(time.perf_counter())
    return typical(moments, chosen.warmup)


def wait(device: str) -> None:
    """Wait for a GPU, so that a moment is the end of a step."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def typical(moments: list[float], warmup: int) -> float:
    """Median time between steps after the first ones."""
    kept = moments[warmup - 1 :]
    return statistics.median(later - earlier for earlier, later in pairwise(kept))


def main() -> None:
    """Measure both in turn, and the peak memory on a GPU."""
    parser = options(str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--size", default="base", help="named encoder size; the CPU default is cut to --depth blocks")
    parser.add_argument("--depth", type=int, default=4, help="encoder blocks; 0 takes all of the named size")
    parser.add_argument("--image", type=int, default=160, help="side of the square picture")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16-mixed"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = {"size": chosen.size, "image_size": chosen.image} | ({"depth": chosen.depth} if chosen.depth else {})
    data = Noise(4 * chosen.batch, (chosen.image, chosen.image))
    peaks: dict[str, int] = {}

    def way(name: str, work: object) -> float:
        if chosen.device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = work(chosen, model, data)
        if chosen.device.startswith("cuda"):
            peaks[name] = torch.cuda.max_memory_allocated()
        return seconds

    ways = {"plain": lambda: way("plain", plain), "ours": lambda: way("ours", ours)}
    middle = medians(in_turn(ways, chosen.repeats))
    values = {
        "plain_ms": round(middle["plain"] * 1e3, 2),
        "ours_ms": round(middle["ours"] * 1e3, 2),
        "speedup": round(middle["plain"] / middle["ours"], 3),
        "peak_bytes": peaks,
        "model": model,
        "batch": chosen.batch,
        "precision": chosen.precision,
        "compile": chosen.compile,
        "device": torch.cuda.get_device_name() if chosen.device.startswith("cuda") else "cpu",
    }
    rows = [
        ("plain loop", f"{values['plain_ms']} ms a step"),
        ("gradatim", f"{values['ours_ms']} ms a step"),
        ("speedup", f"{values['speedup']} x"),
        *((f"peak memory, {name}", f"{size / 1e9:.2f} GB") for name, size in peaks.items()),
    ]
    where = f"batch {chosen.batch}, {chosen.precision}, {values['device']}"
    title = f"train_CFM_fusion, {chosen.size} at {chosen.image}, {where}"
    show(title, rows, values, as_json=chosen.json)


if __name__ == "__main__":
    main()
