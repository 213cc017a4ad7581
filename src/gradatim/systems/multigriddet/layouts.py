"""Names in other people's checkpoints, translated into ours.

    keras        files of the original: a whole model, or the backbone alone (`darknet53.h5`)
    keras_places Keras 3 weights without the layers' names, known by their places alone
    darknet      `darknet53.conv.74` and `.weights` of YOLOv3: the backbone at their start

Keras numbers convolutions in the order in which the original made them; each number stands in `CONVOLUTIONS` beside our
name. The normalization behind a convolution has its number.
"""

from collections.abc import Iterable, Mapping

from gradatim.weights.layout import Flat, Layout, Rename, Rule

_BLOCKS = (1, 2, 8, 8, 4)
_DEEPEST = 64


def _backbone(blocks: Iterable[int]) -> list[str]:
    """Our convolutions of the backbone, in the order of every published file."""
    found = ["backbone.stem"]
    for stage, count in enumerate(blocks):
        found.append(f"backbone.stages.{stage}.down")
        found += [f"backbone.stages.{stage}.blocks.{b}.{half}" for b in range(count) for half in ("reduce", "expand")]
    return found


_HEADS = tuple(
    name
    for scale in range(3)
    for name in (
        *((f"neck.laterals.{scale - 1}",) if scale else ()),
        *(f"neck.trunks.{scale}.{place}" for place in range(3)),
        f"pre_predict.convs.{scale}",
    )
)
CONVOLUTIONS: tuple[str, ...] = (*_backbone(_BLOCKS), *_HEADS)
"""Our name of `conv2d`, `conv2d_1`, ... with their normalizations."""

_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_KERNEL = (3, 2, 0, 1)
_TRUNKS = [n for n, name in enumerate(CONVOLUTIONS) if not name.startswith("pre_predict")]
_WIDE = [n for n, name in enumerate(CONVOLUTIONS) if name.startswith("pre_predict")]
PLACES: tuple[int, ...] = (*_TRUNKS, *_WIDE)
"""Number in the name of the convolution at each place of the original's `model.layers`, which is sorted by depth."""


def _number(n: int) -> str:
    return f"_{n}" if n else ""


def _named(n: int, ours: str) -> tuple[Rule, ...]:
    return (
        Rename(f"conv2d{_number(n)}/kernel", f"{ours}.conv.weight", _KERNEL),
        *(Rename(f"batch_normalization{_number(n)}/{theirs}", f"{ours}.norm.{name}") for theirs, name in _NORM.items()),
    )


def _placed(place: int, ours: str) -> tuple[Rule, ...]:
    norm = f"layers/batch_normalization{_number(place)}"
    return (
        Rename(f"layers/conv2d{_number(place)}/kernel", f"{ours}.conv.weight", _KERNEL),
        *(Rename(f"{norm}/{theirs}", f"{ours}.norm.{name}") for theirs, name in _NORM.items()),
    )


def _predictions(names: Iterable[str]) -> tuple[Rule, ...]:
    return tuple(
        rule
        for scale, name in enumerate(names)
        for rule in (
            Rename(f"{name}/kernel", f"predict.convs.{scale}.weight", _KERNEL),
            Rename(f"{name}/bias", f"predict.convs.{scale}.bias"),
        )
    )


def _in_a_row(name: str) -> tuple[str, ...]:
    """Arrays of a convolution in Darknet's order."""
    norm = (f"{name}.norm.{array}" for array in ("bias", "weight", "running_mean", "running_var"))
    return (*norm, f"{name}.conv.weight")


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="keras",
            summary="the original's Keras files, a whole model or the backbone alone",
            rules=(
                *(rule for n, ours in enumerate(CONVOLUTIONS) for rule in _named(n, ours)),
                *_predictions(f"predict_conv_{scale}" for scale in (1, 2, 3)),
            ),
        ),
        Layout(
            name="keras_places",
            summary="the same, of a Keras 3 file that does not say its layers' names",
            rules=(
                *(rule for place, n in enumerate(PLACES) for rule in _placed(place, CONVOLUTIONS[n])),
                *_predictions(f"layers/conv2d_{len(PLACES) + scale}" for scale in range(3)),
            ),
        ),
        Layout(
            name="darknet",
            summary="the backbone at the start of a Darknet file (`darknet53.conv.74`, `yolov3.weights`)",
            rules=(
                Flat(
                    "values",
                    tuple(array for name in _backbone([_DEEPEST] * 5) for array in _in_a_row(name)),
                    "the layers behind the backbone",
                ),
            ),
        ),
    )
}
