"""Files as SwinTExCo's and FlowChroma's programs write them, read and brought into the networks."""

import zlib

import pytest
import torch

from gradatim.errors import FormatError
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet
from gradatim.systems.flowchroma.parts.discriminator import Discriminator
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1, SimpleFusionNet, UNetFusionNet
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.warpnet import WarpNet
from gradatim.weights import Wish, read_weights, transfer, translate

pytestmark = pytest.mark.parity

GROUPS = ("fusion_unet.", "swintexco_embed.", "swintexco_nonlocal.", "swintexco_colornet.", "discriminator.")
FUSIONS = {"conv1_1.0.weight": FusionNetV1, "net.0.weight": SimpleFusionNet, "enc1.0.weight": UNetFusionNet}


def inside(weights, ending):
    """Channels that a network of a file takes, by the shape of its first array."""
    (array,) = [array for name, array in weights.arrays.items() if name.endswith(ending)]
    return array.shape[1]


def fusion(weights):
    (kind,) = [kind for name, kind in FUSIONS.items() if f"fusion_unet.{name}" in weights.arrays]
    return kind()


BUILT = {
    "swin": lambda weights: SwinPyramid(),
    "warpnet": lambda weights: WarpNet(),
    "colornet": lambda weights: ColorVidNet(inside(weights, "colornet.conv1_1.0.weight")),
    "fusion": fusion,
    "discriminator": lambda weights: Discriminator(inside(weights, "layer1.0.module.weight_bar")),
}
FILES = {
    "embed_net": ("swin", BUILT["swin"]),
    "nonlocal_net": ("warpnet", BUILT["warpnet"]),
    "colornet": ("colornet", lambda weights: ColorVidNet(inside(weights, "conv1_1.0.weight"))),
    "discriminator": ("discriminator", BUILT["discriminator"]),
}


def check(weights, parts, layout):
    """Bring a file into parts without naming its layout; every array must be the number that its key gives."""
    wishes = []
    with torch.device("meta"):
        for part, build in parts.items():
            wishes.append(Wish(part=part, module=build(weights), file_part=part))
    accounts = transfer(weights, wishes, layouts=LAYOUTS)
    made = translate(LAYOUTS[layout], weights.arrays).made
    for account, wish in zip(accounts, wishes, strict=True):
        assert account.layout == layout
        assert account.complete
        assert not account.dropped
        arrays = wish.module.state_dict()
        sources = {name: made[f"{wish.part}.{name}"].sources[0] for name in arrays if f"{wish.part}.{name}" in made}
        assert len(sources) == account.arrays[0]
        for name, key in sources.items():
            bare = next((key.removeprefix(group) for group in GROUPS if key.startswith(group)), key)
            value = zlib.crc32(bare.encode()) % 1000 / 1000 if arrays[name].is_floating_point() else 0
            assert torch.equal(arrays[name], torch.full_like(arrays[name], value)), key
        print(f"{weights.path.name}, {wish.part}: {account.counted}")
    assert sum(account.arrays[0] for account in accounts) == len(weights.arrays)


def test_every_file_of_swintexco(parity_root):
    files = sorted((parity_root / "flowchroma" / "format").glob("swintexco_*/*.pth"))
    for file in files:
        if file.stem == "learning_state":
            with pytest.raises(FormatError, match="no state dict in it"):
                read_weights(file)
            continue
        part, build = FILES[file.stem]
        check(read_weights(file), {part: build}, part)
    assert {file.stem for file in files} == {*FILES, "learning_state"}


def test_every_file_of_fusion_training(parity_root):
    files = sorted((parity_root / "flowchroma" / "format").glob("fusion_*.pth"))
    for file in files:
        weights = read_weights(file)
        parts = dict(BUILT)
        if not any(name.startswith("discriminator.") for name in weights.arrays):
            del parts["discriminator"]
        check(weights, parts, "fusion")
    assert files
