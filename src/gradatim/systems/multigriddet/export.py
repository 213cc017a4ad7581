"""A detector as one ONNX file: the network with decoding, before suppression; checked before it is put in place.

The file takes pictures as `letterbox.py` makes them, any number at once, of one size that is fixed when it is written.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradatim.errors import MissingExtraError, WeightsError, problems
from gradatim.files import replace_file
from gradatim.systems.multigriddet.detections import decode
from gradatim.systems.multigriddet.geometry import corners
from gradatim.systems.multigriddet.letterbox import GRAY
from gradatim.systems.multigriddet.parts.backbone import SCALES, STRIDES
from gradatim.systems.multigriddet.parts.heads import Predict
from gradatim.systems.multigriddet.predict import PARTS
from gradatim.version import __version__

OUTPUTS = ("boxes", "scores", "classes")
TOLERANCE = 1e-4
_SURE = 1e-3
"""Where two anchors or classes differ by less than this, either may be the larger one after rounding."""
_NOISY = "torch.onnx._internal.exporter._registration"


class Network(nn.Module):
    """All parts of a detector in a row.

    Args:
        parts: by name.
        raw: stop before decoding.
    """

    def __init__(self, parts: Mapping[str, nn.Module], *, raw: bool = False) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: parts[name] for name in PARTS})
        self.raw = raw

    @property
    def anchors(self) -> tuple[Tensor, ...]:
        """(A, 2) by scale."""
        predict = self.parts["predict"]
        assert isinstance(predict, Predict)
        return predict.anchors

    def maps(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> raw predictions (B, h, w, 5 + A + classes) at strides 32, 16 and 8."""
        x: Any = image
        for part in self.parts.values():
            x = part(x)
        return [x[scale] for scale in SCALES]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> boxes (B, N, 4), corners in pixels of the input, scores (B, N), classes (B, N) int64."""
        maps = self.maps(image)
        if self.raw:
            return tuple(maps)
        relative, scores, probabilities = decode(maps, self.anchors)
        height, width = image.shape[2:]
        return corners(relative) * relative.new_tensor([width, height] * 2), scores, probabilities.argmax(-1)


def export_onnx(
    path: Path,
    parts: Mapping[str, nn.Module],
    *,
    size: tuple[int, int],
    names: Sequence[str],
    raw: bool = False,
    lineage: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write a detector as ONNX.

    Args:
        path: the file; replaced only when the new one has passed the check.
        parts: of the model, on the processor, in evaluation mode.
        size: (height, width) of the input.
        names: of the classes.
        raw: the network's own numbers instead of decoded boxes.
        lineage: of the parts, for the file's metadata.

    Returns:
        The largest difference between onnxruntime and the model by output; see `differences`.

    Raises:
        MissingExtraError: onnx, onnxruntime or onnxscript is not installed.
        WeightsError: the file computes something else than the model.
    """
    _need_modules()
    network = Network(parts, raw=raw).eval()
    outputs = SCALES if raw else OUTPUTS
    found: dict[str, float] = {}

    def write(temporary: Path) -> None:
        _convert(network, temporary, size, outputs)
        _describe(temporary, _metadata(network, size, names, raw=raw, lineage=lineage))
        found.update(differences(temporary, network, size))
        wrong = [f"{name}: {value:.2g}" for name, value in found.items() if not value <= TOLERANCE]
        if wrong:
            heading = f"{path}: not written, since onnxruntime computes other numbers than the model:"
            raise WeightsError(problems(heading, wrong))

    replace_file(path, write)
    return found


def _need_modules() -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(module)
        except ImportError as error:
            raise MissingExtraError(module, "onnx", "exporting to ONNX") from error


def _convert(network: Network, path: Path, size: tuple[int, int], outputs: Sequence[str]) -> None:
    # Two pictures: an axis of length one would be taken for fixed.
    example = torch.zeros(2, 3, *size)
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            network, (example,), str(path), dynamo=True, external_data=False, verbose=False, input_names=["image"],
            output_names=list(outputs), dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about itself and about torchvision, which no file of ours needs."""
    logger = logging.getLogger(_NOISY)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _metadata(
    network: Network, size: tuple[int, int], names: Sequence[str], *, raw: bool, lineage: Mapping[str, Any] | None
) -> dict[str, str]:
    told = {
        "system": "multigriddet",
        "gradatim": __version__,
        "classes": list(names),
        "anchors": [one.tolist() for one in network.anchors],
        "strides": list(STRIDES),
        "image_size": list(size),
        "input": f"RGB in [0, 1], whole, by Pillow's bicubic filter in the middle of gray {GRAY}",
        "output": "raw predictions: x, y, w, h, objectness, anchors, classes of each cell"
        if raw
        else "corners in pixels of the input, scores and numbers of classes, before suppression",
        "lineage": dict(lineage or {}),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}


def _describe(path: Path, metadata: Mapping[str, str]) -> None:
    """Put metadata into a file, and take out what the exporter tells of this machine's files."""
    import onnx

    model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField("metadata_props")
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def differences(path: Path, network: Network, size: tuple[int, int]) -> dict[str, float]:
    """Largest difference between onnxruntime and the model on noise, one picture and three.

    Boxes count relative to the input's longer side, or to the number itself where it is larger; scores as they are;
    classes as the share of cells where they differ; raw predictions relative to the map's largest number. Cells whose
    best anchors or classes are almost equal are left out where it matters which is best.

    Args:
        path: an ONNX file.
        network: the model.
        size: (height, width) of the input.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: dict[str, float] = {}
    for count in (1, 3):
        image = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            maps, ours = network.maps(image), [one.numpy() for one in network(image)]
        theirs = session.run(None, {"image": image.numpy()})
        if network.raw:
            each = {s: _worst(a, b, float(np.abs(a).max())) for s, a, b in zip(SCALES, ours, theirs, strict=True)}
        else:
            each = _decoded_differences(ours, theirs, max(size), _sure(maps, network.anchors))
        found = {name: max(value, found.get(name, 0.0)) for name, value in each.items()}
    return found


def _worst(ours: NDArray[Any], theirs: NDArray[Any], scale: Any) -> float:
    return float((np.abs(ours - theirs) / np.maximum(scale, 1e-12)).max(initial=0.0))


def _decoded_differences(
    ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]], side: int, sure: tuple[Tensor, Tensor]
) -> dict[str, float]:
    anchor, label = (mask.numpy() for mask in sure)
    boxes, other = ours[0][anchor], theirs[0][anchor]
    return {
        "boxes": _worst(boxes, other, np.maximum(np.abs(boxes), side)),
        "scores": _worst(ours[1], theirs[1], 1.0),
        "classes": float((ours[2] != theirs[2])[label].mean()) if label.any() else 0.0,
    }


def _sure(maps: Sequence[Tensor], anchors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Cells whose best anchor, and whose best class, is clearly the best: (B, N) each."""

    def clear(values: Tensor) -> Tensor:
        if values.shape[-1] < 2:
            return torch.ones(values.shape[:-1], dtype=torch.bool)
        best = values.topk(2, -1).values
        return best[..., 0] - best[..., 1] > _SURE

    pairs = [(one[..., 5 : 5 + len(a)], one[..., 5 + len(a) :]) for one, a in zip(maps, anchors, strict=True)]
    return (
        torch.cat([clear(kind).flatten(1) for kind, _ in pairs], 1),
        torch.cat([clear(label).flatten(1) for _, label in pairs], 1),
    )
