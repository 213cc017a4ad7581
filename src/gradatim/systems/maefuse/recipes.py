"""Published plans of MaeFuse: its nine training modes, the paper's order of them, and one for two processor cores."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from gradatim.plan import Plan, Rule, Stage, StageDefaults

_ADAMW = {"adamw": {"betas": (0.9, 0.95)}}
_FUSION = {"gradient": 1, "laplacian": 2}
_COMMON: Mapping[str, Any] = {"lr": 1e-4, "weight_decay": 0.05, "optimizer": _ADAMW, "batch_size": 32}


class Mode(NamedTuple):
    """One of the original's training modes: task, what trains, losses, and the file that feeds each part."""

    task: str
    train: tuple[str, ...]
    losses: Mapping[str, float]
    init: Mapping[str, str]


MODES: Mapping[str, Mode] = {
    "train_CFM_mean": Mode("align_pattern", ("cfm",), {"pattern_mean": 1}, {"encoder": "resume", "cfm": "fresh"}),
    "train_CFM_fusion": Mode(
        "fuse_pattern", ("cfm",), _FUSION, {"encoder": "resume", "decoder": "resume", "cfm": "fusion_weight"}
    ),
    "train_MFM_mean_CFM_lock": Mode(
        "align_fused", ("mfm",), {"fused_mean": 1}, {"encoder": "resume", "cfm": "fusion_weight", "mfm": "fresh"}
    ),
    "train_MFM_fusion_CFM_lock": Mode(
        "fuse",
        ("mfm",),
        _FUSION,
        {"encoder": "resume", "decoder": "resume", "cfm": "fusion_weight", "mfm": "fusion_weight"},
    ),
    "train_MFM_mean_CFM_open": Mode(
        "align_fused",
        ("cfm", "mfm"),
        {"fused_mean": 1},
        {"encoder": "resume", "cfm": "fusion_weight", "mfm": "fusion_weight"},
    ),
    "train_MFM_fusion_CFM_open": Mode(
        "fuse", ("cfm", "mfm"), _FUSION, dict.fromkeys(("encoder", "decoder", "cfm", "mfm"), "all_weight")
    ),
    "train_decoder_only": Mode(
        "reconstruct", ("decoder",), {"reconstruction": 1}, {"encoder": "resume", "decoder": "resume"}
    ),
    "train_decoder_MFM": Mode(
        "fuse", ("decoder", "mfm"), _FUSION, dict.fromkeys(("encoder", "decoder", "cfm", "mfm"), "all_weight")
    ),
    "train_decoder_CFM_MFM": Mode(
        "fuse", ("decoder", "cfm", "mfm"), _FUSION, dict.fromkeys(("encoder", "decoder", "cfm", "mfm"), "all_weight")
    ),
}
"""Each mode's stage; the sources bear the names of the original's arguments."""

_FILES = {"resume": "checkpoint-50.pth", "fusion_weight": "fusion.pth", "all_weight": "checkpoint75.pth"}


def mode(name: str) -> Plan:
    """One of the nine modes as a plan of one stage; files are named `sources.resume.checkpoint` and so on."""
    chosen = MODES[name]
    files = [file for file in _FILES if file in chosen.init.values()]
    data = {"root": "data", "preprocess": "original"}
    if chosen.task == "reconstruct":
        data["samples"] = "images"
    return Plan(
        system="maefuse",
        model={"size": "large"},
        sources={file: {"checkpoint": _FILES[file]} for file in files},
        defaults=StageDefaults(data=data, **_COMMON),
        stages=(
            Stage(
                name=name,
                task=chosen.task,
                train=chosen.train,
                losses=chosen.losses,
                epochs=80,
                init={part: file if file == "fresh" else {"source": file} for part, file in chosen.init.items()},
            ),
        ),
    )


def paper() -> Plan:
    """All stages in order from a public masked autoencoder: align with its features, then fuse, part after part."""
    mae = {"source": "mae"}
    fuse: dict[str, Any] = {"task": "fuse", "losses": _FUSION}
    return Plan(
        system="maefuse",
        model={"size": "large"},
        sources={"mae": {"checkpoint": "mae_visualize_vit_large.pth", "layout": "facebook"}},
        defaults=StageDefaults(data={"root": "data", "preprocess": "original"}, **_COMMON),
        stages=(
            Stage(
                name="decoder",
                task="reconstruct",
                init={"encoder": mae, "decoder": mae},
                train=("decoder",),
                losses={"reconstruction": 1},
                data={"samples": "images"},
                epochs=50,
                schedule={"cosine": {"warmup": 500}},
            ),
            Stage(
                name="cfm-mean",
                task="align_pattern",
                init={"cfm": "fresh"},
                train=("cfm",),
                losses={"pattern_mean": 1},
                epochs=20,
            ),
            Stage(name="cfm-fusion", task="fuse_pattern", train=("cfm",), losses=_FUSION, epochs=20),
            Stage(
                name="mfm-mean",
                task="align_fused",
                init={"mfm": "fresh"},
                train=("mfm",),
                losses={"fused_mean": 1},
                epochs=20,
            ),
            Stage(name="mfm-fusion", train=("mfm",), epochs=20, **fuse),
            Stage(name="both-fusion", train=("cfm", "mfm"), epochs=20, **fuse),
            Stage(name="decoder-mfm", train=("decoder", "mfm"), epochs=20, **fuse),
            Stage(name="joint", train=("decoder", "cfm", "mfm"), epochs=80, **fuse),
        ),
    )


_SMALL_MODEL = {
    "image_size": 32, "patch_size": 4, "width": 128, "depth": 2, "heads": 4, "decoder_width": 128,
    "decoder_depth": 2, "decoder_heads": 4, "fusion_heads": 4,
}  # fmt: skip


_REFLECT = {"gradient.padding": "reflect", "laplacian.padding": "reflect", "laplacian.select": "absolute"}


def _own_encoder(steps: Mapping[str, int], *, batch_size: int) -> Plan:
    """All stages of a small model that pretrains its own encoder on the pairs at hand.

    Masked pretraining makes an encoder that knows what stands beside a patch; on few pictures and steps it keeps too
    little of the patch itself, so a second stage teaches encoder and decoder all pixels before the encoder is frozen.
    """
    pairs = {"root": "data", "crop": 32, "crops_per_image": 16, "flip": True, "holdout": 0.2}
    images = {"samples": "images", "crops_per_image": 8}
    common: dict[str, Any] = {
        "batch_size": batch_size, "optimizer": _ADAMW, "weight_decay": 0.05, "lr": 1e-3, "clip": 1.0,
        "schedule": {"cosine": {"warmup": 20}},
    }  # fmt: skip
    fresh = dict.fromkeys(("encoder", "decoder", "mask_token"), "fresh")
    # The crops of a few epochs, kept: the encoder does not learn here, and more views teach these stages no more.
    mean: dict[str, Any] = {"steps": steps["mean"], "cache": {"views": 2}}
    pixels: dict[str, Any] = {"task": "reconstruct", "losses": {"reconstruction": 1}, "data": images}
    return Plan(
        system="maefuse",
        model=_SMALL_MODEL,
        defaults=StageDefaults(data=pairs, **common),
        stages=(
            Stage(
                name="pretrain",
                task="pretrain",
                init=fresh,
                train=tuple(fresh),
                losses={"masked_reconstruction": 1},
                data=images,
                steps=steps["pretrain"],
            ),
            Stage(name="pixels", train=("encoder", "decoder"), steps=steps["pixels"], **pixels),
            Stage(name="decoder", train=("decoder",), steps=steps["decoder"], **pixels),
            Stage(
                name="cfm-mean",
                task="align_pattern",
                init={"cfm": "fresh"},
                train=("cfm",),
                losses={"pattern_mean": 1},
                **mean,
            ),
            Stage(
                name="mfm-mean",
                task="align_fused",
                init={"mfm": "fresh"},
                train=("mfm",),
                losses={"fused_mean": 1},
                **mean,
            ),
            Stage(
                name="joint",
                task="fuse",
                train=("cfm", "mfm", "decoder"),
                losses={"gradient": 1, "laplacian": 2, "intensity": 1, "structure": 20},
                steps=steps["joint"],
                options=_REFLECT,
                validation={"metric": "qabf", "every": 10, "keep": "last"},
            ),
        ),
    )


def small() -> Plan:
    """All stages of a model that two processor cores train in minutes, its encoder pretrained on the same pairs."""
    return _own_encoder({"pretrain": 400, "pixels": 700, "decoder": 200, "mean": 1000, "joint": 1500}, batch_size=32)


def demo() -> Plan:
    """The stages of `small` in about a minute, for generated scenes."""
    return _own_encoder({"pretrain": 40, "pixels": 400, "decoder": 40, "mean": 1000, "joint": 200}, batch_size=16)


def _idle_cfm(plan: Plan) -> Iterator[tuple[int, str, str]]:
    if plan.model.get("attention_axis") != "sample":
        return
    for index, stage in enumerate(plan.stages):
        if "cfm" in stage.trained() and stage.task in ("fuse", "align_fused"):
            yield index, "train", "`cfm` is trained with attention_axis `sample`"


def _normalized_targets(plan: Plan) -> Iterator[tuple[int, str, str]]:
    for index, stage in enumerate(plan.stages):
        if str(stage.options.get("reconstruction.normalize_patches", "")).lower() in ("true", "yes", "on", "1"):
            yield index, "options", "the decoder learns normalized patches"


RULES: Mapping[str, Rule] = {
    "idle-cfm": Rule(
        why="attention over a single key ignores its query, so no gradient reaches CFM behind MFM; "
        "use `tokens` or `batch`",
        check=_idle_cfm,
    ),
    "normalized-targets": Rule(
        why="a decoder of normalized patches makes no pixels, and every later stage needs pixels",
        check=_normalized_targets,
        error=False,
    ),
}

RECIPES: Mapping[str, Callable[[], Plan]] = {
    "small": small,
    "demo": demo,
    "paper": paper,
    **{name: partial(mode, name) for name in MODES},
}
