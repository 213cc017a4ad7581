"""The transformers by the names that settings call them.

All are called alike: features (B, C, h, w) of two images and, where they are given, masks (B, h, w) of cells that count
-> features of both. Positions are added inside.
"""

from typing import Literal

from gradatim.systems.ifvit.parts.loftr import LegacyTransformer, LoFTRTransformer
from gradatim.systems.ifvit.parts.siamese import SiameseTransformer

TransformerKind = Literal["loftr", "legacy", "generic"]
Transformer = LoFTRTransformer | LegacyTransformer | SiameseTransformer
