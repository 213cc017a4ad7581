"""Networks of the fusion system out of files: FlowChroma's and SwinTExCo's own, timm's backbone, or ours.

All that is needed is looked for before any of it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from gradatim.errors import GradatimError, WeightsError, problems
from gradatim.systems.flowchroma.layouts import LAYOUTS
from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.memory import KeysOfMemory
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.warpnet import WarpNet
from gradatim.weights import hub_file, read_weights, transfer

BACKBONE = "hub:timm/swinv2_cr_tiny_ns_224.sw_in1k"
"""Where the backbone comes from if nothing else is said."""
_HUB = "hub:"
_NEWEST = "main"
_FOLDER = {"swin": "embed_net.pth", "warpnet": "nonlocal_net.pth", "colornet": "colornet.pth"}
_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks that propose colors.

    Args:
        memflow, swin, warpnet: as of `parts`.
        colornet: what comes in one folder with SwinTExCo's others, and fusion has no use for; None without a folder.
    """

    memflow: MemFlow
    swin: nn.Module
    warpnet: WarpNet
    colornet: ColorVidNet | None


def load_networks(
    memflow: MemFlow | str | Path | None,
    swintexco: str | Path | None,
    *,
    swin: nn.Module | str | Path | None = None,
    warpnet: WarpNet | None = None,
    memory_keys: KeysOfMemory = "own",
) -> Networks:
    """Networks as they are given, out of files, or fresh.

    Args:
        memflow: the network, or a file of it.
        swintexco: folder with `embed_net.pth`, `nonlocal_net.pth` and `colornet.pth`. None begins with a fresh
            `WarpNet`, and has no color network.
        swin: the backbone, a file of it, or `hub:OWNER/NAME`, with `@REVISION` if it shall be pinned. None takes the
            folder's, or else `BACKBONE`.
        warpnet: in place of the folder's or a fresh one.
        memory_keys: as of `MemFlow`, where that is read from a file.

    Raises:
        WeightsError: something is absent, which is told before anything is read; or a file does not fit its network.
    """
    files = _found(memflow, swintexco, swin, warpnet)
    if not isinstance(memflow, nn.Module):
        memflow = _read("memflow", files, lambda: MemFlow(memory_keys=memory_keys))
    if not isinstance(swin, nn.Module):
        swin = _read("swin", files, SwinPyramid)
    if warpnet is None:
        warpnet = _read("warpnet", files, WarpNet) if "warpnet" in files else WarpNet()
    colornet = _read("colornet", files, ColorVidNet) if "colornet" in files else None
    return Networks(memflow=memflow, swin=swin, warpnet=warpnet, colornet=colornet)


def backbone_file(source: str | Path) -> Path:
    """Path of a backbone's file, downloaded if it is of the hub and not in its cache.

    Args:
        source: a path, or `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`; without a revision, the newest.

    Raises:
        WeightsError: the hub or the file cannot be reached; the message says what else would do.
    """
    if not str(source).startswith(_HUB):
        return Path(source)
    repo, _, revision = str(source).removeprefix(_HUB).partition("@")
    try:
        return hub_file(repo, revision=revision or _NEWEST, file="model.safetensors")
    except GradatimError as error:
        raise WeightsError(
            f"swin: {error}; where the hub cannot be reached, give `swin` a file that was fetched elsewhere (timm's "
            "`model.safetensors` of that repository), or `swintexco_ckpt` a folder with `embed_net.pth`"
        ) from error


def _found(
    memflow: nn.Module | str | Path | None,
    swintexco: str | Path | None,
    swin: nn.Module | str | Path | None,
    warpnet: nn.Module | None,
) -> dict[str, Path]:
    """The file of each network that is to be read; all are there."""
    wrong: list[str] = []
    given = {"swin": swin is not None, "warpnet": warpnet is not None}
    files: dict[str, Path] = {}
    if swintexco is not None:
        files |= {part: Path(swintexco) / name for part, name in _FOLDER.items() if not given.get(part)}
    if memflow is None:
        wrong.append("memflow_ckpt: give a file of MemFlow's weights, or the network itself as `memflow`")
    elif not isinstance(memflow, nn.Module):
        files["memflow"] = Path(memflow)
    if "swin" not in files and not isinstance(swin, nn.Module):
        try:
            files["swin"] = backbone_file(swin or BACKBONE)
        except WeightsError as error:
            wrong.append(str(error))
    wrong += [f"{part}: {path}: no such file" for part, path in files.items() if not path.is_file()]
    if wrong:
        raise WeightsError(problems("FusionSystem lacks what it is made of; nothing was loaded", wrong))
    return files


def _read(part: str, files: dict[str, Path], build: Callable[[], _Network]) -> _Network:
    """A network as its file has it."""
    # Without memory, since every array comes from the file.
    with torch.device("meta"):
        network = build()
    transfer(read_weights(files[part]), {part: network}, layouts=LAYOUTS)
    return network
