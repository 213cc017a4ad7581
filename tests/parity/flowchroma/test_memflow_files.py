"""Files as MemFlow's and FlowChroma's programs write them, read and brought into the network."""

import zlib

import pytest
import torch

from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.weights import read_weights, transfer, translate

pytestmark = pytest.mark.parity


def told(key):
    """The number that fills an array of a sample file."""
    return zlib.crc32(key.encode()) % 1000 / 1000


def test_every_file_of_memflow(parity_root):
    files = sorted((parity_root / "flowchroma" / "format").glob("memflow_*.pth"))
    for file in files:
        weights = read_weights(file)
        with torch.device("meta"):
            network = MemFlow()
        (account,) = transfer(weights, {"memflow": network}, layouts=LAYOUTS)
        arrays = network.state_dict()
        sources = {ours: how.sources[0] for ours, how in translate(LAYOUTS["memflow"], weights.arrays).made.items()}

        assert account.layout == "memflow"
        assert account.complete
        assert len(sources) == len(arrays)
        for ours, key in sources.items():
            array = arrays[ours.removeprefix("memflow.")]
            expected = told(key) if array.is_floating_point() else 0
            assert torch.equal(array, torch.full_like(array, expected)), key
        print(f"{file.name}: {account.counted}; {weights.notes}")
    assert len(files) >= 2
