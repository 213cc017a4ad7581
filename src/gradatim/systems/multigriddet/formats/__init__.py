"""Readers of annotation formats: each turns its files into entries, and says what is wrong with them.

No reader opens an image or judges a box; `annotations.py` does that alike for all of them.
"""

from gradatim.systems.multigriddet.formats.yolo import read_yolo

READERS = {"yolo": read_yolo}
