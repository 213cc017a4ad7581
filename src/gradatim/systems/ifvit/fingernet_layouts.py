"""Names in files of FingerNet, translated into ours.

fingernet       weights or a whole model of Keras (`Model.model`)
fingernet-npz   the same arrays by their places in their layers, `conv1_1/weight_0`
fingernet-flax  the copy in Flax

All three call a layer alike. `UNITS` and `OUTPUTS` say which of our modules each one is.
"""

from collections.abc import Callable, Mapping

from gradatim.weights.layout import Keep, Layout, Rename, Rule

_HEADS: Mapping[str, str] = {"angle": "o", "x": "w", "y": "h", "score": "s"}
_BRANCHES = ("conv4_1", "atrousconv4_2", "atrousconv4_3")

UNITS: Mapping[str, tuple[str, str]] = {
    **{f"stem.{n}": (f"conv{k}", k) for n, k in enumerate(("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3"))},
    **{f"branches.{n}.context": (conv, f"4_{n + 1}") for n, conv in enumerate(_BRANCHES)},
    **{
        f"branches.{n}.{head}.unit": (f"conv{short}_{n + 1}_1", f"{short}_{n + 1}_1")
        for n in range(3)
        for head, short in (("orientation", "ori"), ("segmentation", "seg"))
    },
    **{f"minutiae.trunk.{n}": (f"convmnt_{n + 1}_1", f"mnt_{n + 1}_1") for n in range(3)},
    **{f"minutiae.{head}.unit": (f"convmnt_{short}_1_1", f"mnt_{short}_1_1") for head, short in _HEADS.items()},
}
"""Our unit -> its convolution's name, and what stands behind `bn-` and `prelu-` for its other layers."""

OUTPUTS: Mapping[str, str] = {
    **{
        f"branches.{n}.{head}.out": f"{short}_{n + 1}_2"
        for n in range(3)
        for head, short in (("orientation", "ori"), ("segmentation", "seg"))
    },
    **{f"minutiae.{head}.out": f"mnt_{short}_1_2" for head, short in _HEADS.items()},
}
"""Our convolution -> its name."""

_PART = "fingernet"
_KERNEL = (3, 2, 0, 1)
_CONV = ("weight", "bias")
_NORM = ("weight", "bias", "running_mean", "running_var")
_FILTERS: Mapping[str, str] = {"real": "enh_img_real_1", "imaginary": "enh_img_imag_1"}
_COMPUTED = Keep(rf"{_PART}\.gabor\..+", "Gabor filters that the file has not; they are computed")


def _rules(conv: Callable[[str, int], str], norm: Callable[[str, int], str], slope: Callable[[str], str]) -> list[Rule]:
    """Rules for all layers; the functions give the name of array number n of a layer."""
    convolutions = {**{f"{ours}.conv": name for ours, (name, _) in UNITS.items()}, **OUTPUTS}
    rules: list[Rule] = []
    for ours, name in convolutions.items():
        rules += [
            Rename(conv(name, 0), f"{_PART}.{ours}.weight", _KERNEL),
            Rename(conv(name, 1), f"{_PART}.{ours}.bias"),
        ]
    for ours, (_, end) in UNITS.items():
        rules += [Rename(norm(f"bn-{end}", n), f"{_PART}.{ours}.norm.{array}") for n, array in enumerate(_NORM)]
        # Keras has a slope (1, 1, C), Flax has it (C,).
        rules.append(Rename(slope(f"prelu-{end}"), f"{_PART}.{ours}.slope.weight", flatten=(0, -1)))
    return rules


def _filters(conv: Callable[[str, int], str]) -> list[Rule]:
    """The filters are layers too, in a whole model of Keras, and training may have changed them."""
    return [
        rule
        for ours, name in _FILTERS.items()
        for rule in (
            Rename(conv(name, 0), f"{_PART}.gabor.{ours}", _KERNEL),
            Rename(conv(name, 1), f"{_PART}.gabor.{ours}_bias"),
        )
    ]


def _named(arrays: tuple[str, ...]) -> Callable[[str, int], str]:
    return lambda layer, n: f"{layer}/{arrays[n]}"


def _placed(layer: str, n: int) -> str:
    return f"{layer}/weight_{n}"


_FLAX = r"(?:ConvBNPReLU_\d+/)?"


def _flax_norm(layer: str, n: int) -> str:
    collection, array = (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))[n]
    return f"{collection}/{_FLAX}{layer}/{array}"


_keras_conv = _named(("kernel", "bias"))

FINGERNET_LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="fingernet",
            summary="FingerNet's Keras weights (`Model.model`)",
            rules=(
                *_rules(
                    _keras_conv,
                    _named(("gamma", "beta", "moving_mean", "moving_variance")),
                    lambda layer: f"{layer}/alpha",
                ),
                *_filters(_keras_conv),
                _COMPUTED,
            ),
        ),
        Layout(
            name="fingernet-npz",
            summary="the same in an .npz, arrays by their places in their layers",
            rules=(*_rules(_placed, _placed, lambda layer: _placed(layer, 0)), *_filters(_placed), _COMPUTED),
        ),
        Layout(
            name="fingernet-flax",
            summary="FingerNet's copy in Flax",
            rules=(
                *_rules(
                    lambda layer, n: f"params/{_FLAX}{layer}/{('kernel', 'bias')[n]}",
                    _flax_norm,
                    lambda layer: f"params/{_FLAX}{layer}/alpha",
                ),
                _COMPUTED,
            ),
        ),
    )
}
