"""MultiGridDet in the smallest: sizes, shapes as files, and files in Keras' and Darknet's formats."""

import struct

import numpy as np
import torch

from gradatim import run
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.systems.multigriddet.geometry import offset_inverse
from gradatim.systems.multigriddet.layouts import CONVOLUTIONS, PLACES
from gradatim.systems.multigriddet.model import PARTS, MultiGridDetSettings
from gradatim.systems.multigriddet.pictures import write_shapes
from gradatim.systems.multigriddet.shapes import ShapesSettings
from once import drawn

CLASSES = ("circle", "square", "triangle")
ANCHORS = [[[28, 28], [24, 24]], [[18, 18], [15, 15]], [[10, 10], [7, 7]]]
MODEL = {
    "classes": 3, "image_size": 64, "widths": [4, 4, 6, 8, 8, 8], "head_widths": [8, 8, 4], "anchors": ANCHORS,
}  # fmt: skip
SHAPES = {"count": 6, "validate_count": 3, "size": 64, "classes": list(CLASSES), "objects": 2}
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def parts(**settings):
    """All parts with seeded weights and statistics that are not those of fresh ones."""
    torch.manual_seed(0)
    built = {name: build(MultiGridDetSettings(**{**MODEL, **settings})) for name, build in PARTS.items()}
    with torch.no_grad():
        for part in built.values():
            for name, array in part.state_dict().items():
                if name.endswith("running_var"):
                    array.uniform_(0.5, 2)
                elif array.ndim == 1:
                    array.normal_(std=0.5)
    return built


def keras_layers(built, *, first=0):
    """(layer, {array: values}) under Keras' names, numbered from `first`."""
    found = []
    for number, name in enumerate(CONVOLUTIONS):
        root, _, path = name.partition(".")
        if root not in built:
            continue
        module = built[root].get_submodule(path)
        suffix = f"_{number + first}" if number + first else ""
        found.append((f"conv2d{suffix}", {"kernel": module.conv.weight.permute(2, 3, 1, 0)}))
        found.append(
            (f"batch_normalization{suffix}", {theirs: getattr(module.norm, ours) for theirs, ours in NORM.items()})
        )
    for scale, conv in enumerate(built["predict"].convs if "predict" in built else (), 1):
        found.append((f"predict_conv_{scale}", {"kernel": conv.weight.permute(2, 3, 1, 0), "bias": conv.bias}))
    return [(layer, {n: a.detach().numpy().copy() for n, a in arrays.items()}) for layer, arrays in found]


def keras_file(path, built, *, first=0, whole=False, inner=None, suffix=":0"):
    """A legacy weights file, or a whole model; `inner` names the group inside each normalization's."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        layers = keras_layers(built, first=first)
        root.attrs["layer_names"] = np.array([layer.encode() for layer, _ in layers])
        for layer, arrays in layers:
            group = root.create_group(layer)
            below = inner if inner and layer.startswith("batch") else layer
            names = [f"{below}/{name}{suffix}" for name in arrays]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, array in zip(names, arrays.values(), strict=True):
                group[name] = array
    return path


def keras3_file(path, built, *, named=True):
    """What the original's trainer writes: layers numbered by class in the order of the model."""
    layers = dict(keras_layers(built))
    number = {n: (f"conv2d_{n}" if n else "conv2d") for n in range(len(CONVOLUTIONS))}
    order = [number[n] for n in PLACES] + [f"predict_conv_{n}" for n in (1, 2, 3)]
    import h5py

    with h5py.File(path, "w") as file:
        for kind, names in (
            ("conv2d", order),
            ("batch_normalization", [number[n].replace("conv2d", "batch_normalization") for n in PLACES]),
        ):
            for place, layer in enumerate(names):
                group = file.create_group(f"layers/{kind}{f'_{place}' if place else ''}/vars")
                if named:
                    group.attrs["name"] = layer
                for index, array in enumerate(layers[layer].values()):
                    group[str(index)] = array
        file.create_group("optimizer/vars")["0"] = np.zeros(3)
    return path


def darknet_file(path, backbone, *, beyond=0):
    """The backbone in Darknet's order, and some numbers of layers behind it."""
    numbers = []
    for name in CONVOLUTIONS[:52]:
        module = backbone.get_submodule(name.removeprefix("backbone."))
        numbers += [module.norm.bias, module.norm.weight, module.norm.running_mean, module.norm.running_var]
        numbers.append(module.conv.weight)
    flat = np.concatenate([one.detach().numpy().reshape(-1) for one in numbers] + [np.zeros(beyond, np.float32)])
    path.write_bytes(struct.pack("<3iq", 0, 2, 0, 32013312) + flat.astype("<f4").tobytes())
    return path


def shapes_folder(folder, **changes):
    """A YOLO folder of drawn shapes."""
    return drawn(folder, write_shapes, ShapesSettings(**{**SHAPES, **changes}))


def detector_files(folder):
    """Pictures in `photos`, and files under the names that the recipes give them."""
    shapes_folder(folder / "photos")
    built = parts()
    keras_file(folder / "model5.h5", built, whole=True)
    keras_file(folder / "darknet53.h5", {"backbone": built["backbone"]}, first=1)
    return folder


def tiny_changes(name):
    """What makes a recipe tiny: few channels on drawn shapes, or on the pictures of `detector_files`."""
    model = str({**MODEL, "classes": 3}).replace("'", "")
    if name == "multigriddet/shapes":
        classes = ", ".join(CLASSES)
        own = [f"defaults.data.shapes={{count: 6, validate_count: 2, size: 64, classes: [{classes}]}}"]
    else:
        own = ["defaults.data.root=photos"]
        own += [] if name.endswith("small") else ["defaults.accumulate=1"]
    return [f"model={model}", "defaults.batch_size=2", *own]


def finished_detector(folder):
    """A finished run in `runs/multigriddet-1`."""
    stages = [f"stages.{name}.epochs=1" for name in ("heads", "neck", "all")]
    loose = [f"stages.{name}.guards={{}}" for name in ("heads", "neck", "all")]
    name = "multigriddet/finetune"
    run(override(read_plan_document(name), [*tiny_changes(name), *stages, *loose]), folder / "runs" / "multigriddet-1")
    return folder


def detector_run(folder, *changes):
    """A run that saw shapes for one epoch; it knows the names of its classes from the data."""
    own = {"blocks": [1, 1, 1, 1, 1], **MODEL}
    changes = (
        f"model={own}", f"defaults.data={{root: shapes, shapes: {SHAPES}}}", "stages.all.epochs=1",
        "defaults.batch_size=3", "stages.all.validate={metric: map50}", *changes,
    )  # fmt: skip
    run(override(read_plan_document("multigriddet/shapes"), changes), folder)
    return folder


def raw_of(boxes, classes, size, *, anchors=None, count=3, logit=12.0):
    """Raw predictions that say these objects and no others, at stride 8; corners in pixels of the input.

    Args:
        boxes: (N, 4).
        classes: N numbers.
        size: (height, width) of the input.
        anchors: of the three scales.
        count: number of classes.
        logit: of what is there; its negative, of what is not.
    """
    anchors = anchors or ANCHORS
    shapes = [(1, size[0] // s, size[1] // s, 5 + len(a) + count) for s, a in zip((32, 16, 8), anchors, strict=True)]
    raw = [torch.zeros(shape) for shape in shapes]
    for one in raw:
        one[..., 4] = -logit
    for (left, top, right, bottom), label in zip(boxes, classes, strict=True):
        x, y = (left + right) / 16, (top + bottom) / 16
        cell = raw[2][0, int(y), int(x)]
        assert cell[4] < 0, "two objects in one cell"
        cell[:2] = offset_inverse(torch.tensor([x - int(x), y - int(y)], dtype=torch.float64))
        cell[2:4] = torch.tensor([(right - left) / anchors[2][0][0], (bottom - top) / anchors[2][0][1]]).log()
        cell[4], cell[5], cell[5 + len(anchors[2]) + label] = logit, logit, logit
    return raw
