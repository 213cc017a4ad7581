"""Two prints compared: brought to one scale, registered by dense matching, laid on one another, and scored.

The matcher sees both prints at once, so that an embedding belongs to a pair. For a search among many prints each is
also embedded beside itself; what such templates find is compared pair by pair.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gradatim.errors import DataError, WeightsError
from gradatim.systems.ifvit.alignment import Alignment
from gradatim.systems.ifvit.enhancement import Enhancer, GaborEnhancer, ridge_distance
from gradatim.systems.ifvit.metric_losses import REGION, WHOLE, cosine, fused_score
from gradatim.systems.ifvit.model import IFViTSettings
from gradatim.systems.ifvit.overlap import Mask, center_of, overlap, patch, ridge_mask
from gradatim.systems.ifvit.pairing import Laid, lay
from gradatim.systems.ifvit.prints import background, fitted, read_print
from gradatim.systems.ifvit.registration import Compute, Registrar, as_batch
from gradatim.systems.ifvit.warping import Matrix, Picture, Points, warped_mask

NEEDED = ("backbone", "transformer", "embedding")
_STEP = 16
_LARGEST = 1024


@dataclass(frozen=True)
class Print:
    """A print that is ready to be compared.

    Args:
        picture: (H, W) in [0, 1].
        mask: (H, W), where it shows ridges.
        clear: (H, W) in [0, 1], with clear ridges; None where the matcher compares prints as they are.
        scale: pixels of the picture for one of the file.
        name: of the file.
    """

    picture: Picture
    mask: Mask
    clear: Picture | None
    scale: float
    name: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How alike two prints are, and why.

    Args:
        whole: cosine of the prints' embeddings, in [-1, 1].
        region: cosine of the embeddings of the region around the middle of what both show.
        score: weighted mean of both.
        alignment: how the first lies on the second; None where no motion was found that matches agree on: both were
            then compared as they lie.
        matrix: from the first print's points to the second's, ridges on ridges.
        likeness: correlation of the ridges that both show there, in [-1, 1].
        points: (N, 4), x and y in the first print, x and y in the second, in pixels of the pictures that were compared.
        confidence: (N,), how probable each of these correspondences is, in [0, 1].
        overlap: share of the second print's ridges that the first shows too.
    """

    whole: float
    region: float
    score: float
    alignment: Alignment | None
    matrix: Matrix
    likeness: float
    points: Points
    confidence: NDArray[np.float64]
    overlap: float


class Comparer:
    """Compares prints with a trained model.

    Args:
        compute: of the matcher.
        settings: of its model.
        parts: names of its parts.
        registrar: registers prints; None: the matcher's own model does.
        enhancer: makes ridges clear, where the matcher was trained so, and finds where they are.
        device: where the models are.

    Raises:
        WeightsError: the model lacks a part.
    """

    def __init__(
        self,
        compute: Compute,
        settings: IFViTSettings,
        parts: Iterable[str],
        *,
        registrar: Registrar | None = None,
        enhancer: Enhancer | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        missing = [name for name in NEEDED if name not in set(parts)]
        if missing:
            raise WeightsError(
                f"the model has no part {', '.join(map(repr, missing))}: it was trained to register prints, not to "
                "match them; carry on with task `match`"
            )
        self.task = "match_apart" if "local_transformer" in set(parts) else "match"
        self.compute, self.settings, self.device = compute, settings, device
        self.registrar = registrar or Registrar(compute, settings.backbone, device=device)
        self.enhancer = enhancer or GaborEnhancer()

    def read(self, path: Path) -> Print:
        """A print from a file, at the scale that the model knows.

        Raises:
            DataError: the file cannot be read, or shows no ridges.
        """
        return self.prepared(read_print(path), path.name)

    def prepared(self, picture: Picture, name: str = "") -> Print:
        """A print (H, W) in [0, 1] at the scale that the model knows.

        Raises:
            DataError: it shows no ridges.
        """
        mask = ridge_mask(picture)
        if not mask.any():
            raise DataError(f"{name or 'print'}: shows no ridges")
        if self.settings.period is None:
            side = self.settings.match_size
            scale, scaled = side / max(picture.shape), fitted(picture, side)
        else:
            scale = self.settings.period / ridge_distance(picture, mask)
            scale = min(scale, _LARGEST / max(picture.shape))
            scaled = _resized(picture, scale)
        mask = self.enhancer.mask(scaled)
        clear = self.enhancer(scaled, mask) if self.settings.enhance else None
        return Print(scaled, mask, clear, scale, name)

    def compare(self, first: Print, second: Print) -> Comparison:
        """Register the first print on the second, and score both."""
        first, second = on_one_square(first, second)
        found = self.registrar.register(first.picture, second.picture, (first.mask, second.mask))
        matrix = found.matrix
        lying = warped_mask(first.mask, matrix)
        both = overlap(lying, second.mask)
        clear = None if first.clear is None or second.clear is None else (first.clear, second.clear)
        laid = lay(first.picture, second.picture, matrix, both, self.settings.roi_size, clear)
        whole, region, score = self.scores(laid)
        points, confidence = self.registrar.correspondences(first.picture, second.picture, matrix)
        share = float(both.sum() / max(second.mask.sum(), 1))
        return Comparison(
            whole=whole,
            region=region,
            score=score,
            alignment=found.alignment,
            matrix=matrix,
            likeness=found.likeness,
            points=points,
            confidence=confidence,
            overlap=share,
        )

    def scores(self, laid: Laid) -> tuple[float, float, float]:
        """Cosines of whole prints and of regions, and the fused score."""
        sample = {
            "image1": as_batch(laid.whole1, self.device),
            "image2": as_batch(laid.whole2, self.device),
            "roi1": as_batch(laid.region1, self.device),
            "roi2": as_batch(laid.region2, self.device),
        }
        want = ("embedding1", "embedding2", "roi_embedding1", "roi_embedding2")
        values = self.compute(self.task, sample, want)
        one, two, own, other = (values[name] for name in want)
        whole, region = cosine(one, two), cosine(own, other)
        return float(whole), float(region), float(fused_score(whole, region))

    def template(self, print_: Print) -> NDArray[np.float32]:
        """A print beside itself as one vector of length 1, (D,): for a quick search, before pairs are compared."""
        inside = print_.clear if print_.clear is not None else print_.picture
        image = as_batch(_padded(inside * print_.mask, _side(print_), 0.0), self.device)
        ground = background(print_.picture)
        region = as_batch(
            patch(print_.picture, center_of(print_.mask), self.settings.roi_size, fill=ground), self.device
        )  # fmt: skip
        sample = {"image1": image, "image2": image, "roi1": region, "roi2": region}
        values = self.compute(self.task, sample, ("embedding1", "roi_embedding1"))
        # Roots of the fused score's shares, so that the product of two templates is the fused score of their parts.
        whole, region = ((weight / (WHOLE + REGION)) ** 0.5 for weight in (WHOLE, REGION))
        both = torch.cat([whole * values["embedding1"], region * values["roi_embedding1"]], dim=1)
        result: NDArray[np.float32] = both[0].float().cpu().numpy()
        return result


def _resized(picture: Picture, scale: float) -> Picture:
    height, width = (max(round(side * scale), 1) for side in picture.shape)
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32).clip(0, 1)


def _side(*prints: Print) -> int:
    """Side of the square that holds prints, a multiple of a cell."""
    longest = max(int(side) for one in prints for side in one.picture.shape)
    return -(-longest // _STEP) * _STEP


def _padded(picture: NDArray[Any], side: int, fill: float) -> NDArray[Any]:
    """A picture in the middle of a square."""
    height, width = picture.shape
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side), fill, picture.dtype)
    square[top : top + height, left : left + width] = picture
    return square


def on_one_square(first: Print, second: Print) -> tuple[Print, Print]:
    """Both prints in the middle of squares of one size, at their own scale."""
    side = _side(first, second)

    def put(one: Print) -> Print:
        clear = None if one.clear is None else _padded(one.clear, side, 1.0)
        ground = background(one.picture)
        return Print(
            _padded(one.picture, side, ground), _padded(one.mask, side, False), clear, one.scale, one.name
        )  # fmt: skip

    return put(first), put(second)


@dataclass(frozen=True)
class Ranked:
    """A print of a gallery, as a probe found it.

    Args:
        number: of the print in the gallery.
        name: of it.
        template: cosine of both templates, in [-1, 1].
        comparison: of both prints; None beyond the ranks that are compared.
    """

    number: int
    name: str
    template: float
    comparison: Comparison | None


def search_gallery(
    comparer: Comparer, probe: Print, gallery: Sequence[Print], templates: NDArray[np.float32], *, top: int
) -> list[Ranked]:
    """Rank a gallery: all by their templates in one product, then the best of them by comparison, pair by pair.

    Args:
        comparer: compares.
        probe: who is looked for.
        gallery: prints.
        templates: (prints, D), of each.
        top: how many are compared.
    """
    likeness = templates @ comparer.template(probe)
    order = np.argsort(-likeness, kind="stable")
    found = [
        Ranked(n, gallery[n].name, float(likeness[n]), comparer.compare(probe, gallery[n]) if rank < top else None)
        for rank, n in enumerate(order.tolist())
    ]
    compared = sorted(found[:top], key=lambda one: -one.comparison.score if one.comparison else 0.0)
    return compared + found[top:]
