"""Fingerprints that do not exist: a ridge pattern for each finger, and prints of it whose geometry is known.

A master is what all prints of a finger share. An impression is one print of it: bent, turned, pressed and inked in its
own way, with the map from the master to it. Everything is a function of (seed, finger, impression).
"""

from gradatim.systems.ifvit.fingers.impression import Impression, PrintStyle, impression_map, make_impression
from gradatim.systems.ifvit.fingers.master import Master, make_master
from gradatim.systems.ifvit.fingers.orientation import PATTERNS, Singularities, poincare_index
from gradatim.systems.ifvit.fingers.skin import SkinMap

__all__ = [
    "PATTERNS",
    "Impression",
    "Master",
    "PrintStyle",
    "Singularities",
    "SkinMap",
    "impression_map",
    "make_impression",
    "make_master",
    "poincare_index",
]
