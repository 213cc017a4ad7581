"""Matching of a picture with a reference: every place takes the reference's color where the features look alike.

Letters: B pictures, C channels, h w cells of 4 × 4 pixels, N cells of the picture, M cells of the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradatim.errors import DataError
from gradatim.vision.precision import full_precision, widened

CELL = 4
"""Side in pixels of the cells that are matched."""
TRAIN_TEMPERATURE = 0.01
"""Under which SwinTExCo learns: colors are a mixture, so a gradient reaches the features."""
SHARP_TEMPERATURE = 1e-10
"""Under which it colors: the best match alone counts, and no gradient passes but through the similarity."""
_SMALLEST = 2.0**-52
_DROPPED = 0.2
_CHUNK = 4096


def unit_features(features: Tensor) -> Tensor:
    """Features of length 1 at every place, (B, C, h, w) -> the same; where all are 0 they stay so."""
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + _SMALLEST)


@dataclass(frozen=True)
class Match:
    """What matching found for every pixel.

    Args:
        lab: of the reference at the match, (B, 3, H, W), in the units that the reference came in.
        similarity: cosine with the best match, (B, 1, H, W) in [-1, 1].
    """

    lab: Tensor
    similarity: Tensor


class ReflectedConv(nn.Conv2d):
    """A 3 × 3 convolution over the picture and its reflection at the border.

    Args:
        inside, outside: channels.
        stride: 1 or 2.
    """

    def __init__(self, inside: int, outside: int, *, stride: int = 1) -> None:
        super().__init__(inside, outside, 3, stride, padding=1, padding_mode="reflect")


class Branch(nn.Module):
    """Two convolutions that bring one scale of the pyramid to a quarter of the picture's size.

    Args:
        inside, hidden, outside: channels before, between and after.
        stride: of the second convolution.
        between, after: how often the map is enlarged twice after each convolution.
    """

    def __init__(
        self, inside: int, hidden: int, outside: int, *, stride: int = 1, between: int = 1, after: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = ReflectedConv(inside, hidden)
        self.prelu1 = nn.PReLU()
        self.conv2 = ReflectedConv(hidden, outside, stride=stride)
        self.prelu2 = nn.PReLU()
        self.between = between
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h', w') -> (B, outside, h, w)."""
        x = _enlarged(self.prelu1(F.instance_norm(self.conv1(x))), self.between)
        x = _enlarged(self.prelu2(F.instance_norm(self.conv2(x))), self.after)
        return F.dropout(x, _DROPPED, self.training)


class ResidualBlock(nn.Module):
    """Two normalized convolutions around which the input is led; one slope serves both activations.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ReflectedConv(width, width)
        self.prelu = nn.PReLU()
        self.conv2 = ReflectedConv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same."""
        y = self.prelu(F.instance_norm(self.conv1(x)))
        changed: Tensor = self.prelu(F.instance_norm(self.conv2(y)) + x)
        return changed


class WarpNet(nn.Module):
    """Compares features of a picture and of a reference, and brings the reference's colors to the picture.

    Args:
        widths: channels of the four scales that come in.
        width: channels that each scale is brought to; all four together are compared at half their number.

    Source:
        SwinTExCo (Expert Systems with Applications 260, 2025, 125437), its non-local network, after Deep
        exemplar-based video colorization (Zhang et al. 2019, arXiv 1906.09909).
    """

    def __init__(self, *, widths: Sequence[int] = (96, 192, 384, 768), width: int = 128) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.branches = nn.ModuleList(
            (
                Branch(half, width, width, stride=2, between=0, after=0),
                Branch(quarter, width, width, between=0, after=0),
                Branch(eighth, 2 * width, width, between=0),
                Branch(sixteenth, 2 * width, width),
            )
        )
        self.trunk = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(3)))
        self.query = nn.Conv2d(4 * width, 2 * width, 1)
        self.key = nn.Conv2d(4 * width, 2 * width, 1)

    def forward(
        self, features: Sequence[Tensor], reference: Sequence[Tensor], reference_lab: Tensor, *, temperature: float
    ) -> Match:
        """Colors of a reference for a picture.

        Args:
            features: of the picture at a half, a quarter, an eighth and a sixteenth of its size, each of length 1
                at every place (`unit_features`).
            reference: the same of the reference.
            reference_lab: its colors, (B, 3, H, W) in any units.
            temperature: of the softmax over the reference's cells, above 0.

        Returns:
            Color and similarity at the picture's size, constant over cells of 4 × 4 pixels.

        Raises:
            DataError: the reference's features do not suit its colors' size, or the four scales one another.
        """
        return match(self.queries(features), self.keys(reference), reference_lab, temperature=temperature)

    def queries(self, features: Sequence[Tensor]) -> Tensor:
        """What of a picture is compared, (B, C, h, w), of length 1; features as in `forward`."""
        return _compared(self.query(self.described(features)))

    def keys(self, features: Sequence[Tensor]) -> Tensor:
        """What of a reference it is compared with; it can be kept while the reference stays the same."""
        return _compared(self.key(self.described(features)))

    def described(self, features: Sequence[Tensor]) -> Tensor:
        """All four scales as one map, (B, 4 * width, h, w)."""
        finest, *others, coarsest = (branch(x) for branch, x in zip(self.branches, features, strict=True))
        if coarsest.shape[2:] != finest.shape[2:]:
            # Where 16 does not divide the height: a row above and one below make up for what halving left out.
            coarsest = F.pad(coarsest, (0, 0, 1, 1), mode="replicate")
        scales = (finest, *others, coarsest)
        if len({x.shape[2:] for x in scales}) > 1:
            sizes = ", ".join(f"{x.shape[2]} x {x.shape[3]}" for x in scales)
            raise DataError(f"features of the four scales come to different sizes: {sizes}")
        described: Tensor = self.trunk(torch.cat(scales, dim=1))
        return described


def match(queries: Tensor, keys: Tensor, lab: Tensor, *, temperature: float) -> Match:
    """Colors of the cells that suit best; at least float32.

    Args:
        queries: (B, C, h, w), of length 1.
        keys: of the reference, (B, C, h', w').
        lab: its colors, (B, 3, H', W').
        temperature: of the softmax, above 0.

    Returns:
        Of size (4 h, 4 w).

    Raises:
        DataError: the keys are not as many as the colors' cells.
    """
    with full_precision(queries):
        cells = F.avg_pool2d(widened(lab), CELL)
        if cells.shape[2:] != keys.shape[2:]:
            raise DataError(
                f"the reference's features make {keys.shape[2]} x {keys.shape[3]} cells, "
                f"its colors {cells.shape[2]} x {cells.shape[3]}."
            )
        queries_BNC = widened(queries).flatten(2).transpose(1, 2)
        keys_BCM, colors_BMC = widened(keys).flatten(2), cells.flatten(2).transpose(1, 2)
        colors, best = [], []
        # In pieces: a whole table of cosines would be as large as the number of cells squared.
        for part_BNC in torch.split(queries_BNC, _CHUNK, dim=1):
            cosines_BNM = part_BNC @ keys_BCM
            best.append(cosines_BNM.amax(dim=2, keepdim=True))
            colors.append((cosines_BNM / temperature).softmax(dim=2) @ colors_BMC)
        batch, _, *size = queries.shape
        found, similarity = (torch.cat(x, dim=1).transpose(1, 2).reshape(batch, -1, *size) for x in (colors, best))
        return Match(_enlarged(found, 2), _enlarged(similarity, 2))


def _compared(x: Tensor) -> Tensor:
    with full_precision(x):
        x = widened(x)
        return unit_features(x - x.mean(dim=(2, 3), keepdim=True))


def _enlarged(x: Tensor, times: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(2**times)) if times else x
