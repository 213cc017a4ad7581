"""Forward passes, batch statistics in training, and the checkpoints of all layouts."""

from pathlib import Path

import pytest
import torch

from gradatim.engine.build import WithoutDrawing
from gradatim.systems.multigriddet.layouts import LAYOUTS
from gradatim.systems.multigriddet.model import PARTS, MultiGridDetSettings
from gradatim.systems.multigriddet.parts.backbone import SCALES, DarknetStage
from gradatim.systems.multigriddet.parts.layers import ConvNormAct
from gradatim.weights import Weights, read_weights, transfer
from parity.multigriddet.support import OUTPUT, Folder, channels_first, relative

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def folder(parity_root):
    return Folder(parity_root)


def loaded(settings, arrays, names=tuple(PARTS)):
    # Nothing is drawn, since everything is loaded.
    with WithoutDrawing():
        parts = {name: PARTS[name](settings).eval() for name in names}
    weights = Weights(path=Path("by-rule"), format="rule", arrays=arrays)
    for account in transfer(weights, parts, layouts=LAYOUTS):
        assert account.complete
        assert not account.kept
        assert not account.dropped
    return parts


def all_outputs(parts, x):
    pyramid = parts["backbone"](channels_first(x))
    trunks = parts["neck"](pyramid)
    raw = parts["predict"](parts["pre_predict"](trunks))
    found = {f"f{n}": pyramid[scale].permute(0, 2, 3, 1) for n, scale in enumerate(SCALES, 1)}
    found |= {f"n{n}": trunks[scale].permute(0, 2, 3, 1) for n, scale in enumerate(SCALES, 1)}
    return found | {f"y{n}": raw[scale] for n, scale in enumerate(SCALES, 1)}


@torch.no_grad()
def test_the_whole_network(folder):
    info = folder.json("keys_full")
    assert info["constructor"]["num_anchors_per_head"] == [3, 3, 3]
    parts = loaded(MultiGridDetSettings(classes=info["constructor"]["num_classes"]), folder.rule(info["keys"]))
    values = sum(array.numel() for part in parts.values() for array in part.state_dict().values())
    files = sorted(folder.folder.glob("forward_*.npz"))
    worst = 0.0
    for path in files:
        arrays = folder.arrays(path.stem)
        outputs = all_outputs(parts, arrays.pop("x"))
        assert arrays.keys() <= outputs.keys()
        for name, expected in arrays.items():
            worst = max(worst, relative(outputs[name], expected))
    assert values == info["total_params"]
    assert len(files) >= 2
    assert worst <= OUTPUT
    print(f"{len(files)} forward passes, {values:,} values, largest difference {worst:.1e} of the largest number")


def named(module, arrays, convolutions):
    """Give a module arrays by the file's names; `convolutions` are its own names, in the file's order."""
    for number, name in enumerate(convolutions):
        suffix = f"_{number}" if number else ""
        part = module.get_submodule(name) if name else module
        with torch.no_grad():
            part.conv.weight.copy_(arrays.pop(f"conv2d{suffix}/kernel").permute(3, 2, 0, 1))
            for theirs, ours in zip(
                ("gamma", "beta", "moving_mean", "moving_variance"),
                ("weight", "bias", "running_mean", "running_var"), strict=True,
            ):  # fmt: skip
                getattr(part.norm, ours).copy_(arrays.pop(f"batch_normalization{suffix}/{theirs}"))
    assert not arrays
    return module


@torch.no_grad()
def test_batch_statistics_in_training(folder):
    info, arrays = folder.json("conv_bn_leaky_train"), folder.arrays("conv_bn_leaky_train")
    inside, outside = info["keys"]["conv2d/kernel:0"][2:]
    layer = named(ConvNormAct(inside, outside, 3), folder.rule(info["keys"]), [""])
    x = channels_first(arrays["x"])

    assert relative(layer.train()(x).permute(0, 2, 3, 1), arrays["y_train"]) <= OUTPUT
    assert relative(layer.norm.running_mean, arrays["moving_mean_after"]) <= OUTPUT
    assert relative(layer.norm.running_var, arrays["moving_variance_after"]) <= OUTPUT
    assert relative(layer.eval()(x).permute(0, 2, 3, 1), arrays["y_eval_after"]) <= OUTPUT


@torch.no_grad()
def test_a_stage_with_its_padding_before_the_first_row_and_column(folder):
    info, arrays = folder.json("resblock_eval"), folder.arrays("resblock_eval")
    stage = DarknetStage(arrays["x"].shape[-1], info["num_filters"], info["num_blocks"])
    blocks = [f"blocks.{b}.{half}" for b in range(info["num_blocks"]) for half in ("reduce", "expand")]

    named(stage, folder.rule(info["keys"]), ["down", *blocks]).eval()

    assert relative(stage(channels_first(arrays["x"])).permute(0, 2, 3, 1), arrays["y"]) <= OUTPUT


def tiny_settings(tiny):
    return MultiGridDetSettings(
        classes=tiny["num_classes"],
        widths=tiny["stem_and_stage_widths"],
        blocks=tiny["blocks"],
        head_widths=tiny["head_channel_numbers"],
    )


@torch.no_grad()
def test_every_checkpoint_is_read_whole_and_right(folder):
    tiny = folder.json("checkpoints/checkpoints")["tiny"]
    settings, expected = tiny_settings(tiny), folder.arrays("checkpoints/tiny_forward")
    right = loaded(settings, folder.rule(tiny["keys"]))
    files = sorted((folder.folder / "checkpoints").glob("*.h5"))
    arrays, worst = 0, 0.0
    for path in files:
        weights = read_weights(path)
        names = tuple(PARTS) if len(weights.arrays) == len(tiny["keys"]) else ("backbone",)
        parts = {name: PARTS[name](settings).eval() for name in names}
        accounts = transfer(weights, parts, layouts=LAYOUTS)
        assert all(account.complete and account.layout == "keras" for account in accounts), path
        arrays += sum(account.arrays[0] for account in accounts)
        for name, part in parts.items():
            for array, value in part.state_dict().items():
                assert torch.equal(value, right[name].state_dict()[array]), f"{path}: {name}.{array}"
        if len(parts) == len(PARTS):
            outputs = all_outputs(parts, expected["x"])
            worst = max(worst, *(relative(outputs[name], expected[name]) for name in ("y1", "y2", "y3")))
    assert len(files) >= 4
    assert worst <= OUTPUT
    print(f"{len(files)} checkpoints, {arrays} arrays equal to the bit, outputs to {worst:.1e}")
