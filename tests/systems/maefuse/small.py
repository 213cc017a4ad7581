"""A model of MaeFuse that fits on a thumbnail, its checkpoints in the original's namings, and its plans."""

import argparse

import torch

from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from pictures import pair_root

MODEL = {
    "image_size": [24, 16], "patch_size": 8, "width": 16, "depth": 1, "heads": 2, "decoder_width": 16,
    "decoder_depth": 1, "decoder_heads": 2, "fusion_heads": 2, "attention_axis": "batch",
}  # fmt: skip
HEAD = {
    "cfm": (("attn.qkv.", "cross_model.in_proj_"), ("attn.proj.", "cross_model.out_proj.")),
    "mfm": (
        ("attn.qkv.", "merge_model.in_proj_"),
        ("attn.proj.", "merge_model.out_proj."),
        ("mlp.fc1.", "fc1."),
        ("mlp.fc2.", "fc2."),
        ("norm.", "ln."),
    ),
}


def parts(seed=3, names=("encoder", "decoder", "cfm", "mfm"), **changes):
    """Parts with random arrays everywhere, tables included; both fusion parts have one table, as in the original."""
    torch.manual_seed(seed)
    settings = MaeFuseSettings(**{**MODEL, **changes})
    result = {name: PARTS[name](settings) for name in names}
    shared = torch.randn(1, settings.grid[0] * settings.grid[1], settings.width)
    for name, module in result.items():
        for key, array in module.state_dict().items():
            array.copy_(shared if key == "pos_embed" and name in HEAD else 0.2 * torch.randn_like(array))
    return result


def mae_names(modules):
    """Encoder and decoder under the authors' names."""
    result = {}
    for part in ("encoder", "decoder"):
        for name, array in modules[part].state_dict().items() if part in modules else ():
            name = name.replace("patch_embed.", "patch_embed.proj.").replace("head.", "pred.")
            result[name if part == "encoder" else f"decoder_{name}"] = array
    return result


def head_names(modules):
    """Both fusion parts under the authors' names."""
    result = {"pos_embed": modules["mfm"].pos_embed}
    for part, pairs in HEAD.items():
        for name, array in modules[part].state_dict().items():
            for ours, theirs in pairs:
                if name.startswith(ours):
                    result[theirs + name.removeprefix(ours)] = array
    return result


def whole_names(modules):
    """The whole model under the authors' names."""
    return {f"model1.{name}": array for name, array in mae_names(modules).items()} | {
        f"model2.{name}": array for name, array in head_names(modules).items()
    }


def facebook_names(modules, *, blocks=1):
    """A public masked autoencoder: a class token, another grid, more decoder blocks."""
    result = mae_names(modules)
    width, inner = result["pos_embed"].shape[2], result["decoder_pos_embed"].shape[2]
    first = {name: array for name, array in result.items() if name.startswith("decoder_blocks.0.")}
    for block in range(1, 1 + blocks):
        result |= {name.replace(".0.", f".{block}.", 1): array + block for name, array in first.items()}
    tables = {"pos_embed": torch.randn(1, 17, width), "decoder_pos_embed": torch.randn(1, 17, inner)}
    tokens = {"cls_token": torch.randn(1, 1, width), "mask_token": torch.randn(1, 1, inner)}
    return {**result, **tables, **tokens}


def write_files(folder, modules):
    """The files that the recipes name, as the authors' programs write them; path by name."""
    options = argparse.Namespace(lr=1e-4, model="mae_vit_large_patch16")
    whole = {f"module.{name}": array for name, array in whole_names(modules).items()}
    contents = {
        "resume": {"model": mae_names(modules), "args": options, "epoch": 50},
        "fusion_weight": head_names(modules),
        "all_weight": {"model": whole, "args": options, "epoch": 75},
        "mae": {"model": facebook_names(modules)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        torch.save(content, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in contents}


def small_plan(recipe, folder, files, *changes):
    """A recipe's document at toy sizes, two steps a stage, on six generated pairs."""
    document = read_plan_document(f"maefuse/{recipe}")
    if not (folder / "data").exists():
        pair_root(folder / "data", tuple("abcdef"), size=(24, 16))
    sizes = [f"model.{name}={value}" for name, value in MODEL.items()]
    sources = [f"sources.{name}.checkpoint={files[name]}" for name in document.tree["sources"]]
    stages = [f"stages.{stage['name']}.steps=2" for stage in document.tree["stages"]]
    data = [f"defaults.data.root={folder / 'data'}", "defaults.data.size=[24, 16]", "defaults.batch_size=2"]
    return override(document, [*sizes, *sources, *stages, *data, "defaults.lr=1e-3", *changes])
