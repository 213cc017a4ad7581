"""IFViT's steps, and the tasks they make up.

see -> relate -> compare: features of two prints, features that know each other, and how probable it is that two cells
show the same place. embed: each print as one vector. The same for regions, and point: a direction for each finger.
Prints are grey in [0, 1]. Letters: B batch, C channels, h w cells of a grid, N cells in a row, D size of an embedding.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from gradatim.systems.ifvit.matching import Dual, probabilities
from gradatim.systems.ifvit.parts.backbone import ResNet18
from gradatim.systems.ifvit.parts.fpn import LoFTRBackbone
from gradatim.systems.ifvit.parts.heads import Centers, Embedding
from gradatim.systems.ifvit.parts.transformer import Transformer
from gradatim.task import makes

Backbone = ResNet18 | LoFTRBackbone


@makes("features1", "features2")
def see(backbone: Backbone, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
    """Features of both prints, (B, 1, H, W) -> (B, C, h, w) each."""
    return backbone(image1), backbone(image2)


@makes("roi_features1", "roi_features2")
def see_regions(backbone: Backbone, roi1: Tensor, roi2: Tensor) -> tuple[Tensor, Tensor]:
    """Features of both regions, (B, 1, R, R) -> (B, C, h, w) each."""
    return backbone(roi1), backbone(roi2)


@makes("related1", "related2")
def relate(transformer: Transformer, features1: Tensor, features2: Tensor) -> tuple[Tensor, Tensor]:
    """Features that know those of the other print, (B, C, h, w) each."""
    first, second = transformer(features1, features2)
    return first, second


@makes("roi_related1", "roi_related2")
def relate_regions(transformer: Transformer, roi_features1: Tensor, roi_features2: Tensor) -> tuple[Tensor, Tensor]:
    """As `relate`, of regions, by the same transformer."""
    first, second = transformer(roi_features1, roi_features2)
    return first, second


@makes("roi_related1", "roi_related2")
def relate_regions_apart(
    local_transformer: Transformer, roi_features1: Tensor, roi_features2: Tensor
) -> tuple[Tensor, Tensor]:
    """As `relate`, of regions, by a transformer of their own."""
    first, second = local_transformer(roi_features1, roi_features2)
    return first, second


@makes("probability")
def compare(related1: Tensor, related2: Tensor, *, temperature: float = 0.1, dual: Dual = "sqrt") -> Tensor:
    """Probability that two cells show the same place, (B, N, N); see `matching.probabilities`."""
    return probabilities(related1, related2, temperature=temperature, dual=dual)


@makes("embedding1", "embedding2")
def embed(embedding: Embedding, related1: Tensor, related2: Tensor) -> tuple[Tensor, Tensor]:
    """Each print as one vector of length 1, (B, D)."""
    return embedding(related1), embedding(related2)


@makes("roi_embedding1", "roi_embedding2")
def embed_regions(embedding: Embedding, roi_related1: Tensor, roi_related2: Tensor) -> tuple[Tensor, Tensor]:
    """Each region as one vector of length 1, (B, D)."""
    return embedding(roi_related1), embedding(roi_related2)


@makes("directions")
def point(centers: Centers) -> Tensor:
    """A direction for each finger, (fingers, D), rows of length 1."""
    directions: Tensor = centers()
    return directions


_FIRST = (see, see_regions, relate)
_LAST = (compare, embed, embed_regions, point)

TASKS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "dense": (see, relate, compare),
    "match": (*_FIRST, relate_regions, *_LAST),
    "match_apart": (*_FIRST, relate_regions_apart, *_LAST),
}
"""`match` compares whole prints and regions by one transformer, `match_apart` by two."""
