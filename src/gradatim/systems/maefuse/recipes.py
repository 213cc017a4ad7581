"""Published plans of MaeFuse."""

from collections.abc import Callable, Mapping

from gradatim.plan import Plan, Stage, StageDefaults

ADAMW = {"adamw": {"betas": (0.9, 0.95)}}


def small() -> Plan:
    """All stages of a model that two processor cores train in minutes, its encoder pretrained on the same pairs."""
    pairs = {"crop": 64, "crops_per_image": 16, "flip": True, "holdout": 0.2}
    images = {**pairs, "samples": "images", "crops_per_image": 8}
    cosine = {"cosine": {"warmup": 50}}
    return Plan(
        system="maefuse",
        model={
            "image_size": 64, "patch_size": 8, "width": 128, "depth": 2, "heads": 4, "decoder_width": 128,
            "decoder_depth": 2, "decoder_heads": 4, "fusion_heads": 4,
        },
        defaults=StageDefaults(
            data={"root": ("data/tno", "data/roadscene"), **pairs}, batch_size=32, optimizer=ADAMW, weight_decay=0.05,
            lr=1e-3, schedule=cosine, clip=1.0,
        ),
        stages=(
            Stage(
                name="pretrain", task="pretrain", init={"encoder": "fresh", "decoder": "fresh", "mask_token": "fresh"},
                train=("encoder", "decoder", "mask_token"), losses={"masked_reconstruction": 1}, data=images, epochs=20,
            ),
            Stage(name="decoder", task="reconstruct", train=("decoder",), losses={"reconstruction": 1}, data=images, epochs=12),
            Stage(
                name="cfm-mean", task="align_pattern", init={"cfm": "fresh"}, train=("cfm",), losses={"pattern_mean": 1},
                epochs=6,
            ),
            Stage(name="mfm-mean", task="align_fused", init={"mfm": "fresh"}, train=("mfm",), losses={"fused_mean": 1}, epochs=6),
            Stage(
                name="joint", task="fuse", train=("cfm", "mfm", "decoder"),
                losses={"gradient": 1, "laplacian": 2, "intensity": 1}, lr=5e-4, epochs=20,
                validate={"metric": "qabf", "every": 5, "keep": "last"},
            ),
        ),
    )


RECIPES: Mapping[str, Callable[[], Plan]] = {"small": small}
