"""MaeFuse in the smallest: sizes, scenes and files in its authors' naming, for tests of the whole way."""

import re
from pathlib import Path

import torch
from torch import nn

from commandline import worked
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.systems.maefuse.synthetic import write_scenes
from once import drawn

MODEL = {
    "image_size": 16, "patch_size": 8, "width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1,
    "decoder_heads": 2, "fusion_heads": 2,
}  # fmt: skip
SIZES = [f"model.{name}={value}" for name, value in MODEL.items()]
"""For `--set`: the model that all files here are of."""
HEADS = [word for name in ("heads", "decoder_heads", "fusion_heads") for word in ("--model", f"{name}={MODEL[name]}")]
"""What a foreign file of this model does not tell."""


def sets(*changes):
    """Arguments `--set` for changes."""
    return [word for change in changes for word in ("--set", change)]


def scenes(folder, count=5, size=(24, 32)):
    """Pairs of generated scenes; returns the folder."""
    return drawn(folder, _write_scenes, count, size)


def _write_scenes(folder, count, size):
    write_scenes(folder, count, size=size)


def parts(**settings):
    """All parts with seeded weights."""
    torch.manual_seed(0)
    sizes = MaeFuseSettings(**{**MODEL, **settings})
    return {name: build(sizes) for name, build in PARTS.items()}


def mae_arrays(built):
    """Encoder and decoder under the authors' names."""
    renamed = {}
    for name, array in arrays_of(built, "encoder", "decoder").items():
        name = re.sub(r"^encoder\.patch_embed\.", "patch_embed.proj.", name)
        name = re.sub(r"^decoder\.head\.", "decoder.pred.", name)
        name = re.sub(r"^decoder\.", "decoder_", name)
        renamed[name.removeprefix("encoder.")] = array
    return renamed


def head_arrays(built):
    """CFM and MFM under the authors' names, the table of positions that they share once."""
    renamed = {}
    for name, array in arrays_of(built, "cfm", "mfm").items():
        name = re.sub(r"^(cfm|mfm)\.pos_embed$", "pos_embed", name)
        for ours, theirs in (("cfm", "cross_model"), ("mfm", "merge_model")):
            name = re.sub(rf"^{ours}\.attn\.qkv\.", f"{theirs}.in_proj_", name)
            name = re.sub(rf"^{ours}\.attn\.proj\.", f"{theirs}.out_proj.", name)
        name = re.sub(r"^mfm\.mlp\.", "", name)
        renamed[re.sub(r"^mfm\.norm\.", "ln.", name)] = array
    return renamed


def whole_arrays(built):
    """The whole model under the authors' names."""
    both = (("model1.", mae_arrays(built)), ("model2.", head_arrays(built)))
    return {prefix + name: array for prefix, arrays in both for name, array in arrays.items()}


def public_arrays(built):
    """A public masked autoencoder: with class token, mask token, a table of another grid and one block more."""
    arrays = mae_arrays(built)
    extra = {
        name.replace("decoder_blocks.0", "decoder_blocks.1"): array
        for name, array in arrays.items()
        if name.startswith("decoder_blocks.0.")
    }
    tables = {name: torch.zeros(1, 1 + 9, arrays[name].shape[2]) for name in ("pos_embed", "decoder_pos_embed")}
    tokens = {"cls_token": torch.zeros(1, 1, MODEL["width"]), "mask_token": torch.zeros(1, 1, MODEL["decoder_width"])}
    return {**arrays, **extra, **tables, **tokens}


def arrays_of(built, *names):
    """Arrays of some parts by our names."""
    return {f"{name}.{key}": array.clone() for name in names for key, array in built[name].state_dict().items()}


def authors_files(folder):
    """Files as the authors' programs write them; returns their paths by the name of the argument that takes them."""
    built: dict[str, nn.Module] = parts(attention_axis="sample")
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "resume": ("checkpoint-50.pth", mae_arrays(built)),
        "fusion_weight": ("fusion.pth", head_arrays(built)),
        "all_weight": ("checkpoint75.pth", {f"module.{name}": a for name, a in whole_arrays(built).items()}),
        "test": ("final_new_60.pth", whole_arrays(built)),
        "mae": ("mae_visualize_vit_large.pth", public_arrays(built)),
    }
    for name, arrays in files.values():
        torch.save({"model": arrays}, folder / name)
    return {argument: folder / name for argument, (name, _) in files.items()}


STAGES = ("pretrain", "pixels", "decoder", "cfm-mean", "mfm-mean", "joint")
"""Of the recipes maefuse/demo and maefuse/small."""
DEMO = [
    *SIZES,
    *(f"stages.{stage}.steps=2" for stage in STAGES),
    *("defaults.data.root=pairs", "defaults.data.crop=16", "defaults.batch_size=2", "defaults.log_every=1"),
]
"""For `--set`: maefuse/demo in a few steps."""


def finished_run(place):
    """Scenes in `pairs` and a finished run of maefuse/demo on them in `runs/maefuse-1`; the current folder is `place`.

    Returns the run's folder, relative as a person would write it.
    """
    scenes(place / "pairs", size=(48, 64))
    worked("run", "maefuse/demo", *sets(*DEMO), "--quiet")
    return Path("runs/maefuse-1")
